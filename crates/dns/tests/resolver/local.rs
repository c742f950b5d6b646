//! Names of the container's networks.

use std::collections::BTreeSet;

use casemate_dns::{Resolver, Transport};
use hickory_proto::op::{Edns, ResponseCode};
use hickory_proto::rr::RecordType;

use crate::server::Server;
use crate::setup::{Loopback, Table, TestResolver, ask, ask_by, data, host, query, run, settings};

fn resolver(names: Table, server: &Server) -> TestResolver {
    Resolver::new(names, Loopback::default(), settings(vec![host(server.address)]))
}

#[test]
fn names_are_answered_in_any_letters_and_never_forwarded() {
    run(async {
        let server = Server::of("9.9.9.9").await;
        let names = Table::of(&[("web", &["172.18.0.2", "fd00::2"]), ("old", &["172.18.0.3"]), ("idle", &[])]);
        let resolver = resolver(names, &server);
        for (name, wanted, expected) in [
            ("WeB.", RecordType::A, vec!["172.18.0.2"]),
            ("web.", RecordType::AAAA, vec!["fd00::2"]),
            ("old.", RecordType::AAAA, vec![]),
            ("idle.", RecordType::A, vec![]),
            ("web.", RecordType::MX, vec![]),
            ("3.0.18.172.in-addr.arpa.", RecordType::PTR, vec!["old.mynet."]),
            (&format!("2.{}d.f.ip6.arpa.", "0.".repeat(29)), RecordType::PTR, vec!["web.mynet."]),
        ] {
            let answer = ask(&resolver, &query(name, wanted)).await;
            assert_eq!((answer.response_code, data(&answer)), (ResponseCode::NoError, owned(&expected)), "{name}");
            assert!(answer.recursion_available && answer.answers.iter().all(|record| record.ttl == 600));
        }
        assert!(server.asked().is_empty());
    });
}

#[test]
fn what_the_networks_do_not_know_is_forwarded() {
    run(async {
        let server = Server::of("9.9.9.9").await;
        let resolver = resolver(Table::of(&[("web", &["172.18.0.2"])]), &server);
        for (name, wanted) in [
            ("webs.", RecordType::A),
            ("web.example.", RecordType::A),
            ("9.0.18.172.in-addr.arpa.", RecordType::PTR),
            // As in Docker.
            ("web.", RecordType::TXT),
        ] {
            assert_eq!(data(&ask(&resolver, &query(name, wanted)).await), ["9.9.9.9"], "{name}");
        }
        assert_eq!(server.asked().len(), 4);
    });
}

#[test]
fn each_of_several_addresses_comes_first_at_times() {
    run(async {
        let server = Server::mute().await;
        let all = ["10.0.0.1", "10.0.0.2", "10.0.0.3"];
        let resolver = resolver(Table::of(&[("web", &all)]), &server);
        let mut first = BTreeSet::new();
        // Goes on until each has been: a failure is a test that hangs.
        while first.len() < all.len() {
            let mut answered = data(&ask(&resolver, &query("web.", RecordType::A)).await);
            first.insert(answered[0].clone());
            answered.sort();
            assert_eq!(answered, all);
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn more_addresses_than_fit_are_truncated_for_udp() {
    run(async {
        let server = Server::mute().await;
        let all: Vec<String> = (0..100).map(|last| format!("10.0.0.{last}")).collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let resolver = resolver(Table::of(&[("web", &all)]), &server);
        let mut asked = query("web.", RecordType::A);
        let short = ask(&resolver, &asked).await;
        // A header and a question of 21 octets, and 16 for each.
        assert_eq!((short.truncation, short.answers.len()), (true, (512 - 21) / 16));
        let whole = ask_by(&resolver, &asked, Transport::Tcp).await;
        assert_eq!((whole.truncation, whole.answers.len()), (false, 100));
        asked.edns.insert(Edns::new()).set_max_payload(4096);
        let large = ask(&resolver, &asked).await;
        assert_eq!((large.truncation, large.answers.len()), (false, 100));
    });
}

#[test]
fn a_name_that_no_message_can_hold_is_a_failure() {
    run(async {
        let server = Server::of("9.9.9.9").await;
        let long = "x".repeat(64).leak();
        let resolver = resolver(Table::of(&[(long, &["10.0.0.1"])]), &server);
        let answer = ask(&resolver, &query("1.0.0.10.in-addr.arpa.", RecordType::PTR)).await;
        assert_eq!((answer.response_code, server.asked().len()), (ResponseCode::ServFail, 0));
    });
}

fn owned(all: &[&str]) -> Vec<String> {
    all.iter().map(|&text| text.to_owned()).collect()
}
