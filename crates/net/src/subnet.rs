//! One subnet of a network, and which of its addresses are given to whom.

use std::net::IpAddr;

use ipnet::IpNet;

/// What `network create --subnet --ip-range --gateway` says, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subnet {
    net: IpNet,
    /// Addresses that nobody asked for are from here.
    range: IpNet,
    /// The bridge's own, if the network has one.
    gateway: IpAddr,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubnetError {
    #[error("invalid subnet {given}: it should be {expected}")]
    HostBits { given: IpNet, expected: IpNet },
    #[error("invalid subnet {0}: it has no room for a gateway and a container")]
    Small(IpNet),
    #[error("invalid ip-range {range}: it is not in subnet {net}")]
    Range { range: IpNet, net: IpNet },
    #[error("invalid gateway {gateway}: parent subnet is {net}")]
    Gateway { gateway: IpAddr, net: IpNet },
}

/// As dockerd says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("no available addresses on this pool")]
    None,
    #[error("Address already in use")]
    InUse,
    #[error("requested address is out of range")]
    OutOfRange,
}

impl Subnet {
    /// Without a gateway it is the first address of the range.
    pub fn new(net: IpNet, range: Option<IpNet>, gateway: Option<IpAddr>) -> Result<Self, SubnetError> {
        if net != net.trunc() {
            return Err(SubnetError::HostBits { given: net, expected: net.trunc() });
        }
        if net.prefix_len() > net.max_prefix_len() - 2 {
            return Err(SubnetError::Small(net));
        }
        let range = range.map_or(net, |range| range.trunc());
        if !net.contains(&range) {
            return Err(SubnetError::Range { range, net });
        }
        let lowest = usable(&net, &range).next().ok_or(SubnetError::Small(net))?;
        let gateway = gateway.unwrap_or(lowest);
        if !is_usable(&net, gateway) {
            return Err(SubnetError::Gateway { gateway, net });
        }
        Ok(Self { net, range, gateway })
    }

    pub fn net(&self) -> IpNet {
        self.net
    }

    pub fn gateway(&self) -> IpAddr {
        self.gateway
    }

    /// The lowest free address of the range. `used` tells who has an address.
    pub fn free_address(&self, used: impl Fn(IpAddr) -> bool) -> Result<IpAddr, AddressError> {
        usable(&self.net, &self.range)
            .find(|address| *address != self.gateway && !used(*address))
            .ok_or(AddressError::None)
    }

    /// Whether a container may have this address, which it asked for.
    pub fn check(&self, address: IpAddr, used: impl Fn(IpAddr) -> bool) -> Result<(), AddressError> {
        if !is_usable(&self.net, address) {
            return Err(AddressError::OutOfRange);
        }
        match address == self.gateway || used(address) {
            true => Err(AddressError::InUse),
            false => Ok(()),
        }
    }
}

/// Neither the subnet's own address (of IPv6: that of any router) nor, of IPv4,
/// the broadcast address.
fn is_usable(net: &IpNet, address: IpAddr) -> bool {
    net.contains(&address) && address != net.network() && (address.is_ipv6() || address != net.broadcast())
}

fn usable<'n>(net: &'n IpNet, range: &IpNet) -> impl Iterator<Item = IpAddr> + use<'n> {
    // `hosts` leaves out the range's own ends, which are addresses like others.
    let ends = (range.network(), range.broadcast());
    let all = std::iter::once(ends.0).chain(range.hosts()).chain(std::iter::once(ends.1));
    let mut last = None;
    all.filter(move |address| last.replace(*address) != Some(*address) && is_usable(net, *address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_gateway_is_first_and_containers_follow() {
        let subnet = Subnet::new(net("172.17.0.0/16"), None, None).unwrap();
        assert_eq!(subnet.gateway(), ip("172.17.0.1"));
        let mut used = BTreeSet::new();
        for expected in ["172.17.0.2", "172.17.0.3", "172.17.0.4"] {
            let given = subnet.free_address(|address| used.contains(&address)).unwrap();
            assert_eq!(given, ip(expected));
            used.insert(given);
        }
        used.remove(&ip("172.17.0.3"));
        assert_eq!(subnet.free_address(|address| used.contains(&address)), Ok(ip("172.17.0.3")));
        let six = Subnet::new(net("fd00::/64"), None, None).unwrap();
        assert_eq!((six.gateway(), six.free_address(|_| false)), (ip("fd00::1"), Ok(ip("fd00::2"))));
    }

    #[test]
    fn a_range_bounds_what_is_given_and_not_what_is_asked_for() {
        let range = Some(net("10.0.0.128/30"));
        let subnet = Subnet::new(net("10.0.0.0/24"), range, Some(ip("10.0.0.1"))).unwrap();
        let mut given = Vec::new();
        while let Ok(address) = subnet.free_address(|address| given.contains(&address)) {
            given.push(address);
        }
        assert_eq!(given, ["10.0.0.128", "10.0.0.129", "10.0.0.130", "10.0.0.131"].map(ip));
        assert_eq!(subnet.free_address(|_| true), Err(AddressError::None));
        assert_eq!(subnet.check(ip("10.0.0.9"), |_| false), Ok(()));
        assert_eq!(subnet.check(ip("10.0.0.1"), |_| false), Err(AddressError::InUse));
        for outside in ["10.0.0.0", "10.0.0.255", "10.0.1.1", "fd00::1"] {
            assert_eq!(subnet.check(ip(outside), |_| false), Err(AddressError::OutOfRange), "{outside}");
        }
    }

    #[test]
    fn the_smallest_subnet_has_one_container() {
        let subnet = Subnet::new(net("10.0.0.0/30"), None, None).unwrap();
        assert_eq!(subnet.free_address(|_| false), Ok(ip("10.0.0.2")));
        assert_eq!(subnet.free_address(|address| address == ip("10.0.0.2")), Err(AddressError::None));
    }

    #[test]
    fn what_cannot_be_is_named() {
        let refused = |subnet, range: Option<&str>, gateway: Option<&str>| {
            Subnet::new(net(subnet), range.map(net), gateway.map(ip)).unwrap_err().to_string()
        };
        assert_eq!(refused("10.0.0.1/24", None, None), "invalid subnet 10.0.0.1/24: it should be 10.0.0.0/24");
        assert!(refused("10.0.0.0/31", None, None).contains("no room"));
        assert!(refused("10.0.0.0/24", Some("10.0.0.0/16"), None).contains("not in subnet"));
        assert!(refused("10.0.0.0/24", Some("fd00::/64"), None).contains("not in subnet"));
        assert!(refused("10.0.0.0/24", None, Some("10.0.1.1")).contains("parent subnet is 10.0.0.0/24"));
        assert!(refused("10.0.0.0/24", None, Some("10.0.0.255")).contains("invalid gateway"));
    }
}
