//! Policies of any kind, on few networks, whose containers all have what a `Bed`
//! gives them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};

use super::bed::{HOST, HOST_TOO, addresses, network};
use super::calls::PORT;
use crate::Egress;
use crate::MacAddress;
use crate::firewall::{NetworkPolicy, Policy, PortPolicy, Reach};
use crate::{Protocol, Publication};

/// Ports of the host that are published.
pub(super) const PUBLISHED: std::ops::Range<u16> = 8080..8083;

pub(super) fn policies() -> impl Strategy<Value = Policy> {
    let networks = vec((networks(), vec(egresses(), 0..=2)), 1..=3);
    let hosts = ["0.0.0.0", "::", HOST[0], HOST[1], HOST_TOO[0], HOST_TOO[1], "127.0.0.1", "::1"];
    let hosts = (select(hosts.to_vec()), PUBLISHED);
    (networks, btree_map(hosts, any::<Index>(), 0..6)).prop_map(|(networks, publications)| {
        let mut policy = Policy::default();
        for (number, (network, egresses)) in (1..).zip(networks) {
            let network = numbered(number, network);
            let ports = (2..).zip(egresses).map(|(container, egress)| port(number, container, egress));
            policy.ports.extend(ports);
            policy.networks.push(network);
        }
        if !policy.ports.is_empty() {
            for ((host, port), to) in publications {
                let host: IpAddr = host.parse().unwrap();
                let addresses = &to.get(&policy.ports).addresses;
                let to = addresses.iter().find(|address| address.is_ipv4() == host.is_ipv4()).unwrap();
                let (host, to) = (SocketAddr::new(host, port), SocketAddr::new(*to, PORT));
                policy.publications.push(Publication { protocol: Protocol::Udp, host, to });
            }
        }
        policy
    })
}

fn networks() -> impl Strategy<Value = (Reach, bool, bool)> {
    (select(vec![Reach::Host, Reach::Outside, Reach::Internal, Reach::Sealed]), any::<bool>(), any::<bool>())
}

fn numbered(number: u8, (reach, icc, masquerade): (Reach, bool, bool)) -> NetworkPolicy {
    NetworkPolicy { icc, masquerade, ..network(number, reach) }
}

fn egresses() -> impl Strategy<Value = Egress> {
    let ranges = ["10.0.0.0/8", "10.200.0.0/16", "169.254.169.254/32", "0.0.0.0/0", "fd00::/8", "fd99::/64", "::/0"];
    let ranges = ranges.map(|range| range.parse().unwrap()).to_vec();
    (any::<bool>(), subsequence(ranges, 0..=2)).prop_map(|(public, ranges)| Egress { public, ranges })
}

fn port(network: u8, number: u8, egress: Egress) -> PortPolicy {
    let mac = MacAddress::of(Ipv4Addr::new(10, network, 0, number));
    let (link, bridge) = (format!("cm-{network}-{number}"), format!("br{network}"));
    PortPolicy { link, bridge, mac, addresses: addresses(network, number), egress }
}
