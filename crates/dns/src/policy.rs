//! What of a server's answer reaches the container.

use std::fmt;
use std::net::IpAddr;
use std::rc::Rc;

use hickory_proto::op::Message;
use hickory_proto::rr::rdata::SVCB;
use hickory_proto::rr::rdata::svcb::SvcParamValue;
use hickory_proto::rr::{RData, Record, RecordType};

/// Applies to what comes from upstream, not to [`Names`](crate::Names).
#[derive(Clone)]
pub enum AnswerPolicy {
    /// Everything, as in Docker.
    All,
    /// No address but those that this allows: a name that anyone may own must not
    /// lead to the host or its neighbours (rebinding). Records with another address
    /// are left out; names that lead to names are kept. A question for `ANY` is
    /// answered by nothing, since it has no answer that could be relied on.
    ///
    /// It is given an IPv4-mapped IPv6 address as its IPv4 address.
    Only(Rc<dyn Fn(IpAddr) -> bool>),
}

impl fmt::Debug for AnswerPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::All => "All",
            Self::Only(_) => "Only",
        })
    }
}

impl AnswerPolicy {
    /// Whether there is anything to ask a server for.
    pub(crate) fn asks_for(&self, wanted: RecordType) -> bool {
        match self {
            Self::All => true,
            Self::Only(_) => wanted != RecordType::ANY,
        }
    }

    pub(crate) fn apply(&self, answer: &mut Message) {
        let Self::Only(is_allowed) = self else {
            return;
        };
        let mut dropped = false;
        for section in [&mut answer.answers, &mut answer.authorities, &mut answer.additionals] {
            let before = section.len();
            section.retain(|record| is_kept(record, &**is_allowed));
            dropped |= section.len() < before;
        }
        // What is left is not what a server had verified.
        answer.metadata.authentic_data &= !dropped;
    }
}

fn is_kept(record: &Record, is_allowed: &dyn Fn(IpAddr) -> bool) -> bool {
    let is_allowed = |address: IpAddr| is_allowed(address.to_canonical());
    match &record.data {
        RData::A(address) => is_allowed(address.0.into()),
        RData::AAAA(address) => is_allowed(address.0.into()),
        RData::SVCB(service) => hints(service).all(is_allowed),
        RData::HTTPS(service) => hints(service).all(is_allowed),
        // The library reads both wherever they are in one piece.
        _ => !matches!(record.record_type(), RecordType::A | RecordType::AAAA | RecordType::SVCB | RecordType::HTTPS),
    }
}

/// A record with one that is forbidden goes as a whole: other parameters may
/// say that the hints are needed, and clients ask for addresses without it.
fn hints(service: &SVCB) -> impl Iterator<Item = IpAddr> {
    service.svc_params.iter().flat_map(|(_, value)| -> Vec<IpAddr> {
        match value {
            SvcParamValue::Ipv4Hint(hint) => hint.0.iter().map(|address| address.0.into()).collect(),
            SvcParamValue::Ipv6Hint(hint) => hint.0.iter().map(|address| address.0.into()).collect(),
            _ => Vec::new(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::{MessageType, OpCode};
    use hickory_proto::rr::Name;
    use hickory_proto::rr::rdata::svcb::{IpHint, SvcParamKey};
    use hickory_proto::rr::rdata::{A, AAAA, CNAME, HTTPS};

    fn public() -> AnswerPolicy {
        // A mapped address that came as such would be public here.
        AnswerPolicy::Only(Rc::new(|address| match address {
            IpAddr::V4(address) => !address.is_private(),
            IpAddr::V6(address) => !address.is_loopback(),
        }))
    }

    fn record(data: RData) -> Record {
        Record::from_rdata(Name::from_ascii("a.example.").unwrap(), 60, data)
    }

    fn v4(text: &str) -> RData {
        RData::A(A(text.parse().unwrap()))
    }

    fn v6(text: &str) -> RData {
        RData::AAAA(AAAA(text.parse().unwrap()))
    }

    fn https(value: SvcParamValue, key: SvcParamKey) -> RData {
        RData::HTTPS(HTTPS(SVCB::new(1, Name::root(), vec![(key, value)])))
    }

    fn hint4(text: &[&str]) -> RData {
        let hints = text.iter().map(|text| A(text.parse().unwrap())).collect();
        https(SvcParamValue::Ipv4Hint(IpHint(hints)), SvcParamKey::Ipv4Hint)
    }

    fn hint6(text: &str) -> RData {
        let hints = vec![AAAA(text.parse().unwrap())];
        https(SvcParamValue::Ipv6Hint(IpHint(hints)), SvcParamKey::Ipv6Hint)
    }

    #[test]
    fn addresses_that_are_not_public_are_left_out_of_every_section() {
        let kept = [
            RData::CNAME(CNAME(Name::from_ascii("b.example.").unwrap())),
            v4("1.1.1.1"),
            v6("2606::1"),
            v6("::ffff:1.1.1.1"),
            hint4(&["1.1.1.1"]),
            hint6("2606::1"),
            https(SvcParamValue::Port(1), SvcParamKey::Port),
        ];
        let gone = [
            v4("10.0.0.1"),
            v6("::1"),
            v6("::ffff:10.0.0.1"),
            hint4(&["1.1.1.1", "192.168.0.1"]),
            hint6("::ffff:10.0.0.1"),
        ];
        let all: Vec<Record> = kept.iter().chain(&gone).cloned().map(record).collect();
        let mut answer = Message::new(1, MessageType::Response, OpCode::Query);
        answer.metadata.authentic_data = true;
        (answer.answers, answer.authorities, answer.additionals) = (all.clone(), all.clone(), all.clone());
        AnswerPolicy::All.apply(&mut answer);
        assert_eq!((&answer.answers, answer.authentic_data), (&all, true));
        public().apply(&mut answer);
        let kept: Vec<Record> = kept.into_iter().map(record).collect();
        assert_eq!([&answer.answers, &answer.authorities, &answer.additionals], [&kept; 3]);
        assert!(!answer.authentic_data);
    }

    #[test]
    fn an_answer_that_loses_nothing_stays_verified() {
        let mut answer = Message::new(1, MessageType::Response, OpCode::Query);
        answer.metadata.authentic_data = true;
        answer.answers = vec![record(v4("1.1.1.1"))];
        public().apply(&mut answer);
        assert!(answer.authentic_data);
    }
}
