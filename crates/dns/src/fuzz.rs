//! What must hold for any bytes, for the tests of this crate and the fuzz
//! targets: one for each side that bytes come from.

use std::net::IpAddr;
use std::rc::Rc;

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::RecordType;

use crate::local;
use crate::message::Header;
use crate::names::Names;
use crate::policy::AnswerPolicy;
use crate::query::{Query, Received, Transport};
use crate::upstream::Asked;

/// Knows names of one letter, and all addresses.
struct Letters;

impl Names for Letters {
    fn addresses(&self, name: &str) -> Option<Vec<IpAddr>> {
        // More than a datagram holds.
        let addresses = || (0..100).map(|last| IpAddr::from([10, 0, 0, last])).collect();
        (name.len() == 1).then(addresses)
    }

    fn name(&self, address: IpAddr) -> Option<String> {
        Some(format!("{}.mynet", "x".repeat(usize::from(address.is_ipv6()) * 70 + 1)))
    }
}

/// Takes bytes as a container's query; panics if a promise does not hold: every
/// answer repeats the query's id and fits, and what is asked upstream is the
/// query's one question and nothing else of it.
pub fn fuzz_query(data: &[u8]) {
    for transport in [Transport::Udp, Transport::Tcp] {
        let answer = match Query::receive(data, transport) {
            Received::Ignored => continue,
            Received::Refused(refusal) => refusal,
            Received::Query(query) => {
                let asked = Asked::new(&query).expect("what was decoded can be encoded");
                let asked = Message::from_vec(&asked.octets).expect("our question can be read");
                assert!(asked.queries.len() == 1 && asked.queries[0] == query.question);
                assert!(asked.all_sections().next().is_none());
                let reply = local::answer(&Letters, &query).unwrap_or_else(|| query.reply(ResponseCode::NXDomain));
                let answer = query.encode(reply).expect("what was decoded can be encoded");
                assert!(answer.len() <= query.limit.into());
                answer
            }
        };
        assert!(Header::of(&answer).map(Header::id) == Header::of(data).map(Header::id));
        let answer = Message::from_vec(&answer).expect("our answer can be read");
        assert_eq!(answer.message_type, MessageType::Response);
    }
}

/// Takes bytes as a server's answer, with the id that they would have to guess,
/// to the question that they repeat; panics if a promise does not hold: what the
/// container gets is an answer to its question, fits, and has no address that is
/// not public. Whether there was anything to pass on.
pub fn fuzz_answer(data: &[u8]) -> bool {
    if Header::of(data).is_none_or(|header| header.questions() != 1) {
        return false;
    }
    let Ok(repeated) = Message::from_vec(data) else {
        return false;
    };
    let Some(question) = repeated.queries.first() else {
        return false;
    };
    let mut theirs = Message::query();
    theirs.add_query(question.clone());
    theirs.edns = repeated.edns.clone().map(|mut edns| edns.set_version(0).clone());
    let Ok(octets) = theirs.to_vec() else {
        return false;
    };
    let Received::Query(query) = Query::receive(&octets, Transport::Udp) else {
        return false;
    };
    let asked = Asked::new(&query).expect("what was decoded can be encoded");
    let mut answer = data.to_vec();
    answer[..2].copy_from_slice(&asked.octets[..2]);
    let Ok(mut answer) = asked.accept(&answer) else {
        return false;
    };
    let is_public = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets()[0] >= 128,
        IpAddr::V6(address) => address.to_ipv4_mapped().is_none() && address.octets()[0] >= 128,
    };
    AnswerPolicy::Only(Rc::new(is_public)).apply(&mut answer);
    let octets = query.encode(query.relay(answer)).expect("what was decoded can be encoded");
    assert!(octets.len() <= query.limit.into());
    let relayed = Message::from_vec(&octets).expect("our answer can be read");
    assert_eq!(relayed.id, theirs.id);
    assert_eq!(relayed.message_type, MessageType::Response);
    assert!(relayed.queries.len() == 1 && relayed.queries[0] == *question);
    for record in relayed.all_sections() {
        if matches!(record.record_type(), RecordType::A | RecordType::AAAA) {
            let address = record.data.ip_addr().expect("an address");
            assert!(is_public(address.to_canonical()), "{record}");
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::{Edns, OpCode, Query as Question};
    use hickory_proto::rr::rdata::{A, AAAA, CNAME, HTTPS, MX, NS, PTR, SOA, SRV, SVCB, TXT};
    use hickory_proto::rr::{Name, RData, Record};
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn query(wanted: RecordType, of: &str) -> Vec<u8> {
        let mut message = Message::query();
        message.add_query(Question::query(name(of), wanted)).set_edns(Edns::new());
        message.to_vec().unwrap()
    }

    fn queries() -> Vec<Vec<u8>> {
        let types = [RecordType::A, RecordType::AAAA, RecordType::MX, RecordType::PTR, RecordType::ANY];
        let names = ["w.", "web.example.", "4.3.2.1.in-addr.arpa."];
        types.iter().flat_map(|wanted| names.map(|of| query(*wanted, of))).collect()
    }

    /// With a record of each type that the library reads in a way of its own.
    fn answers() -> Vec<Vec<u8>> {
        let other = || name("other.example.");
        let data = [
            RData::A(A::new(10, 0, 0, 1)),
            RData::A(A::new(200, 0, 0, 1)),
            RData::AAAA(AAAA::new(0, 0, 0, 0, 0, 0xffff, 0x0a00, 1)),
            RData::CNAME(CNAME(other())),
            RData::MX(MX::new(1, other())),
            RData::NS(NS(other())),
            RData::PTR(PTR(other())),
            RData::SOA(SOA::new(other(), other(), 1, 2, 3, 4, 5)),
            RData::SRV(SRV::new(1, 2, 3, other())),
            RData::TXT(TXT::new(vec!["x".repeat(200)])),
            RData::HTTPS(HTTPS(SVCB::new(1, Name::root(), Vec::new()))),
        ];
        let records: Vec<Record> =
            data.into_iter().map(|data| Record::from_rdata(name("web.example."), 60, data)).collect();
        let mut message = Message::new(1, MessageType::Response, OpCode::Query);
        message.add_query(Question::query(name("web.example."), RecordType::A)).set_edns(Edns::new());
        let mut all: Vec<Vec<u8>> = Vec::new();
        for record in &records {
            message.answers = vec![record.clone()];
            all.push(message.to_vec().unwrap());
        }
        message.answers = records.clone();
        message.authorities = records.clone();
        message.additionals = records;
        all.push(message.to_vec().unwrap());
        all
    }

    /// One of these, with some octets changed and its end cut or drawn out.
    fn mutated(of: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
        let changes = vec((any::<prop::sample::Index>(), any::<u8>()), 0..8);
        (prop::sample::select(of), changes, any::<prop::sample::Index>(), vec(any::<u8>(), 0..40)).prop_map(
            |(mut message, changes, end, tail)| {
                for (index, octet) in changes {
                    let at = index.index(message.len());
                    message[at] = octet;
                }
                // Half of them keep their end.
                message.truncate((end.index(message.len() * 2) + 1).min(message.len()));
                message.extend(tail);
                message
            },
        )
    }

    #[test]
    fn the_answers_are_answers() {
        for answer in answers() {
            assert!(fuzz_answer(&answer));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn any_bytes_are_a_query_or_not(data in vec(any::<u8>(), 0..600)) {
            fuzz_query(&data);
        }

        #[test]
        fn a_changed_query_is_answered_or_not(data in mutated(queries())) {
            fuzz_query(&data);
        }

        #[test]
        fn any_bytes_are_an_answer_or_not(data in vec(any::<u8>(), 0..600)) {
            fuzz_answer(&data);
        }

        #[test]
        fn a_changed_answer_is_passed_on_or_not(data in mutated(answers())) {
            fuzz_answer(&data);
        }
    }
}
