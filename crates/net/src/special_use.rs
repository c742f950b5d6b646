//! Addresses that are not everyone's: private, link-local, loopback, multicast,
//! documentation and other special uses, by the IANA registries of RFC 6890.

use std::net::IpAddr;
use std::sync::LazyLock;

use ipnet::IpNet;

/// Outside of 2000::/3 nothing is public.
const SPECIAL: &[&str] = &[
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    // Of Azure's virtual machines: an agent of the host's that gives out their settings.
    "168.63.129.16/32",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/3",
    "::/3",
    // Teredo, 6to4: with IPv4 addresses of any kind inside. ORCHID. Documentation.
    "2001::/23",
    "2001:db8::/32",
    "2002::/16",
    "3fff::/20",
    "4000::/2",
    "8000::/1",
];

static RANGES: LazyLock<Vec<IpNet>> =
    LazyLock::new(|| SPECIAL.iter().map(|range| range.parse().expect("the table holds ranges")).collect());

/// Both families, none within another.
pub(crate) fn special_use() -> impl Iterator<Item = IpNet> {
    RANGES.iter().copied()
}

/// Whether it is an address of the Internet. One of IPv4 in the clothes of IPv6
/// is none.
pub fn is_public(address: IpAddr) -> bool {
    !special_use().any(|range| range.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_public_is_told_apart() {
        let public = |text: &str| is_public(text.parse().unwrap());
        for address in
            ["1.1.1.1", "100.63.255.255", "100.128.0.0", "172.15.0.1", "172.32.0.1", "223.255.255.255", "2606:4700::1"]
        {
            assert!(public(address), "{address}");
        }
        for address in [
            "0.0.0.0",
            "10.0.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "168.63.129.16",
            "169.254.169.254",
            "172.31.255.255",
            "192.168.1.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:1.1.1.1",
            "64:ff9b::a00:1",
            "fd00:ec2::254",
            "fe80::1",
            "ff02::1",
            "2001::1",
            "2002:a00:1::1",
            "2001:db8::1",
        ] {
            assert!(!public(address), "{address}");
        }
    }

    #[test]
    fn no_range_is_within_another() {
        let ranges: Vec<IpNet> = special_use().collect();
        assert_eq!(IpNet::aggregate(&ranges).len(), ranges.len());
    }
}
