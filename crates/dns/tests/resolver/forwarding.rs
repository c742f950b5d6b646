//! Names of the world.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use casemate_dns::{ADDRESS, Namespace, Resolver, Settings, Transport, Upstream};
use hickory_proto::op::{Edns, ResponseCode};
use hickory_proto::rr::RecordType;
use hickory_proto::rr::rdata::opt::EdnsOption;
use tokio::net::UdpSocket;

use crate::server::{Reply, Server, answer};
use crate::setup::{Loopback, Table, ask, ask_by, data, forwarder, host, query, run, settings};

#[test]
fn a_question_goes_on_without_what_came_with_it() {
    run(async {
        let server = Server::of("9.9.9.9").await;
        let resolver = forwarder(&[&server]);
        let mut asked = query("WWW.example.", RecordType::A);
        let options = asked.edns.insert(Edns::new()).set_max_payload(4096).set_dnssec_ok(true).options_mut();
        options.insert(EdnsOption::Unknown(10, b"a cookie".to_vec()));
        asked.additionals = answer(
            &crate::server::Asked { client: server.address, transport: Transport::Udp, message: asked.clone() },
            &["10.0.0.1".parse().unwrap()],
        )
        .answers;
        let answered = ask(&resolver, &asked).await;
        assert_eq!(data(&answered), ["9.9.9.9"]);
        let received = server.asked().remove(0).message;
        assert_eq!(received.queries, asked.queries);
        assert!(received.recursion_desired && received.additionals.is_empty());
        let edns = received.edns.unwrap();
        assert!(edns.flags().dnssec_ok && edns.options().as_ref().is_empty());
        // Without EDNS none is made up.
        ask(&resolver, &query("example.", RecordType::A)).await;
        assert_eq!(server.asked()[1].message.edns, None);
    });
}

#[test]
fn ids_and_ports_are_not_to_be_guessed() {
    run(async {
        let server = Server::of("9.9.9.9").await;
        let resolver = forwarder(&[&server]);
        let mut asked = query("example.", RecordType::A);
        asked.metadata.id = 1;
        for _ in 0..32 {
            ask(&resolver, &asked).await;
        }
        let ids: BTreeSet<u16> = server.asked().iter().map(|asked| asked.message.id).collect();
        let ports: BTreeSet<u16> = server.asked().iter().map(|asked| asked.client.port()).collect();
        // Two of 32 may be the same: once in 130. Eight are never.
        assert!(ids.len() > 24 && ports.len() > 24, "{ids:?} {ports:?}");
    });
}

#[test]
fn what_is_truncated_is_asked_for_by_tcp() {
    run(async {
        let server = Server::start(|asked| {
            let addresses: Vec<IpAddr> = (0..60).map(|last| IpAddr::from([9, 9, 9, last])).collect();
            let is_whole = asked.transport == Transport::Tcp;
            let mut reply = answer(asked, if is_whole { &addresses } else { &addresses[..1] });
            reply.metadata.truncation = !is_whole;
            reply
        })
        .await;
        let resolver = forwarder(&[&server]);
        let mut asked = query("example.", RecordType::A);
        let by_tcp = ask_by(&resolver, &asked, Transport::Tcp).await;
        assert_eq!((by_tcp.answers.len(), by_tcp.truncation), (60, false));
        assert_eq!(server.transports(), [Transport::Udp, Transport::Tcp]);
        let by_udp = ask(&resolver, &asked).await;
        assert_eq!((by_udp.answers.len(), by_udp.truncation), ((512 - 25) / 16, true));
        asked.edns.insert(Edns::new()).set_max_payload(1232);
        let by_udp = ask(&resolver, &asked).await;
        assert_eq!((by_udp.answers.len(), by_udp.truncation), (60, false));
    });
}

#[test]
fn a_truncated_answer_is_better_than_none() {
    run(async {
        let server = Server::start(|asked| match asked.transport {
            Transport::Udp => {
                let mut reply = answer(asked, &["9.9.9.9".parse().unwrap()]);
                reply.metadata.truncation = true;
                reply.into()
            }
            // Closes the connection.
            Transport::Tcp => Reply::default(),
        })
        .await;
        let answered = ask(&forwarder(&[&server]), &query("example.", RecordType::A)).await;
        assert_eq!((data(&answered), answered.truncation), (vec!["9.9.9.9".to_owned()], true));
    });
}

#[test]
fn the_next_server_is_asked_after_one_that_fails() {
    run(async {
        let good = Server::of("9.9.9.9").await;
        let asked = query("example.", RecordType::A);
        for code in [ResponseCode::ServFail, ResponseCode::Refused] {
            let bad = Server::failing(code).await;
            assert_eq!(data(&ask(&forwarder(&[&bad, &good]), &asked).await), ["9.9.9.9"], "{code}");
            assert_eq!(ask(&forwarder(&[&bad, &bad]), &asked).await.response_code, ResponseCode::ServFail);
        }
        // That there is no such name is an answer.
        let nothing = Server::failing(ResponseCode::NXDomain).await;
        assert_eq!(ask(&forwarder(&[&nothing, &good]), &asked).await.response_code, ResponseCode::NXDomain);
        // Nobody is there, of which the kernel tells at once.
        let unused = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let upstreams = vec![host(unused), host(good.address)];
        let resolver = Resolver::new(Table::default(), Loopback::default(), settings(upstreams));
        assert_eq!(data(&ask(&resolver, &asked).await), ["9.9.9.9"]);
    });
}

#[test]
fn a_server_that_never_answers_is_given_its_time() {
    run(async {
        let (mute, good) = (Server::mute().await, Server::of("9.9.9.9").await);
        let resolver = |servers: &[&Server], timeout| {
            let upstreams = servers.iter().map(|server| host(server.address)).collect();
            let settings = Settings { timeout, ..settings(upstreams) };
            Resolver::new(Table::default(), Loopback::default(), settings)
        };
        let asked = query("example.", RecordType::A);
        // So long that the good one needs less however busy the machine is.
        let both = resolver(&[&mute, &good], Duration::from_secs(3));
        assert_eq!(data(&ask(&both, &asked).await), ["9.9.9.9"]);
        let alone = resolver(&[&mute], Duration::from_millis(100));
        assert_eq!(ask(&alone, &asked).await.response_code, ResponseCode::ServFail);
        assert_eq!(mute.transports()[..1], [Transport::Udp]);
        assert_eq!(good.transports(), [Transport::Udp]);
    });
}

#[test]
fn an_internal_network_asks_only_from_within() {
    run(async {
        let server = Server::of("9.9.9.9").await;
        let inside = Upstream { address: server.address, namespace: Namespace::Container };
        let connector = Loopback::default();
        let settings = Settings { internal: true, ..settings(vec![host(server.address), inside]) };
        let resolver = Resolver::new(Table::default(), connector.clone(), settings);
        let asked = query("example.", RecordType::A);
        assert_eq!(data(&ask(&resolver, &asked).await), ["9.9.9.9"]);
        assert_eq!(*connector.servers.borrow(), [inside]);
        resolver.set_upstreams(vec![host(server.address)]);
        assert_eq!(ask(&resolver, &asked).await.response_code, ResponseCode::ServFail);
        resolver.set_internal(false);
        assert_eq!(data(&ask(&resolver, &asked).await), ["9.9.9.9"]);
        assert_eq!(*connector.servers.borrow(), [inside, host(server.address)]);
    });
}

#[test]
fn it_does_not_ask_itself_nor_more_than_three() {
    run(async {
        let connector = Loopback::default();
        let unused = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let itself = SocketAddr::from((ADDRESS, unused.port()));
        // To a host that is a container, its own resolver is another one.
        let others = [host(itself), host(unused), host(unused)];
        let mut upstreams = vec![Upstream { address: itself, namespace: Namespace::Container }];
        upstreams.extend(others);
        upstreams.push(host(unused));
        let resolver = Resolver::new(Table::default(), connector.clone(), settings(upstreams));
        let answered = ask(&resolver, &query("example.", RecordType::A)).await;
        assert_eq!(answered.response_code, ResponseCode::ServFail);
        assert_eq!(*connector.servers.borrow(), others);
    });
}

#[test]
fn with_ndots_a_name_without_a_dot_is_for_the_search_domains() {
    run(async {
        let server = Server::of("9.9.9.9").await;
        let settings = Settings { ndots_set: true, ..settings(vec![host(server.address)]) };
        let resolver = Resolver::new(Table::default(), Loopback::default(), settings);
        for wanted in [RecordType::A, RecordType::AAAA] {
            let answered = ask(&resolver, &query("web.", wanted)).await;
            assert_eq!((answered.response_code, answered.answers.len()), (ResponseCode::NoError, 0));
        }
        assert!(server.asked().is_empty());
        for (name, wanted) in [("web.example.", RecordType::A), ("com.", RecordType::NS)] {
            assert_eq!(data(&ask(&resolver, &query(name, wanted)).await), ["9.9.9.9"]);
        }
    });
}
