//! Networks that reach of the host no more than their gateway, nobody outside, or
//! whose containers do not reach one another.

use super::bed::{Bed, HOST, HOST_PUBLIC, HOST_TOO, METADATA, NEIGHBOUR, PRIVATE, PUBLIC, link_local, network};
use super::calls::{at_link_local, calls, published};
use crate::Egress;
use crate::firewall::{NetworkPolicy, Reach};

#[test]
fn user_networks_reach_the_outside_and_of_the_host_the_gateway() {
    let Some(mut bed) = Bed::new(&[network(1, Reach::Outside), network(2, Reach::Outside)]) else { return };
    let [a, b] = [2, 3].map(|number| bed.container(1, number, Egress::default()));
    let other = bed.container(2, 2, Egress::default());
    bed.publish("0.0.0.0", 8080, &a);
    bed.either_way(|| {
        for address in [&b.v4, &b.v6] {
            bed.heard(&a.node, &b.name, &calls(address));
        }
        for gateway in ["10.1.0.1", "fd01::1"] {
            bed.heard(&a.node, "host", &calls(gateway));
        }
        for address in [NEIGHBOUR, PUBLIC, PRIVATE, METADATA].concat() {
            bed.heard(&a.node, "remote", &calls(address));
        }
        let others = [HOST, HOST_TOO, HOST_PUBLIC, ["10.2.0.1", "fd02::1"], [&other.v4, &other.v6]].concat();
        bed.unheard(&a.node, &others.into_iter().flat_map(calls).collect::<Vec<_>>());
        for address in [&a.v4, &a.v6] {
            bed.heard(&bed.host, &a.name, &calls(address));
            bed.unheard(&bed.remote, &calls(address));
        }
        for from in [&bed.remote, &bed.host, &a.node, &b.node, &other.node] {
            bed.heard(from, &a.name, &published(HOST[0], 8080));
        }
    });
}

#[test]
fn internal_networks_reach_themselves_and_the_gateway() {
    let Some(mut bed) = Bed::new(&[network(1, Reach::Internal), network(2, Reach::Host)]) else { return };
    let [a, b] = [2, 3].map(|number| bed.container(1, number, Egress::default()));
    let other = bed.container(2, 2, Egress::default());
    bed.publish("0.0.0.0", 8080, &other);
    bed.either_way(|| {
        for address in [&b.v4, &b.v6] {
            bed.heard(&a.node, &b.name, &calls(address));
        }
        for gateway in ["10.1.0.1", "fd01::1"] {
            bed.heard(&a.node, "host", &calls(gateway));
        }
        for address in [&a.v4, &a.v6] {
            bed.heard(&bed.host, &a.name, &calls(address));
            bed.unheard(&bed.remote, &calls(address));
            bed.unheard(&other.node, &calls(address));
        }
        let outside = [NEIGHBOUR, PUBLIC, PRIVATE, METADATA, HOST, HOST_TOO, HOST_PUBLIC].concat();
        let others = [&other.v4, &other.v6, "10.2.0.1", "fd02::1"];
        bed.unheard(&a.node, &outside.into_iter().chain(others).flat_map(calls).collect::<Vec<_>>());
        bed.unheard(&a.node, &published(HOST[0], 8080));
        bed.unheard(&a.node, &published("10.1.0.1", 8080));
    });
}

#[test]
fn containers_without_icc_reach_all_but_one_another() {
    let networks = [Reach::Host, Reach::Outside, Reach::Internal].into_iter().zip(1..);
    let networks: Vec<_> = networks.map(|(reach, n)| NetworkPolicy { icc: false, ..network(n, reach) }).collect();
    let Some(mut bed) = Bed::new(&networks) else { return };
    let containers = [1, 2, 3].map(|network| [2, 3].map(|number| bed.container(network, number, Egress::default())));
    bed.either_way(|| {
        for ([a, b], network) in containers.iter().zip(&networks) {
            bed.unheard(&a.node, &[&*b.v4, &b.v6].into_iter().flat_map(calls).collect::<Vec<_>>());
            let b_here = at_link_local(&a.node, link_local(b.mac));
            bed.unheard(&a.node, &b_here);
            for subnet in &network.subnets {
                bed.heard(&a.node, "host", &calls(&subnet.gateway.to_string()));
            }
            match network.reach {
                Reach::Internal => {}
                _ => PUBLIC.iter().for_each(|address| drop(bed.heard(&a.node, "remote", &calls(address)))),
            }
        }
    });
}

#[test]
fn without_masquerade_containers_are_seen_as_themselves() {
    let Some(mut bed) = Bed::new(&[NetworkPolicy { masquerade: false, ..network(1, Reach::Host) }]) else { return };
    let a = bed.container(1, 2, Egress::default());
    bed.either_way(|| {
        for (address, source) in PUBLIC.iter().zip([&a.v4, &a.v6]) {
            let sources = bed.heard(&a.node, "remote", &calls(address));
            assert!(sources.iter().flatten().all(|seen| seen.to_string() == *source), "{sources:?}");
        }
    });
}
