//! Changes by others are told, and ours are not.

use std::time::Duration;

use tokio::time::timeout;

use super::bed::network;
use super::nftables::{listing, nft};
use crate::firewall::{Firewall, Nft, Policy, Reach, Watch};
use crate::testbed::Node;

/// The kernel tells of a change before the change is done; this is for our part.
const TOLD: Duration = Duration::from_secs(10);
const NOT_TOLD: Duration = Duration::from_millis(100);

fn policy(networks: u8) -> Policy {
    Policy { networks: (1..=networks).map(|number| network(number, Reach::Host)).collect(), ..Policy::default() }
}

async fn is_told(watch: &mut Watch) -> bool {
    timeout(TOLD, watch.changed()).await.is_ok_and(|told| told.is_ok())
}

async fn is_quiet(watch: &mut Watch) -> bool {
    timeout(NOT_TOLD, watch.changed()).await.is_err()
}

#[test]
fn changes_by_others_are_told_and_mended() {
    let Some(node) = Node::new() else { return };
    let (nft_program, mut firewall) = firewall();
    node.run(|_| firewall.replace(&policy(2))).unwrap();
    let before = listing(&node);
    for change in [
        "flush ruleset",
        "flush set inet casemate bridges",
        "flush map inet casemate to",
        "delete element inet casemate bridges { \"br1\" }",
        "add element bridge casemate macs { \"cm-1-2\" . 02:42:0a:01:00:02 }",
        "flush chain bridge casemate from_port",
        "delete table bridge casemate",
        "flush chain arp casemate input",
        "add rule inet casemate forward accept",
        "insert rule inet casemate input iifname \"br1\" accept",
    ] {
        node.run(|runtime| {
            runtime.block_on(async {
                let mut watch = Watch::open(&nft_program).unwrap();
                nft(change);
                assert!(is_told(&mut watch).await, "{change}");
                firewall.replace(&policy(2)).unwrap();
                assert!(is_quiet(&mut watch).await, "{change}");
            })
        });
        assert_eq!(listing(&node), before, "{change}");
    }
}

#[test]
fn our_changes_are_not_told() {
    let Some(node) = Node::new() else { return };
    let (nft_program, mut firewall) = firewall();
    node.run(|runtime| {
        runtime.block_on(async {
            let mut watch = Watch::open(&nft_program).unwrap();
            firewall.replace(&policy(1)).unwrap();
            firewall.update(&policy(3)).unwrap();
            firewall.update(&policy(3)).unwrap();
            firewall.update(&policy(0)).unwrap();
            let mut refused = policy(2);
            refused.networks[0].bridge = "longer-than-a-link-s-name".into();
            firewall.update(&refused).unwrap_err();
            assert!(is_quiet(&mut watch).await);
            // Among ours, another's.
            firewall.replace(&policy(2)).unwrap();
            nft("flush set inet casemate bridges");
            firewall.replace(&policy(2)).unwrap();
            assert!(is_told(&mut watch).await);
            assert!(is_quiet(&mut watch).await);
            firewall.remove().unwrap();
            assert!(is_quiet(&mut watch).await);
        })
    });
}

/// The many elements of many containers, without a pause to read of them.
#[test]
fn nor_are_large_ones() {
    let Some(node) = Node::new() else { return };
    let (nft_program, mut firewall) = firewall();
    let large = super::tables::policy(250);
    node.run(|runtime| {
        runtime.block_on(async {
            let mut watch = Watch::open(&nft_program).unwrap();
            for _ in 0..4 {
                firewall.replace(&large).unwrap();
            }
            assert!(is_quiet(&mut watch).await);
            nft("flush set inet casemate bridges");
            assert!(is_told(&mut watch).await);
        })
    });
}

#[test]
fn what_others_do_to_their_tables_is_their_business() {
    let Some(node) = Node::new() else { return };
    let (nft_program, mut firewall) = firewall();
    node.run(|runtime| {
        runtime.block_on(async {
            firewall.replace(&policy(1)).unwrap();
            let mut watch = Watch::open(&nft_program).unwrap();
            nft("table inet theirs { set s { type ifname; elements = { \"casemate\" }; }; chain c { counter; }; }");
            nft("delete table inet theirs");
            assert!(is_quiet(&mut watch).await);
        })
    });
}

#[test]
fn what_there_is_no_room_for_is_told() {
    let Some(node) = Node::new() else { return };
    let (nft_program, mut firewall) = firewall();
    node.run(|runtime| {
        runtime.block_on(async {
            let mut watch = Watch::with_room(&nft_program, 0).unwrap();
            // What was not kept may have been another's.
            firewall.replace(&policy(1)).unwrap();
            assert!(is_told(&mut watch).await);
            while !is_quiet(&mut watch).await {}
            nft("flush set inet casemate bridges");
            assert!(is_told(&mut watch).await);
        })
    });
}

fn firewall() -> (Nft, Firewall) {
    let nft = Nft::default();
    (nft.clone(), Firewall::new(nft))
}
