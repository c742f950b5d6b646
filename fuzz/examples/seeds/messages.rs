//! DNS messages as clients ask and servers answer.

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::rdata::svcb::{Alpn, IpHint, SvcParamKey, SvcParamValue};
use hickory_proto::rr::rdata::{A, AAAA, CAA, CNAME, HTTPS, MX, NAPTR, NS, PTR, SOA, SRV, SVCB, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};

pub(crate) fn all() -> Vec<Vec<u8>> {
    let types = [RecordType::A, RecordType::AAAA, RecordType::MX, RecordType::PTR, RecordType::ANY];
    let names = ["w.", "web.example.", "4.3.2.1.in-addr.arpa."];
    let queries = types.iter().flat_map(|wanted| names.map(|of| [b"0", &query(of, *wanted)[..]].concat()));
    let answers = data().into_iter().map(|data| answer(vec![data]));
    let answers = answers.chain([answer(data())]).map(|message| [b"1", &message[..]].concat());
    queries.chain(answers).collect()
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).expect("a name")
}

fn query(of: &str, wanted: RecordType) -> Vec<u8> {
    let mut message = Message::new(0x1234, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name(of), wanted)).set_edns(Edns::new());
    message.to_vec().expect("every message can be written")
}

/// With all of it in each section.
fn answer(data: Vec<RData>) -> Vec<u8> {
    let mut message = Message::new(0x1234, MessageType::Response, OpCode::Query);
    message.add_query(Query::query(name("web.example."), RecordType::A));
    message.answers = data.into_iter().map(|data| Record::from_rdata(name("web.example."), 60, data)).collect();
    message.authorities.clone_from(&message.answers);
    message.additionals.clone_from(&message.answers);
    message.edns.insert(Edns::new()).set_max_payload(1232);
    message.to_vec().expect("every message can be written")
}

/// One of each type that the library reads in a way of its own.
fn data() -> Vec<RData> {
    let other = || name("other.example.");
    let hints = vec![
        (SvcParamKey::Alpn, SvcParamValue::Alpn(Alpn(vec!["h2".to_owned()]))),
        (SvcParamKey::Port, SvcParamValue::Port(443)),
        (SvcParamKey::Ipv4Hint, SvcParamValue::Ipv4Hint(IpHint(vec![A::new(200, 0, 0, 1)]))),
        (SvcParamKey::Ipv6Hint, SvcParamValue::Ipv6Hint(IpHint(vec![AAAA::new(0xf000, 0, 0, 0, 0, 0, 0, 1)]))),
    ];
    vec![
        RData::A(A::new(10, 0, 0, 1)),
        RData::A(A::new(200, 0, 0, 1)),
        RData::AAAA(AAAA::new(0xf000, 0, 0, 0, 0, 0, 0, 1)),
        RData::AAAA(AAAA::new(0, 0, 0, 0, 0, 0xffff, 0x0a00, 1)),
        RData::CAA(CAA::new_issue(false, Some(other()), Vec::new())),
        RData::CNAME(CNAME(other())),
        RData::HTTPS(HTTPS(SVCB::new(1, Name::root(), hints))),
        RData::MX(MX::new(1, other())),
        RData::NAPTR(NAPTR::new(
            1,
            2,
            b"S".as_slice().into(),
            b"SIP".as_slice().into(),
            b"!a!b!".as_slice().into(),
            other(),
        )),
        RData::NS(NS(other())),
        RData::PTR(PTR(other())),
        RData::SOA(SOA::new(other(), other(), 1, 2, 3, 4, 5)),
        RData::SRV(SRV::new(1, 2, 3, other())),
        RData::TXT(TXT::new(vec!["x".repeat(200)])),
    ]
}
