//! An attacker in a container, who sends whatever frames it likes.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::bed::{Bed, Container, HOST, HOST_PUBLIC, NEIGHBOUR, PRIVATE, PUBLIC, link_local, network};
use super::calls::{self, calls, published};
use super::frames::{
    self, BROADCAST, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Mac, Wire, arp, ethernet, hardware_address,
    ipv4_udp, ipv6_udp, neighbour, tagged, token, with_options,
};
use crate::Egress;
use crate::MacAddress;
use crate::firewall::Reach;

const NOBODY: Mac = [0x02, 0x42, 10, 1, 0, 77];
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// Of a network with an attacker, its neighbour, and the host.
struct Scene {
    bed: Bed,
    attacker: Container,
    victim: Container,
    from: Wire,
    at_victim: Wire,
    at_host: Wire,
}

#[derive(Clone, Copy, Debug)]
struct Party {
    mac: Mac,
    v4: Ipv4Addr,
    v6: Ipv6Addr,
    link_local: Ipv6Addr,
}

impl Party {
    fn of(container: &Container) -> Self {
        let (mac, link_local) = (container.mac.octets(), link_local(container.mac));
        Self { mac, v4: container.v4.parse().unwrap(), v6: container.v6.parse().unwrap(), link_local }
    }
}

impl Scene {
    fn new(reach: Reach) -> Option<Self> {
        let mut bed = Bed::new(&[network(1, reach)])?;
        let [attacker, victim] = [2, 3].map(|number| bed.container(1, number, Egress::default()));
        let from = Wire::open(&attacker.node, "eth0");
        let at_victim = Wire::open(&victim.node, "eth0");
        let at_host = Wire::open(&bed.host, "br1");
        Some(Self { bed, attacker, victim, from, at_victim, at_host })
    }

    fn parties(&self) -> (Party, Party) {
        (Party::of(&self.attacker), Party::of(&self.victim))
    }

    /// Whether the host, and whether the neighbour hears a frame with this in it.
    /// After it the attacker asks for the gateway, which is not forged and heard.
    fn hear(&self, frame: &[u8], token: [u8; 6]) -> [bool; 2] {
        self.from.send(frame);
        let (me, _) = self.parties();
        let after = frames::token();
        let ask = arp(1, (me.mac, me.v4), Ipv4Addr::new(10, 1, 0, 1), &after);
        self.from.send(&ethernet(BROADCAST, me.mac, ETHERTYPE_ARP, &ask));
        [&self.at_host, &self.at_victim].map(|wire| wire.has_heard(&token, &after))
    }
}

/// Each a frame with its token.
fn forgeries(me: Party, victim: Party) -> Vec<(&'static str, Vec<u8>, [u8; 6])> {
    let mut forgeries = Vec::new();
    let mut forge = |name: &'static str, frame: &dyn Fn([u8; 6]) -> Vec<u8>| {
        let token = token();
        forgeries.push((name, frame(token), token));
    };
    let (gateway4, gateway6) = (Ipv4Addr::new(10, 1, 0, 1), Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, 1));
    let ip4 =
        |from, to, mac: Mac, token: [u8; 6]| ethernet(BROADCAST, mac, ETHERTYPE_IPV4, &ipv4_udp(from, to, &token));
    let ip6 =
        |from, to, mac: Mac, token: [u8; 6]| ethernet(BROADCAST, mac, ETHERTYPE_IPV6, &ipv6_udp(from, to, &token));
    forge("a MAC of nobody's, IPv4", &|token| ip4(me.v4, victim.v4, NOBODY, token));
    forge("a MAC of nobody's, IPv6", &|token| ip6(me.v6, victim.v6, NOBODY, token));
    forge("the neighbour's MAC", &|token| ip4(me.v4, gateway4, victim.mac, token));
    forge("an IPv4 address of nobody's", &|token| ip4(Ipv4Addr::new(10, 1, 0, 77), victim.v4, me.mac, token));
    forge("the neighbour's IPv4 address", &|token| ip4(victim.v4, gateway4, me.mac, token));
    forge("the gateway's IPv4 address", &|token| ip4(gateway4, victim.v4, me.mac, token));
    forge("no IPv4 address", &|token| ip4(Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST, me.mac, token));
    forge("a public IPv4 address", &|token| ip4(Ipv4Addr::new(1, 2, 3, 4), victim.v4, me.mac, token));
    forge("the neighbour's IPv6 address", &|token| ip6(victim.v6, gateway6, me.mac, token));
    forge("the neighbour's link-local address", &|token| ip6(victim.link_local, gateway6, me.mac, token));
    forge("the gateway's IPv6 address", &|token| ip6(gateway6, victim.v6, me.mac, token));
    forge("no IPv6 address", &|token| ip6(Ipv6Addr::UNSPECIFIED, ALL_NODES, me.mac, token));

    let arp = |operation, mac: Mac, ip, token: [u8; 6]| {
        ethernet(BROADCAST, me.mac, ETHERTYPE_ARP, &arp(operation, (mac, ip), gateway4, &token))
    };
    forge("a request as the neighbour", &|token| arp(1, me.mac, victim.v4, token));
    forge("a reply as the neighbour", &|token| arp(2, me.mac, victim.v4, token));
    forge("a reply as the gateway", &|token| arp(2, me.mac, gateway4, token));
    forge("a reply with the neighbour's MAC", &|token| arp(2, victim.mac, me.v4, token));
    forge("a probe for an address", &|token| arp(1, me.mac, Ipv4Addr::UNSPECIFIED, token));

    let other_hardware = |token| {
        let mut frame = arp(2, me.mac, victim.v4, token);
        // Of IEEE 802, which counts as Ethernet.
        frame[15] = 6;
        frame
    };
    forge("a reply of other hardware", &other_hardware);

    let nd = |kind, from, target, token| {
        ethernet(BROADCAST, me.mac, ETHERTYPE_IPV6, &neighbour(kind, (from, ALL_NODES), (target, me.mac), token))
    };
    forge("an advertisement of the neighbour's address", &|token| nd(136, me.v6, victim.v6, token));
    forge("an advertisement of its link-local address", &|token| nd(136, me.link_local, victim.link_local, token));
    forge("an advertisement of the gateway's", &|token| nd(136, me.v6, gateway6, token));
    forge("an advertisement from another's", &|token| nd(136, victim.v6, victim.v6, token));
    forge("a solicitation from another's", &|token| nd(135, victim.v6, gateway6, token));
    forge("a claim to the neighbour's address", &|token| nd(135, Ipv6Addr::UNSPECIFIED, victim.v6, token));
    forge("an advertisement of a router", &|token| nd(134, me.link_local, me.link_local, token));

    let behind_options = |kind| {
        move |token| {
            let message = neighbour(kind, (me.link_local, ALL_NODES), (victim.link_local, me.mac), token);
            ethernet(BROADCAST, me.mac, ETHERTYPE_IPV6, &with_options(&message))
        }
    };
    forge("an advertisement of the neighbour's behind options", &behind_options(136));
    forge("an advertisement of a router behind options", &behind_options(134));
    forge("what is cut off of an advertisement", &|token| {
        let message = neighbour(136, (me.v6, ALL_NODES), (victim.v6, me.mac), token);
        let cut = [&message[..4], &[0, 14], &message[6..48], &token].concat();
        ethernet(BROADCAST, me.mac, ETHERTYPE_IPV6, &cut)
    });
    forge("what is cut off of an IPv6 header", &|token| {
        ethernet(BROADCAST, me.mac, ETHERTYPE_IPV6, &[&[0x60, 0, 0, 0], &token[..]].concat())
    });
    forge("what is cut off of an ARP request", &|token| {
        ethernet(BROADCAST, me.mac, ETHERTYPE_ARP, &[&[0, 1, 8, 0, 6, 4, 0, 1], &token[..]].concat())
    });

    let fair = |token| ip4(me.v4, victim.v4, me.mac, token);
    forge("a tag of a VLAN", &|token| tagged(&fair(token), 0x8100, 7));
    forge("a tag of priority", &|token| tagged(&fair(token), 0x8100, 0));
    forge("a tag of a provider's", &|token| tagged(&fair(token), 0x88a8, 7));
    forge("two tags", &|token| tagged(&tagged(&fair(token), 0x8100, 7), 0x88a8, 7));
    forge("a tag, and another's address", &|token| tagged(&ip4(victim.v4, gateway4, me.mac, token), 0x8100, 0));
    for (name, ethertype) in
        [("RARP", 0x8035), ("MPLS", 0x8847), ("PPPoE", 0x8864), ("a length", 20), ("of tests", 0x88b5)]
    {
        forge(name, &|token| ethernet(BROADCAST, me.mac, ethertype, &[&[0; 20], &token[..]].concat()));
    }
    forgeries
}

#[test]
fn forged_frames_go_nowhere() {
    let Some(mut scene) = Scene::new(Reach::Host) else { return };
    let (me, victim) = scene.parties();
    scene.bed.either_way(|| {
        for (name, frame, token) in forgeries(me, victim) {
            assert_eq!(scene.hear(&frame, token), [false; 2], "{name}");
        }
        for (name, frame, token) in fair(me, victim) {
            assert_eq!(scene.hear(&frame, token), [true; 2], "{name}");
        }
    });
    // They are frames that go through: there is nothing else that stops them.
    scene.bed.host.run(|_| scene.bed.firewall.remove()).unwrap();
    scene.bed.without_br_netfilter();
    for (name, frame, token) in forgeries(me, victim) {
        assert_eq!(scene.hear(&frame, token), [true; 2], "{name}");
    }
}

/// What may be said.
fn fair(me: Party, victim: Party) -> Vec<(&'static str, Vec<u8>, [u8; 6])> {
    let mut frames = Vec::new();
    let mut add = |name, ethertype, payload: &dyn Fn([u8; 6]) -> Vec<u8>| {
        let token = token();
        frames.push((name, ethernet(BROADCAST, me.mac, ethertype, &payload(token)), token));
    };
    let gratuitous = |token: [u8; 6]| arp(2, (me.mac, me.v4), me.v4, &token);
    let nd = |kind, from, target| move |token| neighbour(kind, (from, ALL_NODES), (target, me.mac), token);
    add("IPv4", ETHERTYPE_IPV4, &|token| ipv4_udp(me.v4, victim.v4, &token));
    add("IPv6", ETHERTYPE_IPV6, &|token| ipv6_udp(me.v6, victim.v6, &token));
    add("an ARP request", ETHERTYPE_ARP, &|token| arp(1, (me.mac, me.v4), victim.v4, &token));
    add("its address's announcement", ETHERTYPE_ARP, &gratuitous);
    add("an advertisement of its address", ETHERTYPE_IPV6, &nd(136, me.v6, me.v6));
    add("of its link-local one", ETHERTYPE_IPV6, &nd(136, me.link_local, me.link_local));
    add("a solicitation", ETHERTYPE_IPV6, &nd(135, me.v6, victim.v6));
    add("whether its address is taken", ETHERTYPE_IPV6, &nd(135, Ipv6Addr::UNSPECIFIED, me.v6));
    frames
}

#[test]
fn what_a_port_says_to_all_does_not_come_back() {
    let Some(scene) = Scene::new(Reach::Host) else { return };
    let (me, _) = scene.parties();
    scene.bed.either_way(|| {
        let [token, after] = [token(), token()];
        let ask = arp(1, (me.mac, me.v4), Ipv4Addr::new(10, 1, 0, 3), &token);
        scene.from.send(&ethernet(BROADCAST, me.mac, ETHERTYPE_ARP, &ask));
        let victim = Party::of(&scene.victim);
        let ask = arp(1, (victim.mac, victim.v4), Ipv4Addr::new(10, 1, 0, 2), &after);
        scene.at_victim.send(&ethernet(BROADCAST, victim.mac, ETHERTYPE_ARP, &ask));
        assert!(!scene.from.has_heard(&token, &after));
    });
}

#[test]
fn neighbours_on_a_sealed_network_hear_nothing() {
    let Some(scene) = Scene::new(Reach::Sealed) else { return };
    let (me, victim) = scene.parties();
    let bridge = hardware_address(&scene.bed.host, "br1");
    // Something that the victim does hear, from the host.
    let from_host = Wire::open(&scene.bed.host, "br1");
    scene.bed.either_way(|| {
        for (name, frame, token) in [forgeries(me, victim), fair(me, victim)].concat() {
            for to in [BROADCAST, victim.mac, bridge, [0x33, 0x33, 0, 0, 0, 1]] {
                let frame = [&to[..], &frame[6..]].concat();
                scene.from.send(&frame);
                let after = frames::token();
                from_host.send(&ethernet(BROADCAST, bridge, 0x88b5, &[&[0; 40], &after[..]].concat()));
                assert!(!scene.at_victim.has_heard(&token, &after), "{name}");
            }
        }
    });
}

#[test]
fn a_port_in_no_set_is_mute() {
    let Some(mut bed) = Bed::new(&[network(1, Reach::Host)]) else { return };
    let [a, b] = [2, 3].map(|number| bed.container(1, number, Egress::default()));
    bed.policy.ports.retain(|port| port.link != a.link);
    bed.apply();
    bed.either_way(|| {
        for to in [&*b.v4, &b.v6, "10.1.0.1", "fd01::1"] {
            bed.unheard(&a.node, &calls(to));
        }
        bed.unheard(&b.node, &published(&a.v4, 80));
    });
    let (from, at_b) = (Wire::open(&a.node, "eth0"), Wire::open(&b.node, "eth0"));
    let [token, after] = [token(), token()];
    let say = |mac: MacAddress, v4: &str, token| {
        let ask = arp(1, (mac.octets(), v4.parse().unwrap()), Ipv4Addr::new(10, 1, 0, 1), token);
        ethernet(BROADCAST, mac.octets(), ETHERTYPE_ARP, &ask)
    };
    from.send(&say(a.mac, &a.v4, &token));
    Wire::open(&bed.host, "br1").send(&say(b.mac, &b.v4, &after));
    assert!(!at_b.has_heard(&token, &after));
}

/// Datagrams that get to the host's own addresses, or through it, by what their
/// frames are addressed to.
#[test]
fn no_frame_leads_past_the_seal() {
    let Some(mut scene) = Scene::new(Reach::Sealed) else { return };
    let (me, victim) = scene.parties();
    let bridge = hardware_address(&scene.bed.host, "br1");
    let groups = (0..16).map(|last| [0x01, 0x80, 0xc2, 0, 0, last]);
    let frames: Vec<Mac> =
        groups.chain([BROADCAST, bridge, hardware_address(&scene.bed.host, &scene.attacker.link)]).collect();
    let hosts = [HOST, HOST_PUBLIC, ["10.1.0.1", "fd01::1"]];
    let remotes = [PUBLIC, PRIVATE, NEIGHBOUR];
    let say = |to: Mac, [v4, v6]: [&str; 2], sender: Party| {
        let [a, b] = [calls::token(), calls::token()];
        let (to4, to6) = (v4.parse().unwrap(), v6.parse().unwrap());
        let frame4 = ipv4_udp(sender.v4, to4, &a.to_be_bytes());
        let frame6 = ipv6_udp(sender.v6, to6, &b.to_be_bytes());
        scene.from.send(&ethernet(to, sender.mac, ETHERTYPE_IPV4, &frame4));
        scene.from.send(&ethernet(to, sender.mac, ETHERTYPE_IPV6, &frame6));
        [a, b]
    };
    let say_all = |sender| {
        let near = hosts.into_iter().chain(remotes).chain([[&*scene.victim.v4, &*scene.victim.v6]]);
        near.flat_map(|to| frames.iter().map(move |mac| (*mac, to, say(*mac, to, sender))).collect::<Vec<_>>())
            .collect()
    };
    scene.bed.either_way(|| {
        for sender in [me, Party { v4: Ipv4Addr::new(127, 0, 0, 1), ..me }, Party { mac: victim.mac, ..victim }] {
            let mut said: Vec<_> = say_all(sender);
            scene.bed.unheard(&scene.attacker.node, &calls("10.1.0.1"));
            said.retain(|(_, _, tokens)| tokens.iter().any(|token| scene.bed.exchange.was_heard(*token)));
            assert_eq!(said, [], "from {sender:?}");
        }
    });
    scene.bed.host.run(|_| scene.bed.firewall.remove()).unwrap();
    let said = [[0x01, 0x80, 0xc2, 0, 0, 3], [0x01, 0x80, 0xc2, 0, 0, 14], bridge].map(|to| say(to, hosts[2], me));
    for gateway in hosts[2] {
        scene.bed.heard(&scene.attacker.node, "host", &calls(gateway));
    }
    for token in said.concat() {
        assert!(scene.bed.exchange.was_heard(token));
    }
}

#[test]
fn the_host_does_not_tell_the_sealed_which_addresses_it_has() {
    let Some(mut scene) = Scene::new(Reach::Sealed) else { return };
    let (me, _) = scene.parties();
    let ask = |to: Mac, whom: &str| {
        let question = arp(1, (me.mac, me.v4), whom.parse().unwrap(), &[]);
        scene.from.send(&ethernet(to, me.mac, ETHERTYPE_ARP, &question));
    };
    let answer = |whom: &str| {
        let whom: Ipv4Addr = whom.parse().unwrap();
        [&whom.octets(), &me.mac[..], &me.v4.octets()].concat()
    };
    let groups = (0..16).map(|last| [0x01, 0x80, 0xc2, 0, 0, last]);
    let all = groups.chain([BROADCAST, hardware_address(&scene.bed.host, "br1")]).collect::<Vec<Mac>>();
    let is_told = |to: &Mac| {
        ask(*to, HOST_PUBLIC[0]);
        ask(BROADCAST, "10.1.0.1");
        scene.from.has_heard(&answer(HOST_PUBLIC[0]), &answer("10.1.0.1"))
    };
    scene.bed.either_way(|| {
        for to in &all {
            assert!(!is_told(to), "{to:x?}");
        }
    });
    scene.bed.host.run(|_| scene.bed.firewall.remove()).unwrap();
    for to in [[0x01, 0x80, 0xc2, 0, 0, 3], [0x01, 0x80, 0xc2, 0, 0, 14], BROADCAST] {
        assert!(is_told(&to), "{to:x?}");
    }
}
