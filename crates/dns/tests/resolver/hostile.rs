//! Servers that lie, and clients that are none.

use std::net::IpAddr;

use casemate_dns::{AnswerPolicy, Resolver, Settings, Transport};
use hickory_proto::op::{MessageType, ResponseCode};
use hickory_proto::rr::rdata::CNAME;
use hickory_proto::rr::{Name, RData, Record, RecordType};

use crate::server::{Asked, From, Reply, Server, answer};
use crate::setup::{Loopback, Table, ask, ask_by, data, forwarder, host, query, run, settings};

fn lie(asked: &Asked) -> hickory_proto::op::Message {
    answer(asked, &["6.6.6.6".parse().unwrap()])
}

#[test]
fn lies_are_passed_over() {
    run(async {
        let server = Server::start(|asked| {
            let mut id = lie(asked);
            id.metadata.id = !id.metadata.id;
            let mut question = lie(asked);
            question.queries[0].name = Name::from_ascii("other.").unwrap();
            let mut kind = lie(asked);
            kind.queries[0].query_type = RecordType::AAAA;
            let mut no_question = lie(asked);
            no_question.queries.clear();
            let mut no_response = lie(asked);
            no_response.metadata.message_type = MessageType::Query;
            let lies = [id, question, kind, no_question, no_response].map(|lie| (From::Server, lie.to_vec().unwrap()));
            let mut all = Vec::from(lies);
            all.push((From::Stranger, lie(asked).to_vec().unwrap()));
            all.push((From::Server, b"not DNS".to_vec()));
            all.push((From::Server, answer(asked, &["9.9.9.9".parse().unwrap()]).to_vec().unwrap()));
            Reply(all)
        })
        .await;
        let answered = ask(&forwarder(&[&server]), &query("example.", RecordType::A)).await;
        assert_eq!(data(&answered), ["9.9.9.9"]);
        assert_eq!(server.transports(), [Transport::Udp]);
    });
}

#[test]
fn where_somebody_guesses_tcp_is_asked() {
    run(async {
        let server = Server::start(|asked| match asked.transport {
            Transport::Udp => {
                let guesses = (1..=16).map(|distance| {
                    let mut guess = lie(asked);
                    guess.metadata.id = guess.id.wrapping_add(distance);
                    (From::Server, guess.to_vec().unwrap())
                });
                Reply(guesses.chain([(From::Server, lie(asked).to_vec().unwrap())]).collect())
            }
            Transport::Tcp => answer(asked, &["9.9.9.9".parse().unwrap()]).into(),
        })
        .await;
        let answered = ask(&forwarder(&[&server]), &query("example.", RecordType::A)).await;
        assert_eq!(data(&answered), ["9.9.9.9"]);
        assert_eq!(server.transports(), [Transport::Udp, Transport::Tcp]);
    });
}

#[test]
fn a_lie_by_tcp_is_no_answer() {
    run(async {
        let server = Server::start(|asked| {
            let mut reply = lie(asked);
            match asked.transport {
                Transport::Udp => {
                    reply.answers.clear();
                    reply.metadata.truncation = true;
                }
                Transport::Tcp => reply.metadata.id = !reply.id,
            }
            reply
        })
        .await;
        let answered = ask(&forwarder(&[&server]), &query("example.", RecordType::A)).await;
        assert_eq!((answered.answers.len(), answered.truncation), (0, true));
    });
}

#[test]
fn an_answer_that_cannot_be_read_is_none_and_takes_no_time() {
    run(async {
        let broken = Server::start(|asked| {
            let mut octets = lie(asked).to_vec().unwrap();
            octets.truncate(octets.len() - 1);
            Reply(vec![(From::Server, octets)])
        })
        .await;
        let good = Server::of("9.9.9.9").await;
        let answered = ask(&forwarder(&[&broken, &good]), &query("example.", RecordType::A)).await;
        assert_eq!(data(&answered), ["9.9.9.9"]);
    });
}

#[test]
fn no_name_leads_to_what_is_not_public() {
    run(async {
        let server = Server::start(|asked| {
            let all: &[&str] = match asked.message.queries[0].name().to_ascii().as_str() {
                "rebind.example." => &["10.0.0.1", "9.9.9.9"],
                "mapped.example." => &["::ffff:10.0.0.1", "2606::1"],
                _ => &["10.0.0.1"],
            };
            let all: Vec<IpAddr> = all.iter().map(|text| text.parse().unwrap()).collect();
            let mut reply = answer(asked, &all);
            let alias = RData::CNAME(CNAME(Name::from_ascii("alias.example.").unwrap()));
            reply.answers.insert(0, Record::from_rdata(asked.message.queries[0].name().clone(), 60, alias));
            reply
        })
        .await;
        let is_public = |address| !matches!(address, IpAddr::V4(address) if address.is_private());
        let answers = AnswerPolicy::Only(std::rc::Rc::new(is_public));
        let settings = Settings { answers, ..settings(vec![host(server.address)]) };
        // What the container's own networks say is not the world's.
        let resolver = Resolver::new(Table::of(&[("web", &["10.0.0.2"])]), Loopback::default(), settings);
        for transport in [Transport::Udp, Transport::Tcp] {
            for (name, wanted, expected) in [
                ("rebind.example.", RecordType::A, &["alias.example.", "9.9.9.9"][..]),
                ("mapped.example.", RecordType::AAAA, &["alias.example.", "2606::1"]),
                ("private.example.", RecordType::A, &["alias.example."]),
                ("web.", RecordType::A, &["10.0.0.2"]),
            ] {
                let answered = ask_by(&resolver, &query(name, wanted), transport).await;
                assert_eq!(
                    (answered.response_code, &data(&answered)[..]),
                    (ResponseCode::NoError, &expected.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()[..])
                );
            }
        }
        let asked = server.asked().len();
        let any = ask(&resolver, &query("rebind.example.", RecordType::ANY)).await;
        assert_eq!((any.response_code, any.answers.len(), server.asked().len()), (ResponseCode::NoError, 0, asked));
    });
}

#[test]
fn an_answer_is_not_answered() {
    run(async {
        let server = Server::of("9.9.9.9").await;
        let resolver = forwarder(&[&server]);
        let mut response = query("example.", RecordType::A);
        response.metadata.message_type = MessageType::Response;
        assert_eq!(resolver.answer(&response.to_vec().unwrap(), Transport::Udp).await, None);
        assert!(server.asked().is_empty());
    });
}
