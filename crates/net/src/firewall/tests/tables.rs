//! The tables as a whole.

use super::bed::{Bed, METADATA, NEIGHBOUR, network};
use super::calls::calls;
use super::nftables::{listing, nft};
use crate::Egress;
use crate::firewall::{Firewall, NetworkPolicy, Nft, NftError, Policy, PortPolicy, Reach, SubnetPolicy};
use crate::testbed::Node;
use crate::{MacAddress, Protocol, Publication};

fn firewall() -> Firewall {
    Firewall::new(Nft::default())
}

/// Two networks, with as many containers in each.
pub(super) fn policy(containers: u8) -> Policy {
    let mut policy = Policy { networks: vec![network(1, Reach::Sealed), network(2, Reach::Host)], ..Policy::default() };
    for (network, number) in (1..=2).flat_map(|network| (2..2 + containers).map(move |number| (network, number))) {
        let addresses = vec![[10, network, 0, number].into(), format!("fd0{network}::{number}").parse().unwrap()];
        policy.ports.push(PortPolicy {
            link: format!("cm-{network}-{number}"),
            bridge: format!("br{network}"),
            mac: MacAddress::of([10, network, 0, number].into()),
            egress: Egress { public: true, ranges: vec!["192.168.0.0/16".parse().unwrap()] },
            addresses,
        });
        let port = 1000 * u16::from(network) + u16::from(number);
        policy.publications.push(Publication {
            protocol: Protocol::Tcp,
            host: ([0, 0, 0, 0], port).into(),
            to: ([10, network, 0, number], 80).into(),
        });
    }
    policy
}

#[test]
fn what_a_container_brings_goes_with_it() {
    let Some(node) = Node::new() else { return };
    let mut firewall = firewall();
    node.run(|_| firewall.replace(&policy(1))).unwrap();
    let before = listing(&node);
    node.run(|_| firewall.update(&policy(3))).unwrap();
    let between = listing(&node);
    assert!(between.contains("cm-2-4") && between.contains("10.1.0.4 . 80"), "{between}");
    node.run(|_| firewall.update(&policy(1))).unwrap();
    assert_eq!(listing(&node), before);
    node.run(|_| firewall.update(&Policy::default())).unwrap();
    let empty = listing(&node);
    node.run(|_| self::firewall().replace(&Policy::default())).unwrap();
    assert_eq!(listing(&node), empty);
}

#[test]
fn rules_are_as_many_for_two_hundred_containers_as_for_one() {
    let Some(node) = Node::new() else { return };
    let rules = |policy| {
        node.run(|_| firewall().replace(&policy)).unwrap();
        let listing = listing(&node);
        let is_rule = |line: &&str| line.starts_with("\t\t") && !line.contains("elements = ");
        listing.lines().filter(is_rule).map(str::to_owned).collect::<Vec<_>>()
    };
    let of_one = rules(policy(1));
    assert!(of_one.len() > 50, "{of_one:#?}");
    assert_eq!(rules(policy(100)), of_one);
}

#[test]
fn what_is_changed_takes_the_old_ones_place() {
    let Some(node) = Node::new() else { return };
    let mut changed = policy(2);
    changed.networks[0].reach = Reach::Outside;
    changed.networks[1].masquerade = false;
    changed.networks[1].icc = false;
    changed.ports[0].egress.ranges = vec!["192.168.0.0/17".parse().unwrap(), "fd00::/8".parse().unwrap()];
    changed.ports[1].mac = MacAddress::of([10, 1, 0, 99].into());
    changed.ports[2].egress.public = false;
    changed.publications[0].to = ([10, 1, 0, 3], 81).into();
    let mut by_difference = firewall();
    node.run(|_| by_difference.replace(&policy(2))).unwrap();
    node.run(|_| by_difference.update(&changed)).unwrap();
    let updated = listing(&node);
    node.run(|_| firewall().replace(&changed)).unwrap();
    assert_eq!(listing(&node), updated);
}

#[test]
fn tables_of_others_are_left_alone() {
    let Some(node) = Node::new() else { return };
    let theirs = "table inet theirs {
        set casemate { type ifname; elements = { \"cm-1-2\" }; }
        chain forward { type filter hook forward priority filter; policy drop; iifname @casemate counter accept; }
    }
    table ip casemate { chain theirs { counter drop; }; }";
    let list = || node.run(|_| nft("list table inet theirs") + &nft("list table ip casemate"));
    node.run(|_| nft(theirs));
    let before = list();
    let mut firewall = firewall();
    node.run(|_| firewall.replace(&policy(2))).unwrap();
    node.run(|_| firewall.update(&policy(1))).unwrap();
    assert_eq!(list(), before);
    node.run(|_| firewall.remove()).unwrap();
    assert_eq!(list(), before);
    assert_eq!(node.run(|_| nft("list tables")), "table inet theirs\ntable ip casemate\n");
    node.run(|_| firewall.remove()).unwrap();
}

#[test]
fn what_is_refused_changes_nothing_and_is_said_why() {
    let Some(node) = Node::new() else { return };
    let mut firewall = firewall();
    node.run(|_| firewall.replace(&policy(1))).unwrap();
    let before = listing(&node);
    let subnet =
        |net: &str, gateway: &str| SubnetPolicy { net: net.parse().unwrap(), gateway: gateway.parse().unwrap() };
    let mut overlapping = policy(2);
    let subnets = vec![subnet("10.2.0.0/16", "10.2.0.1")];
    overlapping.networks.push(NetworkPolicy { subnets, ..network(3, Reach::Host) });
    let mut unnameable = policy(2);
    unnameable.ports[0].link = "cm-longer-than-a-link-s-name".into();
    for (refused, reason) in [(overlapping, "conflicting intervals"), (unnameable, "String exceeds maximum length")] {
        let replaced = node.run(|_| firewall.replace(&refused)).unwrap_err().to_string();
        assert!(replaced.contains(reason), "{replaced}");
        assert_eq!(listing(&node), before);
        node.run(|_| firewall.replace(&policy(1))).unwrap();
        let updated = node.run(|_| firewall.update(&refused)).unwrap_err().to_string();
        assert!(updated.contains(reason), "{updated}");
        assert_eq!(listing(&node), before);
    }
    node.run(|_| firewall.update(&policy(1))).unwrap();
    assert_eq!(listing(&node), before);
}

#[test]
fn without_nft_it_is_said_where_it_comes_from() {
    let mut firewall = Firewall::new(Nft::new("/nowhere/nft"));
    let error = firewall.replace(&policy(1)).unwrap_err();
    assert!(matches!(error, NftError::Run { .. }));
    assert_eq!(error.to_string(), "\"/nowhere/nft\" cannot be run; the package nftables has it");
}

#[test]
fn an_update_finds_tables_that_are_not_as_they_were() {
    let Some(node) = Node::new() else { return };
    let mut firewall = firewall();
    node.run(|_| firewall.replace(&policy(2))).unwrap();
    let before = listing(&node);
    for damage in ["flush ruleset", "flush set bridge casemate macs", "delete table inet casemate"] {
        node.run(|_| firewall.update(&policy(2))).unwrap();
        node.run(|_| nft(damage));
        node.run(|_| firewall.update(&policy(1))).unwrap();
        node.run(|_| firewall.update(&policy(2))).unwrap();
        assert_eq!(listing(&node), before, "{damage}");
    }
}

#[test]
fn without_it_nothing_is_held_back() {
    let Some(mut bed) = Bed::new(&[network(1, Reach::Sealed)]) else { return };
    let a = bed.container(1, 2, Egress::default());
    let near = [["10.1.0.1", "fd01::1"], METADATA, NEIGHBOUR].concat();
    bed.unheard(&a.node, &near.iter().flat_map(|address| calls(address)).collect::<Vec<_>>());
    bed.host.run(|_| bed.firewall.remove()).unwrap();
    for (address, by) in near.iter().zip(["host", "host", "remote", "remote", "remote", "remote"]) {
        bed.heard(&a.node, by, &calls(address));
    }
    for address in [&a.v4, &a.v6] {
        bed.heard(&bed.remote, &a.name, &calls(address));
        bed.heard(&bed.host, &a.name, &calls(address));
    }
}

#[test]
fn what_is_there_because_of_a_container_is_told() {
    let bridge = "br1".to_owned();
    let port = |link: &str, last| PortPolicy {
        link: link.to_owned(),
        bridge: bridge.clone(),
        mac: MacAddress::of([10, 1, 0, last].into()),
        addresses: vec![[10, 1, 0, last].into()],
        egress: Egress { public: true, ranges: Vec::new() },
    };
    let publication = Publication {
        protocol: Protocol::Tcp,
        host: "0.0.0.0:8080".parse().unwrap(),
        to: "10.1.0.3:80".parse().unwrap(),
    };
    let whole = Policy {
        networks: vec![network(1, Reach::Sealed)],
        ports: vec![port("cm-one", 2), port("cm-two", 3)],
        publications: vec![publication],
        ..Policy::default()
    };
    let without = Policy { ports: vec![port("cm-one", 2)], publications: Vec::new(), ..whole.clone() };
    let explained = crate::explain(&whole, &without);
    let words: Vec<&str> = explained.iter().map(|one| one.words.as_str()).collect();
    for expected in [
        "frames from cm-two have the hardware address 02:42:0a:01:00:03",
        "packets from cm-two come from 10.1.0.3",
        "cm-two reaches no other container, and not the host",
        "10.1.0.3 reaches public addresses",
        "tcp port 8080 of all the host's addresses leads to 10.1.0.3 port 80",
    ] {
        assert!(words.contains(&expected), "{expected}: {words:?}");
    }
    assert!(
        !words.iter().any(|words| words.contains("10.1.0.2 ") || words.contains("cm-one") || words.contains(" has "))
    );
    assert_eq!(crate::explain(&whole, &whole), []);
}

#[test]
fn nothing_is_there_without_words_and_a_reason() {
    let publication = |host: &str, to: &str| Publication {
        protocol: Protocol::Udp,
        host: host.parse().unwrap(),
        to: to.parse().unwrap(),
    };
    let reaches = [Reach::Host, Reach::Outside, Reach::Internal, Reach::Sealed];
    let mut whole = Policy {
        networks: (1..=4).zip(reaches).map(|(number, reach)| network(number, reach)).collect(),
        publications: vec![
            publication("192.0.2.1:53", "10.1.0.2:53"),
            publication("0.0.0.0:54", "10.1.0.2:53"),
            publication("127.0.0.1:55", "10.1.0.2:53"),
            publication("[::]:54", "[fd01::2]:53"),
        ],
        closed_v4: true,
        closed_v6: true,
        ..Policy::default()
    };
    for network in 1..=4 {
        whole.ports.push(PortPolicy {
            link: format!("cm-{network}"),
            bridge: format!("br{network}"),
            mac: MacAddress::of([10, network, 0, 2].into()),
            addresses: vec![[10, network, 0, 2].into(), format!("fd0{network}::2").parse().unwrap()],
            egress: Egress { public: true, ranges: vec!["192.168.0.0/16".parse().unwrap()] },
        });
    }
    let explained = crate::explain(&whole, &Policy::default());
    for one in &explained {
        assert!(!one.why.is_empty() && !one.words.contains(" casemate "), "{one:?}");
        assert!(one.syntax.starts_with("add element "), "{one:?}");
    }
    let said = |syntax: &str| {
        let one =
            explained.iter().find(|one| one.syntax == syntax).unwrap_or_else(|| panic!("{syntax}: {explained:?}"));
        one.words.as_str()
    };
    // One name, in two tables.
    assert_eq!(said("add element inet casemate gateways4 { \"br4\" . 10.4.0.1 }"), "10.4.0.1 is the host's on br4");
    assert_eq!(
        said("add element bridge casemate gateways4 { \"cm-4\" . 10.4.0.1 }"),
        "cm-4 may ask by ARP for its gateway 10.4.0.1, and no other"
    );
}

#[test]
fn what_is_held_is_known() {
    let Some(node) = Node::new() else { return };
    let mut firewall = firewall();
    assert!(!firewall.holds(&Policy::default()));
    node.run(|_| firewall.replace(&policy(1))).unwrap();
    assert!(firewall.holds(&policy(1)) && !firewall.holds(&policy(2)));
    node.run(|_| firewall.remove()).unwrap();
    assert!(!firewall.holds(&policy(1)));
}
