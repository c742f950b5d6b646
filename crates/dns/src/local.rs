//! Answers from the names of the container's networks.

use std::net::IpAddr;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, PTR};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use rand::seq::SliceRandom;

use crate::names::{Names, answered, asked_for};
use crate::query::Query;

/// Seconds; Docker's.
const TTL: u32 = 600;

/// `None` if this is not a matter of the container's networks. Whoever is
/// called so but has no address of the family is there all the same, so nobody
/// upstream is asked. Other types than these are asked for upstream, as Docker
/// does.
pub(crate) fn answer(names: &impl Names, query: &Query) -> Option<Message> {
    let question = &query.question;
    if question.query_class() != DNSClass::IN {
        return None;
    }
    let name = question.name();
    let wanted = question.query_type();
    let data = match wanted {
        // Mail is for the address, then (RFC 5321, section 5.1).
        RecordType::MX => names.addresses(&asked_for(name)?).map(|_| Vec::new())?,
        RecordType::A | RecordType::AAAA => addresses(names.addresses(&asked_for(name)?)?, wanted),
        RecordType::PTR => {
            let Some(pointed) = answered(&names.name(address(name)?)?) else {
                return Some(query.reply(ResponseCode::ServFail));
            };
            vec![RData::PTR(PTR(pointed))]
        }
        _ => return None,
    };
    let mut reply = query.reply(ResponseCode::NoError);
    reply.add_answers(data.into_iter().map(|data| Record::from_rdata(name.clone(), TTL, data)));
    Some(reply)
}

/// In any order, so that all get their share of clients who take the first.
fn addresses(all: Vec<IpAddr>, wanted: RecordType) -> Vec<RData> {
    let data = all.into_iter().map(|address| match address {
        IpAddr::V4(address) => RData::A(A(address)),
        IpAddr::V6(address) => RData::AAAA(AAAA(address)),
    });
    let mut data: Vec<RData> = data.filter(|data| data.record_type() == wanted).collect();
    data.shuffle(&mut rand::rng());
    data
}

/// Of a name in `in-addr.arpa` or `ip6.arpa`; `None` for others and for names of
/// whole networks.
fn address(name: &Name) -> Option<IpAddr> {
    let net = name.parse_arpa_name().ok()?;
    (net.prefix_len() == net.max_prefix_len()).then(|| net.addr())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_addresses() {
        let of = |name: &str| address(&Name::from_ascii(name).unwrap());
        assert_eq!(of("4.3.2.1.IN-ADDR.arpa."), Some("1.2.3.4".parse().unwrap()));
        let six = format!("2.{}d.f.ip6.arpa.", "0.".repeat(29));
        assert_eq!(of(&six), Some("fd00::2".parse().unwrap()));
        for not in ["3.2.1.in-addr.arpa.", "5.4.3.2.1.in-addr.arpa.", "256.3.2.1.in-addr.arpa.", "ip6.arpa.", "web."] {
            assert_eq!(of(not), None, "{not}");
        }
        assert_eq!(of(&six[2..]), None);
    }
}
