//! Messages as octets: their headers before anything else is read of them, and
//! what is read and written of the rest.
//!
//! The library warns, with what it found, of much that a stranger can send as
//! often as he likes. Here it says nothing: its errors do.

use hickory_proto::ProtoError;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder, DecodeError};
use tracing::Dispatch;
use tracing::dispatcher::with_default;

/// Octets of a header (RFC 1035, section 4.1.1).
pub(crate) const HEADER: usize = 12;

/// Octets of an OPT record without options (RFC 6891, section 6.1.2).
const OPT: u16 = 11;

/// The header of a message, of which nothing else may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header<'m>(&'m [u8; HEADER]);

impl<'m> Header<'m> {
    pub(crate) fn of(message: &'m [u8]) -> Option<Self> {
        message.first_chunk().map(Self)
    }

    pub(crate) fn id(self) -> u16 {
        self.word(0)
    }

    pub(crate) fn is_response(self) -> bool {
        self.0[2] & 0x80 != 0
    }

    pub(crate) fn op_code(self) -> u8 {
        self.0[2] >> 3 & 0xf
    }

    pub(crate) fn questions(self) -> u16 {
        self.word(4)
    }

    /// How many answers, authorities and additional records there are.
    fn records(self) -> [usize; 3] {
        [6, 8, 10].map(|at| self.word(at).into())
    }

    fn word(self, at: usize) -> u16 {
        u16::from_be_bytes([self.0[at], self.0[at + 1]])
    }

    /// An answer to a message that cannot be read: with its id, operation and
    /// wish for recursion, and without its question.
    pub(crate) fn refusal(self, code: ResponseCode) -> [u8; HEADER] {
        let mut refusal = [0; HEADER];
        refusal[..2].copy_from_slice(&self.0[..2]);
        refusal[2] = 0x80 | self.0[2] & 0x79;
        refusal[3] = 0x80 | code.low();
        refusal
    }
}

/// It makes room for as many questions as the header announces (almost 6 MB): look
/// there first.
pub(crate) fn decode(octets: &[u8]) -> Result<Message, DecodeError> {
    with_default(&Dispatch::none(), || Message::from_vec(octets))
}

/// The octets of an answer. If they are more than `limit`, first the additional
/// records go, which are a kindness (RFC 2181, section 9); then the message is
/// said to be truncated and has as many answers as there is room for. Its OPT
/// record stays.
///
/// Fails if a record cannot be encoded at all.
pub(crate) fn encode(mut message: Message, limit: u16) -> Result<Vec<u8>, ProtoError> {
    if let (octets, true) = emit(&message, limit)? {
        return Ok(octets);
    }
    message.additionals.clear();
    if let (octets, true) = emit(&message, limit)? {
        return Ok(octets);
    }
    let edns = message.edns.take();
    let (octets, _) = emit(&message, if edns.is_some() { limit.saturating_sub(OPT) } else { limit })?;
    let [answers, authorities, _] = Header::of(&octets).map_or([0; 3], Header::records);
    // Authorities without all of the answers would be about something else.
    let authorities = if answers < message.answers.len() { 0 } else { authorities };
    message.answers.truncate(answers);
    message.authorities.truncate(authorities);
    message.metadata.truncation = true;
    message.edns = edns;
    emit(&message, limit).map(|(octets, _)| octets)
}

/// As much of the message as there is room for, and whether it is all.
fn emit(message: &Message, limit: u16) -> Result<(Vec<u8>, bool), ProtoError> {
    let mut octets = Vec::new();
    let mut encoder = BinEncoder::new(&mut octets);
    encoder.set_max_size(limit);
    with_default(&Dispatch::none(), || message.emit(&mut encoder))?;
    let additionals = message.additionals.len() + usize::from(message.edns.is_some());
    let all = [message.answers.len(), message.authorities.len(), additionals];
    let is_all = Header::of(&octets).is_some_and(|header| header.records() == all);
    Ok((octets, is_all))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::{Edns, MessageType, OpCode, Query};
    use hickory_proto::rr::rdata::{A, NS};
    use hickory_proto::rr::{Name, RData, Record, RecordType};
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use tracing::Subscriber;
    use tracing::span::{Attributes, Id, Record as Values};

    fn message(answers: u8) -> Message {
        let name = Name::from_ascii("web.example.").unwrap();
        let mut message = Message::new(7, MessageType::Response, OpCode::Query);
        message.add_query(Query::query(name.clone(), RecordType::A));
        message.set_edns(Edns::new());
        for last in 0..answers {
            message.add_answer(Record::from_rdata(name.clone(), 600, RData::A(A::new(10, 0, 0, last))));
        }
        message.add_authority(Record::from_rdata(name.clone(), 600, RData::NS(NS(name.clone()))));
        message.add_additional(Record::from_rdata(name, 600, RData::A(A::new(10, 0, 1, 0))));
        message
    }

    /// Fails the test that it says anything in.
    struct Silence;

    impl Subscriber for Silence {
        fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
            true
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &Values<'_>) {}

        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn event(&self, event: &tracing::Event<'_>) {
            panic!("{event:?}");
        }

        fn enter(&self, _: &Id) {}

        fn exit(&self, _: &Id) {}
    }

    #[test]
    fn nobody_fills_the_log() {
        let mut options = message(0).to_vec().unwrap();
        // The length of the last record, which is the OPT record's, and half an option.
        let end = options.len();
        options[end - 1] = 2;
        options.extend([0, 1]);
        let mut code = message(0);
        code.edns = None;
        code.metadata.response_code = ResponseCode::BADVERS;
        tracing::subscriber::with_default(Silence, || {
            assert!(decode(&options).unwrap().edns.is_some());
            encode(code.clone(), 512).unwrap();
        });
        // They are what the library warns of.
        for said in [&(|| drop(Message::from_vec(&options))) as &dyn Fn(), &|| drop(code.to_vec())] {
            let said = AssertUnwindSafe(|| tracing::subscriber::with_default(Silence, said));
            assert!(catch_unwind(said).is_err());
        }
    }

    #[test]
    fn what_fits_is_whole() {
        let whole = message(3);
        assert_eq!(Message::from_vec(&encode(whole.clone(), 512).unwrap()).unwrap(), whole);
    }

    #[test]
    fn additional_records_go_first_and_silently() {
        let whole = message(3);
        let length = u16::try_from(whole.to_vec().unwrap().len()).unwrap();
        let octets = encode(whole.clone(), length - 1).unwrap();
        let mut expected = whole;
        expected.additionals.clear();
        assert_eq!(Message::from_vec(&octets).unwrap(), expected);
    }

    #[test]
    fn what_does_not_fit_is_truncated_and_keeps_its_opt_record() {
        for limit in [512, 513, 520, 1232] {
            let octets = encode(message(200), limit).unwrap();
            assert!(octets.len() <= usize::from(limit));
            // One more answer takes 16 octets.
            assert!(octets.len() + 16 > usize::from(limit), "{} of {limit}", octets.len());
            let cut = Message::from_vec(&octets).unwrap();
            assert!(cut.truncation && cut.edns.is_some());
            assert_eq!((cut.queries.len(), cut.authorities.len(), cut.additionals.len()), (1, 0, 0));
            assert_eq!(cut.answers, message(200).answers[..cut.answers.len()]);
        }
    }
}
