//! A name server that does what a test says.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use casemate_dns::Transport;
use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA};
use hickory_proto::rr::{RData, Record};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::{AbortHandle, spawn_local};

/// What is sent, in this order; nothing to stay silent.
#[derive(Default)]
pub(crate) struct Reply(pub(crate) Vec<(From, Vec<u8>)>);

/// Whose socket it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    Server,
    /// Another one of this machine.
    Stranger,
}

impl std::convert::From<Message> for Reply {
    fn from(message: Message) -> Self {
        Self(vec![(From::Server, message.to_vec().unwrap())])
    }
}

/// What it was asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) client: SocketAddr,
    pub(crate) transport: Transport,
    pub(crate) message: Message,
}

/// Gone when it is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    asked: Rc<RefCell<Vec<Asked>>>,
    tasks: [AbortHandle; 2],
}

impl Drop for Server {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Server {
    pub(crate) async fn start<R: Into<Reply>>(reply: impl Fn(&Asked) -> R + 'static) -> Self {
        let (udp, tcp) = sockets().await;
        let address = udp.local_addr().unwrap();
        let asked = Rc::new(RefCell::new(Vec::new()));
        let log = Rc::clone(&asked);
        let reply = Rc::new(move |client, transport, octets: &[u8]| {
            let message = Message::from_vec(octets).expect("the resolver asks in DNS");
            let asked = Asked { client, transport, message };
            let reply: Reply = reply(&asked).into();
            log.borrow_mut().push(asked);
            reply
        });
        let by_tcp = Rc::clone(&reply);
        let udp = spawn_local(async move {
            let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let mut buffer = [0; 4096];
            loop {
                let (length, client) = udp.recv_from(&mut buffer).await.unwrap();
                for (from, octets) in reply(client, Transport::Udp, &buffer[..length]).0 {
                    let socket = if from == From::Server { &udp } else { &stranger };
                    socket.send_to(&octets, client).await.unwrap();
                }
            }
        });
        let tcp = spawn_local(async move {
            loop {
                let (mut stream, client) = tcp.accept().await.unwrap();
                let length = stream.read_u16().await.unwrap();
                let mut octets = vec![0; length.into()];
                stream.read_exact(&mut octets).await.unwrap();
                for (_, octets) in by_tcp(client, Transport::Tcp, &octets).0 {
                    stream.write_u16(octets.len().try_into().unwrap()).await.unwrap();
                    stream.write_all(&octets).await.unwrap();
                }
            }
        });
        Self { address, asked, tasks: [udp.abort_handle(), tcp.abort_handle()] }
    }

    /// One that answers every question by this address.
    pub(crate) async fn of(address: &str) -> Self {
        let address: IpAddr = address.parse().unwrap();
        Self::start(move |asked| answer(asked, &[address])).await
    }

    /// One that never answers.
    pub(crate) async fn mute() -> Self {
        Self::start(|_| Reply::default()).await
    }

    pub(crate) async fn failing(code: ResponseCode) -> Self {
        Self::start(move |asked| {
            let mut reply = answer(asked, &[]);
            reply.metadata.response_code = code;
            reply
        })
        .await
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.borrow().clone()
    }

    pub(crate) fn transports(&self) -> Vec<Transport> {
        self.asked().iter().map(|asked| asked.transport).collect()
    }
}

/// Of the same port, which somebody else may have of one kind.
async fn sockets() -> (UdpSocket, TcpListener) {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
            return (udp, tcp);
        }
    }
}

/// An answer by these addresses.
pub(crate) fn answer(asked: &Asked, addresses: &[IpAddr]) -> Message {
    let mut reply = Message::new(asked.message.id, MessageType::Response, OpCode::Query);
    reply.metadata.recursion_available = true;
    reply.queries.clone_from(&asked.message.queries);
    reply.edns.clone_from(&asked.message.edns);
    let name = asked.message.queries[0].name();
    for address in addresses {
        let data = match *address {
            IpAddr::V4(address) => RData::A(A(address)),
            IpAddr::V6(address) => RData::AAAA(AAAA(address)),
        };
        reply.add_answer(Record::from_rdata(name.clone(), 60, data));
    }
    reply
}
