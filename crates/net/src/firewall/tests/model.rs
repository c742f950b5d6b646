//! Which datagrams arrive, against what the policy says in plain words.

use std::net::{IpAddr, SocketAddr};

use proptest::prelude::*;

use super::arbitrary::{PUBLISHED, policies};
use super::bed::{Bed, HOST, HOST_PUBLIC, HOST_TOO, METADATA, NEIGHBOUR, PRIVATE, PUBLIC};
use super::calls::{Call, PORT};
use super::nftables::listing;
use crate::firewall::{Firewall, NetworkPolicy, Nft, Policy, PortPolicy, Reach};
use crate::is_public;
use crate::testbed::Node;

#[derive(Clone, Copy, Debug)]
enum Party<'a> {
    Host,
    Remote,
    Container(&'a PortPolicy),
}

struct Model<'a> {
    policy: &'a Policy,
    with_br_netfilter: bool,
}

impl<'a> Model<'a> {
    fn network(&self, port: &PortPolicy) -> &'a NetworkPolicy {
        self.policy.networks.iter().find(|network| network.bridge == port.bridge).unwrap()
    }

    fn container(&self, address: IpAddr) -> Option<&'a PortPolicy> {
        self.policy.ports.iter().find(|port| port.addresses.contains(&address))
    }

    /// Of two publications that of one address goes before that of all.
    fn published(&self, to: SocketAddr) -> Option<&'a PortPolicy> {
        let publications = self.policy.publications.iter().filter(|publication| publication.host.port() == to.port());
        let of = |host: IpAddr| publications.clone().find(|publication| publication.host.ip() == host);
        let any: IpAddr = if to.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
        of(to.ip()).or(of(any)).and_then(|publication| self.container(publication.to.ip()))
    }

    /// Who hears it.
    fn hears(&self, from: Party<'a>, to: SocketAddr) -> Option<Party<'a>> {
        if let Some(container) = self.container(to.ip()) {
            return self.reaches(from, container).then_some(Party::Container(container));
        }
        if is_remote(to.ip()) {
            return self.leaves(from, to.ip()).then_some(Party::Remote);
        }
        if let Some(container) = self.published(to) {
            return self.enters(from, container).then_some(Party::Container(container));
        }
        (to.port() == PORT && self.reaches_host(from, to.ip())).then_some(Party::Host)
    }

    fn reaches(&self, from: Party<'_>, container: &PortPolicy) -> bool {
        match from {
            Party::Host => self.network(container).reach != Reach::Sealed,
            Party::Remote => false,
            Party::Container(from) if from == container => true,
            Party::Container(from) => from.bridge == container.bridge && !self.network(from).is_isolated(),
        }
    }

    fn leaves(&self, from: Party<'_>, to: IpAddr) -> bool {
        let Party::Container(from) = from else { return true };
        match self.network(from).reach {
            Reach::Host | Reach::Outside => true,
            Reach::Internal => false,
            Reach::Sealed => {
                let egress = &from.egress;
                egress.public && is_public(to) || egress.ranges.iter().any(|range| range.contains(&to))
            }
        }
    }

    fn enters(&self, from: Party<'_>, container: &PortPolicy) -> bool {
        let Party::Container(from) = from else { return true };
        let is_neighbour = from.bridge == container.bridge;
        let network = self.network(from);
        match network.reach {
            Reach::Sealed => false,
            Reach::Internal => is_neighbour && !network.is_isolated(),
            // The bridge has it back before it is routed, and does not pass it on.
            Reach::Host | Reach::Outside => !(is_neighbour && network.is_isolated() && self.with_br_netfilter),
        }
    }

    fn reaches_host(&self, from: Party<'_>, to: IpAddr) -> bool {
        let Party::Container(from) = from else { return true };
        let network = self.network(from);
        match network.reach {
            Reach::Host => true,
            Reach::Outside | Reach::Internal => network.subnets.iter().any(|subnet| subnet.gateway == to),
            Reach::Sealed => false,
        }
    }
}

fn parsed(addresses: &[[&str; 2]]) -> Vec<IpAddr> {
    addresses.concat().iter().map(|address| address.parse().unwrap()).collect()
}

fn remote_addresses() -> Vec<IpAddr> {
    parsed(&[NEIGHBOUR, PUBLIC, PRIVATE, METADATA])
}

fn is_remote(address: IpAddr) -> bool {
    remote_addresses().contains(&address)
}

/// Of all that could be sent, everything.
fn destinations(policy: &Policy) -> Vec<SocketAddr> {
    let containers = policy.ports.iter().flat_map(|port| &port.addresses[..2]).copied();
    // A bridge without ports may not hear its own IPv6 address.
    let has_ports = |network: &&NetworkPolicy| policy.ports.iter().any(|port| port.bridge == network.bridge);
    let networks = policy.networks.iter().filter(has_ports);
    let gateways = networks.flat_map(|network| network.subnets.iter().map(|subnet| subnet.gateway));
    let host: Vec<_> = parsed(&[HOST, HOST_TOO, HOST_PUBLIC]).into_iter().chain(gateways).collect();
    let published = host.iter().flat_map(|address| PUBLISHED.map(|port| SocketAddr::new(*address, port)));
    let at_port = containers.chain(remote_addresses()).chain(host.iter().copied());
    at_port.map(|address| SocketAddr::new(address, PORT)).chain(published).collect()
}

fn check(policy: &Policy, with_br_netfilter: bool) {
    let Some(mut bed) = Bed::new(&policy.networks) else { return };
    let with_br_netfilter = bed.bridged_packets_come_by(if with_br_netfilter { "1" } else { "0" }) && with_br_netfilter;
    let containers: Vec<_> = policy.ports.iter().map(|port| bed.port(port)).collect();
    bed.policy = policy.clone();
    bed.apply();
    let model = Model { policy, with_br_netfilter };
    let name = |party| match party {
        Party::Host => "host",
        Party::Remote => "remote",
        Party::Container(port) => &containers.iter().find(|container| container.link == port.link).unwrap().name,
    };
    let nodes = containers.iter().zip(&policy.ports).map(|(container, port)| (Party::Container(port), &container.node));
    let nodes: Vec<_> = [(Party::Host, &bed.host), (Party::Remote, &bed.remote)].into_iter().chain(nodes).collect();
    std::thread::scope(|scope| {
        for (from, node) in nodes {
            let (bed, model, name) = (&bed, &model, &name);
            scope.spawn(move || {
                let to = destinations(policy);
                let expected: Vec<_> = to.iter().map(|to| model.hears(from, *to)).collect();
                let calls: Vec<_> = to.iter().zip(&expected).map(|(to, by)| (Call::Udp(*to), by.is_some())).collect();
                for ((to, expected), heard) in to.iter().zip(expected).zip(bed.exchange.arrivals(node, &calls)) {
                    let by = heard.as_deref().ok();
                    assert_eq!(by, expected.map(name), "from {} to {to}: {heard:?}", name(from));
                }
            });
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, max_shrink_iters: 30, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn datagrams_arrive_where_the_policy_says(policy in policies(), with_br_netfilter: bool) {
        check(&policy, with_br_netfilter);
    }

    #[test]
    fn updates_are_as_good_as_replacements(policies in proptest::collection::vec(policies(), 2..5)) {
        let Some(node) = Node::new() else { return Ok(()) };
        let mut by_difference = Firewall::new(Nft::default());
        let (last, before) = policies.split_last().unwrap();
        for policy in before {
            node.run(|_| by_difference.update(policy)).unwrap();
        }
        node.run(|_| by_difference.update(last)).unwrap();
        let updated = listing(&node);
        node.run(|_| Firewall::new(Nft::default()).replace(last)).unwrap();
        assert_eq!(listing(&node), updated);
    }
}
