//! A network as Docker's bridge.

use std::net::{IpAddr, SocketAddr};

use super::bed::{Bed, HOST, HOST_PUBLIC, HOST_TOO, METADATA, NEIGHBOUR, PRIVATE, PUBLIC, link_local, network};
use super::calls::{self, PORT, at_link_local, calls, published};
use super::frames::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, Wire, ethernet, hardware_address, ipv4_udp, ipv6_udp, token};
use crate::Egress;
use crate::firewall::Reach;
use crate::testbed::Node;

#[test]
fn its_containers_reach_all_but_other_networks() {
    let Some(mut bed) = Bed::new(&[network(1, Reach::Host), network(2, Reach::Host)]) else { return };
    let [a, b] = [2, 3].map(|number| bed.container(1, number, Egress::default()));
    let other = bed.container(2, 2, Egress::default());
    bed.either_way(|| {
        for address in [&b.v4, &b.v6] {
            let sources = bed.heard(&a.node, &b.name, &calls(address));
            assert!(
                sources.iter().flatten().all(|source| [&a.v4, &a.v6].contains(&&source.to_string())),
                "{sources:?}"
            );
        }
        bed.heard(&a.node, &b.name, &at_link_local(&a.node, link_local(b.mac)));
        for address in [HOST, HOST_TOO, HOST_PUBLIC, ["10.1.0.1", "fd01::1"], ["10.2.0.1", "fd02::1"]].concat() {
            bed.heard(&a.node, "host", &calls(address));
        }
        for address in [NEIGHBOUR, PUBLIC, PRIVATE, METADATA].concat() {
            let sources = bed.heard(&a.node, "remote", &calls(address));
            let is_host = |source: &IpAddr| [HOST, HOST_TOO, HOST_PUBLIC].concat().contains(&&*source.to_string());
            assert!(sources.iter().flatten().all(is_host), "{sources:?}");
        }
        for address in [&a.v4, &a.v6] {
            bed.heard(&bed.host, &a.name, &calls(address));
            bed.unheard(&bed.remote, &calls(address));
            bed.unheard(&other.node, &calls(address));
        }
    });
}

#[test]
fn published_ports_lead_in_from_everywhere() {
    let Some(mut bed) = Bed::new(&[network(1, Reach::Host), network(2, Reach::Host)]) else { return };
    let [a, b] = [2, 3].map(|number| bed.container(1, number, Egress::default()));
    let other = bed.container(2, 2, Egress::default());
    for any in ["0.0.0.0", "::"] {
        bed.publish(any, 8080, &a);
    }
    bed.either_way(|| {
        for address in [HOST, HOST_TOO, HOST_PUBLIC, ["10.1.0.1", "fd01::1"]].concat() {
            for from in [&bed.host, &b.node, &other.node, &a.node] {
                bed.heard(from, &a.name, &published(address, 8080));
            }
        }
        for address in HOST {
            let sources = bed.heard(&bed.remote, &a.name, &published(address, 8080));
            assert!(sources.iter().flatten().all(|source| NEIGHBOUR.contains(&&*source.to_string())), "{sources:?}");
            bed.heard(&bed.remote, "host", &calls(address));
        }
        bed.unheard(&bed.remote, &published(&a.v4, 80));
    });
}

#[test]
fn a_port_of_one_address_is_published_there_only() {
    let Some(mut bed) = Bed::new(&[network(1, Reach::Host)]) else { return };
    let [a, b] = [2, 3].map(|number| bed.container(1, number, Egress::default()));
    for (address, loopback) in HOST_TOO.into_iter().zip(["127.0.0.1", "::1"]) {
        bed.publish(address, 8080, &a);
        bed.publish(loopback, 9090, &a);
    }
    bed.either_way(|| {
        for from in [&bed.remote, &bed.host, &a.node, &b.node] {
            HOST_TOO.iter().for_each(|address| drop(bed.heard(from, &a.name, &published(address, 8080))));
            for address in HOST.into_iter().chain(HOST_TOO) {
                bed.unheard(from, &published(address, 9090));
            }
            HOST.iter().for_each(|address| bed.unheard(from, &published(address, 8080)));
        }
        for loopback in ["127.0.0.1", "::1"] {
            bed.unheard(&bed.host, &published(loopback, 9090));
        }
    });
}

/// Of connection tracking's state, by a wrong checksum.
#[test]
fn what_is_invalid_is_dropped_if_it_is_ours() {
    let Some(mut bed) = Bed::new(&[network(1, Reach::Host)]) else { return };
    let a = bed.container(1, 2, Egress::default());
    let at_remote = Wire::open(&bed.remote, "eth0");
    let is_heard = |from: &Node, gateway: &str, source: &str| {
        let (wire, mac) = (Wire::open(from, "eth0"), hardware_address(from, "eth0"));
        let send = |packet: &[u8]| {
            wire.send(&ethernet(hardware_address(&bed.host, gateway), mac, ETHERTYPE_IPV4, packet));
        };
        let [token, after] = [token(), token()];
        let [mut wrong, right] =
            [token, after].map(|token| ipv4_udp(source.parse().unwrap(), PRIVATE[0].parse().unwrap(), &token));
        wrong[26..28].copy_from_slice(&[0xba, 0xd0]);
        send(&wrong);
        send(&right);
        at_remote.has_heard(&token, &after)
    };
    bed.either_way(|| {
        assert!(!is_heard(&a.node, "br1", &a.v4));
        assert!(is_heard(&bed.remote, "lan", NEIGHBOUR[0]));
    });
}

/// Who serves a port on the host's loopback addresses hears the host, and no one
/// who sends frames there from elsewhere.
#[test]
fn loopback_addresses_are_the_hosts_alone() {
    let Some(mut bed) = Bed::new(&[network(1, Reach::Host)]) else { return };
    let a = bed.container(1, 2, Egress::default());
    for any in ["0.0.0.0", "::"] {
        bed.publish(any, 8080, &a);
    }
    let loopback = ["127.0.0.1", "::1"];
    loopback.iter().for_each(|address| bed.publish(address, PORT, &a));
    // Otherwise the kernel knows it by itself.
    bed.host.set("ipv4/conf/all/route_localnet", "1");
    for port in [8080, PORT] {
        loopback.iter().for_each(|address| {
            bed.exchange.serve_at(&bed.host, "proxy", SocketAddr::new(address.parse().unwrap(), port));
        });
    }
    bed.either_way(|| {
        loopback.iter().for_each(|address| drop(bed.heard(&bed.host, "proxy", &published(address, 8080))));
        for (from, link, [v4, v6]) in [(&a.node, "br1", [&*a.v4, &a.v6]), (&bed.remote, "lan", NEIGHBOUR)] {
            let (wire, mac) = (Wire::open(from, "eth0"), hardware_address(from, "eth0"));
            let to = hardware_address(&bed.host, link);
            let [of4, of6] = [calls::token(), calls::token()];
            let packet = ipv4_udp(v4.parse().unwrap(), "127.0.0.1".parse().unwrap(), &of4.to_be_bytes());
            wire.send(&ethernet(to, mac, ETHERTYPE_IPV4, &packet));
            let packet = ipv6_udp(v6.parse().unwrap(), "::1".parse().unwrap(), &of6.to_be_bytes());
            wire.send(&ethernet(to, mac, ETHERTYPE_IPV6, &packet));
            // They would have been heard before this.
            bed.heard(from, "host", &calls("10.1.0.1"));
            assert!(![of4, of6].iter().any(|token| bed.exchange.was_heard(*token)), "from {link}");
        }
    });
}
