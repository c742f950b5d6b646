//! A network and its containers' ends of it: who has which address, and what the
//! firewall is to know of both.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::{
    AddressError, DriverOptions, Egress, Interface, MacAddress, NetworkPolicy, PORT_PREFIX, PortPolicy, Reach, Subnet,
    SubnetPolicy,
};

/// As many digits of an id as names of links have room for, and people read.
const SHORT: usize = 12;

#[derive(Clone, Debug)]
pub struct Network {
    /// 64 hexadecimal digits.
    pub id: String,
    pub reach: Reach,
    /// At most one of each family.
    pub subnets: Vec<Subnet>,
    pub options: DriverOptions,
}

/// What a container asks for; what it does not is given.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    pub v4: Option<Ipv4Addr>,
    pub v6: Option<Ipv6Addr>,
    pub mac: Option<MacAddress>,
}

/// A container's end of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// 64 hexadecimal digits.
    pub id: String,
    pub mac: MacAddress,
    pub v4: Option<Ipv4Addr>,
    pub v6: Option<Ipv6Addr>,
}

impl Network {
    pub fn bridge(&self) -> String {
        self.options.bridge.clone().unwrap_or_else(|| format!("br-{}", short(&self.id)))
    }

    /// A place beside the others that are there.
    pub fn endpoint(&self, id: &str, wanted: Wanted, others: &[Endpoint]) -> Result<Endpoint, AddressError> {
        let used = |address| others.iter().any(|other| other.addresses().any(|theirs| theirs == address));
        let pick = |wanted: Option<IpAddr>, is_v4: bool| {
            let subnet = self.subnets.iter().find(|subnet| subnet.gateway().is_ipv4() == is_v4);
            match (subnet, wanted) {
                (Some(subnet), Some(wanted)) => subnet.check(wanted, used).map(|()| Some(wanted)),
                (Some(subnet), None) => subnet.free_address(used).map(Some),
                (None, Some(_)) => Err(AddressError::OutOfRange),
                (None, None) => Ok(None),
            }
        };
        let v4 = match pick(wanted.v4.map(IpAddr::V4), true)? {
            Some(IpAddr::V4(address)) => Some(address),
            _ => None,
        };
        let v6 = match pick(wanted.v6.map(IpAddr::V6), false)? {
            Some(IpAddr::V6(address)) => Some(address),
            _ => None,
        };
        // As different as the addresses are.
        let [.., a, b, c, d] = v6.unwrap_or(Ipv6Addr::UNSPECIFIED).octets();
        let mac = wanted.mac.unwrap_or_else(|| MacAddress::of(v4.unwrap_or_else(|| [a, b, c, d].into())));
        Ok(Endpoint { id: id.to_owned(), mac, v4, v6 })
    }

    /// What a container's link is to be.
    pub fn interface(&self, endpoint: &Endpoint, name: String) -> Interface {
        let of = |address: IpAddr| self.subnets.iter().find(move |subnet| subnet.net().contains(&address));
        let with_prefix = |address| of(address).and_then(|subnet| IpNet::new(address, subnet.net().prefix_len()).ok());
        let leads_out = self.reach != Reach::Internal;
        Interface {
            name,
            mac: endpoint.mac,
            mtu: self.options.mtu,
            addresses: endpoint.addresses().filter_map(with_prefix).collect(),
            gateways: self.subnets.iter().map(Subnet::gateway).filter(|_| leads_out).collect(),
        }
    }

    /// The bridge's own addresses.
    pub fn gateways(&self) -> Vec<IpNet> {
        let with_prefix = |subnet: &Subnet| IpNet::new(subnet.gateway(), subnet.net().prefix_len()).ok();
        self.subnets.iter().filter_map(with_prefix).collect()
    }

    pub fn policy(&self) -> NetworkPolicy {
        let subnet = |subnet: &Subnet| SubnetPolicy { net: subnet.net(), gateway: subnet.gateway() };
        NetworkPolicy {
            bridge: self.bridge(),
            reach: self.reach,
            subnets: self.subnets.iter().map(subnet).collect(),
            icc: self.options.icc,
            masquerade: self.options.masquerade && self.reach != Reach::Internal,
        }
    }

    /// `egress` is the container's own, if it asked for one.
    pub fn port(&self, endpoint: &Endpoint, egress: Option<Egress>) -> PortPolicy {
        let link_local = endpoint.v6.map(|_| endpoint.mac.link_local().into());
        PortPolicy {
            link: endpoint.link(),
            bridge: self.bridge(),
            mac: endpoint.mac,
            addresses: endpoint.addresses().chain(link_local).collect(),
            egress: egress.unwrap_or_else(|| self.options.egress.clone()),
        }
    }
}

impl Endpoint {
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.v4.map(IpAddr::V4).into_iter().chain(self.v6.map(IpAddr::V6))
    }

    /// Name of its link on the host.
    pub fn link(&self) -> String {
        format!("{PORT_PREFIX}{}", short(&self.id))
    }
}

fn short(id: &str) -> &str {
    id.get(..SHORT).unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn network(reach: Reach, subnets: &[&str]) -> Network {
        let subnets = subnets.iter().map(|net| Subnet::new(net.parse().unwrap(), None, None).unwrap()).collect();
        Network { id: "0123456789abcdef".repeat(4), reach, subnets, options: DriverOptions::default() }
    }

    fn id(number: usize) -> String {
        format!("{number:064x}").chars().rev().collect()
    }

    #[test]
    fn an_endpoint_is_told_to_link_and_firewall_alike() {
        let network = network(Reach::Sealed, &["10.1.0.0/16", "fd00:1::/64"]);
        let wanted = Wanted { v4: Some([10, 1, 2, 3].into()), ..Wanted::default() };
        let endpoint = network.endpoint(&"fedcba9876543210".repeat(4), wanted, &[]).unwrap();
        assert_eq!((network.bridge(), endpoint.link()), ("br-0123456789ab".into(), "cm-fedcba987654".into()));
        assert_eq!(endpoint.mac.to_string(), "02:42:0a:01:02:03");
        let interface = network.interface(&endpoint, "eth0".into());
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        assert_eq!(interface.addresses, [net("10.1.2.3/16"), net("fd00:1::2/64")]);
        assert_eq!(network.gateways(), [net("10.1.0.1/16"), net("fd00:1::1/64")]);
        assert_eq!(interface.gateways, ["10.1.0.1", "fd00:1::1"].map(|text| text.parse::<IpAddr>().unwrap()));
        let port = network.port(&endpoint, None);
        let addresses = ["10.1.2.3", "fd00:1::2", "fe80::42:aff:fe01:203"].map(|text| text.parse::<IpAddr>().unwrap());
        assert_eq!((port.addresses, port.egress.public), (addresses.to_vec(), true));
        assert_eq!(network.port(&endpoint, Some(Egress::default())).egress, Egress::default());
    }

    #[test]
    fn an_internal_network_leads_nowhere() {
        let network = network(Reach::Internal, &["10.1.0.0/16"]);
        let endpoint = network.endpoint(&id(1), Wanted::default(), &[]).unwrap();
        assert!(network.interface(&endpoint, "eth0".into()).gateways.is_empty() && !network.policy().masquerade);
    }

    #[test]
    fn what_cannot_be_had_is_refused() {
        let network = network(Reach::Outside, &["10.1.0.0/30"]);
        let first = network.endpoint(&id(1), Wanted::default(), &[]).unwrap();
        let others = [first];
        let asked = |wanted| network.endpoint(&id(2), wanted, &others).unwrap_err();
        assert_eq!(asked(Wanted::default()), AddressError::None);
        assert_eq!(asked(Wanted { v4: Some([10, 1, 0, 2].into()), ..Wanted::default() }), AddressError::InUse);
        assert_eq!(asked(Wanted { v4: Some([10, 2, 0, 2].into()), ..Wanted::default() }), AddressError::OutOfRange);
        // It has none of that family.
        let six = Wanted { v6: Some(Ipv6Addr::LOCALHOST), ..Wanted::default() };
        assert_eq!(network.endpoint(&id(2), six, &[]).unwrap_err(), AddressError::OutOfRange);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whoever comes and goes: no two have an address, a link or a MAC in common.
        #[test]
        fn nothing_is_given_twice(steps in proptest::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 1..60)) {
            let network = network(Reach::Outside, &["10.1.0.0/27", "fd00::/64"]);
            let mut endpoints: Vec<Endpoint> = Vec::new();
            for (number, (goes, which)) in steps.into_iter().enumerate() {
                if goes && !endpoints.is_empty() {
                    endpoints.remove(which.index(endpoints.len()));
                }
                match network.endpoint(&id(number), Wanted::default(), &endpoints) {
                    Ok(endpoint) => endpoints.push(endpoint),
                    Err(error) => {
                        // 32 but for the subnet's own, the bridge's and the broadcast address.
                        prop_assert_eq!((error, endpoints.len()), (AddressError::None, 29));
                    }
                }
                for (at, one) in endpoints.iter().enumerate() {
                    for other in &endpoints[at + 1..] {
                        prop_assert!(one.addresses().all(|address| other.addresses().all(|theirs| theirs != address)));
                        prop_assert!(one.mac != other.mac && one.link() != other.link());
                    }
                }
            }
        }
    }
}
