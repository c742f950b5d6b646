//! What a container asks, checked.

use hickory_proto::ProtoError;
use hickory_proto::op::{Edns, Message, MessageType, Metadata, OpCode, Query as Question, ResponseCode};
use hickory_proto::rr::RecordType;

use crate::message::{Header, decode, encode};

/// How a query came, which says how long its answer may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Udp,
    Tcp,
}

/// What came as a query.
#[derive(Debug)]
pub(crate) enum Received {
    Query(Query),
    /// The refusal, as a message.
    Refused(Vec<u8>),
    /// No answer is due, or it might be answered in turn.
    Ignored,
}

/// One question, and what its answer has to repeat. Everything else that came
/// with it is gone.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    metadata: Metadata,
    pub(crate) question: Question,
    edns: Option<Edns>,
    /// Octets that an answer may have.
    pub(crate) limit: u16,
}

/// Without EDNS (RFC 1035, section 4.2.1).
const LEAST_LIMIT: u16 = 512;

/// What one datagram can carry over IPv4.
const DATAGRAM: u16 = 65_507;

/// What we say that we take in a datagram, to either side: what passes any
/// network without fragments.
const PAYLOAD: u16 = 1232;

impl Query {
    pub(crate) fn receive(message: &[u8], transport: Transport) -> Received {
        let Some(header) = Header::of(message) else {
            return Received::Ignored;
        };
        if header.is_response() {
            return Received::Ignored;
        }
        if header.op_code() != 0 {
            return Received::Refused(header.refusal(ResponseCode::NotImp).to_vec());
        }
        // Before the rest is read: it makes room for as many as are announced.
        if header.questions() != 1 {
            return Received::Refused(header.refusal(ResponseCode::FormErr).to_vec());
        }
        let Ok(message) = decode(message) else {
            return Received::Refused(header.refusal(ResponseCode::FormErr).to_vec());
        };
        let Message { metadata, mut queries, edns, .. } = message;
        let Some(question) = queries.pop() else {
            return Received::Ignored;
        };
        let limit = match (transport, &edns) {
            (Transport::Tcp, _) => u16::MAX,
            (Transport::Udp, Some(edns)) => edns.max_payload().clamp(LEAST_LIMIT, DATAGRAM),
            (Transport::Udp, None) => LEAST_LIMIT,
        };
        let version = edns.as_ref().map_or(0, Edns::version);
        // Options are between neighbours (RFC 6891, section 6.1.1): the server
        // upstream is not the client's.
        let edns = edns.map(|theirs| {
            let mut ours = Edns::new();
            ours.set_max_payload(PAYLOAD).set_dnssec_ok(theirs.flags().dnssec_ok);
            ours
        });
        let query = Self { metadata, question, edns, limit };
        match query.refusal(version) {
            Some(code) => query.encode(query.reply(code)).map_or(Received::Ignored, Received::Refused),
            None => Received::Query(query),
        }
    }

    fn refusal(&self, edns_version: u8) -> Option<ResponseCode> {
        match self.question.query_type() {
            _ if edns_version != 0 => Some(ResponseCode::BADVERS),
            // A whole zone, in many messages.
            RecordType::AXFR | RecordType::IXFR => Some(ResponseCode::NotImp),
            _ => None,
        }
    }

    /// An answer without records.
    pub(crate) fn reply(&self, code: ResponseCode) -> Message {
        let mut reply = Message::new(self.metadata.id, MessageType::Response, OpCode::Query);
        reply.metadata.recursion_desired = self.metadata.recursion_desired;
        reply.metadata.checking_disabled = self.metadata.checking_disabled;
        reply.metadata.recursion_available = true;
        reply.metadata.response_code = code;
        reply.queries = vec![self.question.clone()];
        reply.edns = self.edns.clone();
        reply
    }

    /// The same question to a server upstream, with a random id.
    pub(crate) fn asked(&self) -> Message {
        let mut asked = Message::query();
        asked.metadata.recursion_desired = self.metadata.recursion_desired;
        asked.metadata.checking_disabled = self.metadata.checking_disabled;
        asked.metadata.authentic_data = self.metadata.authentic_data;
        asked.queries = vec![self.question.clone()];
        asked.edns = self.edns.clone();
        asked
    }

    /// A server's answer as one to this query.
    pub(crate) fn relay(&self, answer: Message) -> Message {
        let Message { metadata, answers, authorities, additionals, edns: _, .. } = answer;
        // The code's upper bits are in what the client does not understand.
        if metadata.response_code.high() > 0 && self.edns.is_none() {
            return self.reply(ResponseCode::ServFail);
        }
        let mut reply = self.reply(metadata.response_code);
        reply.metadata.authoritative = metadata.authoritative;
        reply.metadata.truncation = metadata.truncation;
        reply.metadata.recursion_available = metadata.recursion_available;
        reply.metadata.authentic_data = metadata.authentic_data;
        (reply.answers, reply.authorities, reply.additionals) = (answers, authorities, additionals);
        reply
    }

    /// An answer's octets, of which there are no more than the client takes; that
    /// it failed, if a server's record cannot be encoded. `None` never, unless the
    /// library cannot encode a name that it has decoded.
    pub(crate) fn encode(&self, reply: Message) -> Option<Vec<u8>> {
        let failed = |error: ProtoError| {
            tracing::debug!(%error, question = %self.question, "answer cannot be encoded");
            encode(self.reply(ResponseCode::ServFail), self.limit).ok()
        };
        encode(reply, self.limit).map_or_else(failed, Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::HEADER;
    use hickory_proto::rr::Name;

    fn query(change: impl FnOnce(&mut Message)) -> Vec<u8> {
        let mut message = Message::query();
        message.metadata.id = 0x1234;
        message.metadata.recursion_desired = true;
        message.add_query(Question::query(Name::from_ascii("Web.").unwrap(), RecordType::A));
        change(&mut message);
        message.to_vec().unwrap()
    }

    fn refused(message: &[u8]) -> Message {
        match Query::receive(message, Transport::Udp) {
            Received::Refused(reply) => Message::from_vec(&reply).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_no_query_is_refused_or_ignored() {
        let good = query(|_| ());
        for short in 0..HEADER {
            assert!(matches!(Query::receive(&good[..short], Transport::Udp), Received::Ignored));
        }
        let mut response = good.clone();
        response[2] |= 0x80;
        assert!(matches!(Query::receive(&response, Transport::Udp), Received::Ignored));
        let cut = refused(&good[..good.len() - 1]);
        assert_eq!((cut.id, cut.response_code, cut.recursion_desired), (0x1234, ResponseCode::FormErr, true));
        let mut many = good.clone();
        many[4..6].copy_from_slice(&[0xff, 0xff]);
        assert_eq!(refused(&many).response_code, ResponseCode::FormErr);
        let none = query(|message| message.queries.clear());
        assert_eq!(refused(&none).response_code, ResponseCode::FormErr);
        let notify = refused(&query(|message| message.metadata.op_code = OpCode::Notify));
        assert_eq!((notify.response_code, notify.op_code), (ResponseCode::NotImp, OpCode::Notify));
        let transfer = refused(&query(|message| message.queries[0].query_type = RecordType::AXFR));
        assert_eq!(transfer.response_code, ResponseCode::NotImp);
        let version = refused(&query(|message| {
            message.edns.insert(Edns::new()).set_version(1);
        }));
        // It has the number of another one's.
        assert_eq!(u16::from(version.response_code), u16::from(ResponseCode::BADVERS));
    }

    #[test]
    fn the_limit_is_the_clients() {
        let limit = |message: &[u8], transport| match Query::receive(message, transport) {
            Received::Query(query) => query.limit,
            other => panic!("{other:?}"),
        };
        let with = |payload| {
            query(|message| {
                message.edns.insert(Edns::new()).set_max_payload(payload);
            })
        };
        assert_eq!(limit(&query(|_| ()), Transport::Udp), 512);
        assert_eq!(limit(&with(1), Transport::Udp), 512);
        assert_eq!(limit(&with(4096), Transport::Udp), 4096);
        assert_eq!(limit(&with(u16::MAX), Transport::Udp), 65_507);
        assert_eq!(limit(&query(|_| ()), Transport::Tcp), u16::MAX);
    }
}
