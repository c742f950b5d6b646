//! A name server of the Internet's, with as many names as a test needs.

use std::net::{IpAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA};
use hickory_proto::rr::{RData, Record};
use tokio::net;

use super::at;
use super::node::Node;
use super::server::Background;

/// Names, without a dot at their end, and their addresses.
type Zone = &'static [(&'static str, &'static [&'static str])];

/// Ended with this.
#[derive(Debug)]
pub struct NameServer {
    asked: Arc<Mutex<Vec<String>>>,
    _thread: Background,
}

impl Node {
    /// Answers at this address, over UDP.
    pub fn serve_names(&self, address: &str, zone: Zone) -> NameServer {
        let socket = self.run(|| UdpSocket::bind(at(address, 53)).unwrap_or_else(|error| panic!("{address}: {error}")));
        socket.set_nonblocking(true).expect("a socket that does not block");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let ours = Arc::clone(&asked);
        let thread = Background::start(move || {
            let socket = net::UdpSocket::from_std(socket).expect("a socket");
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                loop {
                    let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
                    let query = Message::from_vec(&buffer[..length]).expect("a resolver asks in DNS");
                    let answer = answer(&query, zone);
                    let names = query.queries.iter().map(|question| question.name().to_string());
                    ours.lock().unwrap_or_else(PoisonError::into_inner).extend(names);
                    let _ = socket.send_to(&answer.to_vec().expect("an answer of few names"), from).await;
                }
            });
        });
        NameServer { asked, _thread: thread }
    }
}

impl NameServer {
    /// All names so far, each with a dot at its end.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn answer(query: &Message, zone: Zone) -> Message {
    let mut answer = Message::new(query.id, MessageType::Response, query.op_code);
    answer.add_queries(query.queries.clone());
    let Some(question) = query.queries.first() else { return answer };
    let name = question.name().to_string().to_ascii_lowercase();
    let known = zone.iter().find(|(known, _)| name.strip_suffix('.') == Some(known));
    let Some((_, addresses)) = known else {
        answer.metadata.response_code = ResponseCode::NXDomain;
        return answer;
    };
    let data = addresses.iter().map(|address| match address.parse().expect("an address") {
        IpAddr::V4(address) => RData::A(A(address)),
        IpAddr::V6(address) => RData::AAAA(AAAA(address)),
    });
    let wanted = data.filter(|data| data.record_type() == question.query_type());
    answer.add_answers(wanted.map(|data| Record::from_rdata(question.name().clone(), 60, data)));
    answer
}
