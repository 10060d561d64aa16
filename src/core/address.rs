//! Whose address this is, as far as limits tell clients apart, and whether it is in one of some networks.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

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

/// Networks of which an address is in one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// `networks`: those of IPv4 as such, and not as mapped ones (RFC 4291 section 2.5.5.2).
    pub const fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// An IPv4-mapped address is the IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// For operators.
impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let networks: Vec<String> = self.0.iter().map(IpNet::to_string).collect();
        f.write_str(&networks.join(" or "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_in_a_network_of_its_family_also_as_a_mapped_one() {
        let networks =
            Networks::new(["10.0.0.0/8", "2001:db8::/32"].map(|text| text.parse().unwrap()).to_vec());
        for (address, is_in) in [
            ("10.255.0.1", true),
            ("::ffff:10.0.0.1", true),
            ("2001:db8:1::1", true),
            ("11.0.0.1", false),
            ("0.0.0.0", false),
            ("::10.0.0.1", false),
            ("2001:db9::1", false),
            ("::1", false),
        ] {
            assert_eq!(networks.contains(address.parse().unwrap()), is_in, "{address}");
        }
        assert_eq!(networks.to_string(), "10.0.0.0/8 or 2001:db8::/32");
        assert!(!Networks::new(vec![]).contains(IpAddr::from([10, 0, 0, 1])), "in none of none");
    }

    #[test]
    fn an_ipv6_client_is_its_network() {
        let whose = |text: &str| ClientNetwork::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(whose("2001:db8:0:1::1"), whose("2001:db8:0:1:ffff::2"));
        assert_ne!(whose("2001:db8:0:1::1"), whose("2001:db8:0:2::1"));
        assert_ne!(whose("192.0.2.1"), whose("192.0.2.2"));
        assert_eq!(whose("::ffff:192.0.2.1"), whose("192.0.2.1"));
    }
}
