//! Whose address this is, as far as limits tell clients apart.

use std::net::IpAddr;

/// One address. An IPv6 client has a whole /64 (RFC 4291 section 2.5.4), so that is what counts as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientNetwork {
    V4(u32),
    /// The first 64 bits.
    V6(u64),
}

impl From<IpAddr> for ClientNetwork {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self::V4(v4.to_bits()),
            IpAddr::V6(v6) => Self::V6(u64::try_from(v6.to_bits() >> 64).unwrap_or(u64::MAX)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_client_is_its_network() {
        let whose = |text: &str| ClientNetwork::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(whose("2001:db8:0:1::1"), whose("2001:db8:0:1:ffff::2"));
        assert_ne!(whose("2001:db8:0:1::1"), whose("2001:db8:0:2::1"));
        assert_ne!(whose("192.0.2.1"), whose("192.0.2.2"));
        assert_eq!(whose("::ffff:192.0.2.1"), whose("192.0.2.1"));
    }
}
