//! Addresses to listen at (IP address and port), and when two of them are in each other's way.

use std::net::{IpAddr, SocketAddr};

use crate::config::text::read::Value;

pub(in crate::config) fn address(value: &Value<'_>) -> Option<SocketAddr> {
    let text = value.text()?;
    let address = text.parse();
    if address.is_err() {
        let written = value.written();
        let remedy =
            "write IP address and port, like `127.0.0.1:8080`, `0.0.0.0:8080` or, in quotes, `\"[::]:8080\"`";
        value.wrong(format!("`{written}` is not an address; {remedy}"));
    }
    address.ok()
}

/// A socket at `[::]` takes IPv4 too (RFC 3493 section 5.3); one at `0.0.0.0` takes no IPv6.
pub(in crate::config) fn takes(wide: IpAddr, ip: IpAddr) -> bool {
    wide.is_unspecified() && (wide.is_ipv6() || ip.is_ipv4())
}

/// How two addresses are in each other's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum Overlap {
    Same,
    /// One is `[::]`, and the other of IPv4.
    BothFamilies,
}

pub(in crate::config) fn overlap(a: SocketAddr, b: SocketAddr) -> Option<Overlap> {
    if a.port() == 0 || a.port() != b.port() {
        return None;
    }
    let (one, other) = (a.ip().to_canonical(), b.ip().to_canonical());
    if one != other && !takes(one, other) && !takes(other, one) {
        return None;
    }
    Some(if one.is_ipv4() == other.is_ipv4() { Overlap::Same } else { Overlap::BothFamilies })
}
