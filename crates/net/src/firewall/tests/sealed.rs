//! Sealed networks: nothing but what each container's egress says, and what is
//! published.

use std::sync::atomic::Ordering;

use super::bed::{
    Bed, Container, HOST, HOST_PUBLIC, HOST_TOO, METADATA, NEIGHBOUR, PRIVATE, PUBLIC, link_local, network,
};
use super::calls::{at_link_local, calls, published};
use super::frames::{ETHERTYPE_IPV4, Wire, ethernet, hardware_address, ipv4_udp, token, with_hops};
use super::nftables::nft;
use crate::Egress;
use crate::firewall::{LOOPBACK_MARK, Reach};

const EVERYTHING_ELSE: [[&str; 2]; 7] =
    [NEIGHBOUR, PRIVATE, METADATA, HOST, HOST_TOO, HOST_PUBLIC, ["10.1.0.1", "fd01::1"]];

fn public() -> Egress {
    Egress { public: true, ranges: Vec::new() }
}

fn sealed() -> Option<Bed> {
    Bed::new(&[network(1, Reach::Sealed), network(2, Reach::Host), network(3, Reach::Sealed)])
}

#[test]
fn the_internet_is_reached_and_nothing_near() {
    let Some(mut bed) = sealed() else { return };
    let [a, b] = [2, 3].map(|number| bed.container(1, number, public()));
    let open = bed.container(2, 2, Egress::default());
    let other = bed.container(3, 2, public());
    bed.publish("0.0.0.0", 8080, &open);
    bed.publish("0.0.0.0", 9090, &b);
    bed.publish("0.0.0.0", 7070, &a);
    bed.either_way(|| {
        for address in PUBLIC {
            let sources = bed.heard(&a.node, "remote", &calls(address));
            assert!(
                sources.iter().flatten().all(|source| ![&a.v4, &a.v6].contains(&&source.to_string())),
                "{sources:?}"
            );
        }
        bed.unheard(&a.node, &EVERYTHING_ELSE.concat().into_iter().flat_map(calls).collect::<Vec<_>>());
        for container in [&b, &open, &other] {
            neither_reaches_the_other(&bed, &a, container);
        }
        bed.unheard(&a.node, &at_link_local(&a.node, link_local(b.mac)));
        for address in [HOST[0], HOST_PUBLIC[0], "10.1.0.1", "10.2.0.1"] {
            for port in [7070, 8080, 9090] {
                bed.unheard(&a.node, &published(address, port));
            }
        }
    });
}

fn neither_reaches_the_other(bed: &Bed, a: &Container, b: &Container) {
    for (from, to) in [(a, b), (b, a)] {
        bed.unheard(&from.node, &[&*to.v4, &to.v6].into_iter().flat_map(calls).collect::<Vec<_>>());
    }
}

#[test]
fn egress_is_each_containers_own() {
    let Some(mut bed) = sealed() else { return };
    let ranges = |ranges: &[&str]| ranges.iter().map(|range| range.parse().unwrap()).collect();
    let none = bed.container(1, 2, Egress::default());
    let some =
        bed.container(1, 3, Egress { public: false, ranges: ranges(&["10.200.0.0/16", "10.0.0.0/8", "fd99::/64"]) });
    let more = bed.container(1, 4, Egress { public: true, ranges: ranges(&["10.200.0.1/32", "fd99::1/128"]) });
    let all = bed.container(1, 5, Egress { public: false, ranges: ranges(&["0.0.0.0/0", "::/0"]) });
    let open = bed.container(2, 2, Egress::default());
    bed.either_way(|| {
        let outside = [NEIGHBOUR, METADATA, PUBLIC, PRIVATE].concat();
        for (container, reached) in
            [(&none, &[][..]), (&some, &PRIVATE), (&more, &[PUBLIC, PRIVATE].concat()), (&all, &outside)]
        {
            reached.iter().for_each(|address| drop(bed.heard(&container.node, "remote", &calls(address))));
            let rest = outside.iter().filter(|address| !reached.contains(address));
            bed.unheard(&container.node, &rest.flat_map(|address| calls(address)).collect::<Vec<_>>());
            let near = [HOST, HOST_TOO, HOST_PUBLIC, ["10.1.0.1", "fd01::1"]].concat();
            bed.unheard(&container.node, &near.into_iter().flat_map(calls).collect::<Vec<_>>());
        }
        neither_reaches_the_other(&bed, &all, &none);
        neither_reaches_the_other(&bed, &all, &open);
    });
}

#[test]
fn only_published_ports_lead_in() {
    let Some(mut bed) = sealed() else { return };
    let a = bed.container(1, 2, Egress::default());
    let open = bed.container(2, 2, Egress::default());
    for any in ["0.0.0.0", "::"] {
        bed.publish(any, 8080, &a);
    }
    bed.either_way(|| {
        for from in [&bed.remote, &bed.host, &open.node] {
            HOST.iter().for_each(|address| drop(bed.heard(from, &a.name, &published(address, 8080))));
            bed.unheard(from, &[&*a.v4, &a.v6].into_iter().flat_map(calls).collect::<Vec<_>>());
        }
    });
}

#[test]
fn the_host_comes_in_with_the_mark_of_loopback_publications() {
    let Some(mut bed) = sealed() else { return };
    let a = bed.container(1, 2, Egress::default());
    bed.either_way(|| {
        for address in [&a.v4, &a.v6] {
            bed.exchange.mark.store(LOOPBACK_MARK, Ordering::Relaxed);
            bed.heard(&bed.host, &a.name, &published(address, 80));
            bed.exchange.mark.store(LOOPBACK_MARK - 1, Ordering::Relaxed);
            bed.unheard(&bed.host, &published(address, 80));
            bed.exchange.mark.store(0, Ordering::Relaxed);
        }
    });
}

/// As Docker's, which lead to containers of its own.
#[test]
fn ports_that_others_publish_are_not_reached() {
    let Some(mut bed) = sealed() else { return };
    let a = bed.container(1, 2, public());
    let open = bed.container(2, 2, Egress::default());
    let theirs = format!(
        "table ip theirs {{
            chain prerouting {{
                type nat hook prerouting priority dstnat;
                ip daddr {} meta l4proto {{ tcp, udp }} th dport 7777 dnat to {}:80;
            }}
        }}",
        HOST_PUBLIC[0], PUBLIC[0]
    );
    bed.host.run(|_| nft(&theirs));
    bed.either_way(|| {
        bed.heard(&open.node, "remote", &published(HOST_PUBLIC[0], 7777));
        bed.unheard(&a.node, &published(HOST_PUBLIC[0], 7777));
    });
}

#[test]
fn ports_that_are_not_isolated_are_held_apart_nevertheless() {
    let Some(mut bed) = Bed::new(&[network(1, Reach::Host)]) else { return };
    let [a, b] = [2, 3].map(|number| bed.container(1, number, Egress::default()));
    bed.heard(&a.node, &b.name, &at_link_local(&a.node, link_local(b.mac)));
    bed.policy.networks[0].reach = Reach::Sealed;
    bed.apply();
    bed.either_way(|| {
        neither_reaches_the_other(&bed, &a, &b);
        bed.unheard(&a.node, &at_link_local(&a.node, link_local(b.mac)));
    });
}

#[test]
fn the_host_says_why_a_packet_goes_no_further() {
    let Some(mut bed) = sealed() else { return };
    let a = bed.container(1, 2, public());
    let wire = Wire::open(&a.node, "eth0");
    let gateway = hardware_address(&bed.host, "br1");
    bed.either_way(|| {
        let [token, nothing] = [token(), token()];
        let packet = ipv4_udp(a.v4.parse().unwrap(), PUBLIC[0].parse().unwrap(), &token);
        wire.send(&ethernet(gateway, a.mac.octets(), ETHERTYPE_IPV4, &with_hops(packet, 1)));
        // With what it is about in it.
        assert!(!wire.has_heard(&nothing, &token));
    });
}
