//! A resolver, its names and its sockets.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use casemate_dns::{AnswerPolicy, Connector, Names, Namespace, Resolver, Settings, Transport, Upstream};
use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RecordType};
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::LocalSet;

use crate::server::Server;

/// Runs a test; one that hangs fails.
pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let bounded = async { tokio::time::timeout(Duration::from_secs(60), test).await.expect("the test hangs") };
    LocalSet::new().block_on(&runtime, bounded)
}

#[derive(Default)]
pub(crate) struct Table(BTreeMap<&'static str, Vec<IpAddr>>);

impl Table {
    pub(crate) fn of(names: &[(&'static str, &[&str])]) -> Self {
        let parse = |all: &[&str]| all.iter().map(|text| text.parse().unwrap()).collect();
        Self(names.iter().map(|(name, all)| (*name, parse(all))).collect())
    }
}

impl Names for Table {
    fn addresses(&self, name: &str) -> Option<Vec<IpAddr>> {
        self.0.get(name).cloned()
    }

    fn name(&self, address: IpAddr) -> Option<String> {
        let (name, _) = self.0.iter().find(|(_, all)| all.contains(&address))?;
        Some(format!("{name}.mynet"))
    }
}

/// Connects as the daemon does where there is only one namespace, and remembers
/// to whom.
#[derive(Clone, Default)]
pub(crate) struct Loopback {
    pub(crate) servers: Rc<RefCell<Vec<Upstream>>>,
}

impl Connector for Loopback {
    async fn udp(&self, server: Upstream) -> io::Result<UdpSocket> {
        self.servers.borrow_mut().push(server);
        let socket = UdpSocket::bind("127.0.0.1:0").await?;
        socket.connect(server.address).await?;
        Ok(socket)
    }

    async fn tcp(&self, server: Upstream) -> io::Result<TcpStream> {
        TcpStream::connect(server.address).await
    }
}

pub(crate) type TestResolver = Resolver<Table, Loopback>;

pub(crate) fn host(address: SocketAddr) -> Upstream {
    Upstream { address, namespace: Namespace::Host }
}

/// Longer than a test may take: what comes, comes without it.
const NEVER: Duration = Duration::from_secs(3600);

pub(crate) fn settings(upstreams: Vec<Upstream>) -> Settings {
    Settings { upstreams, internal: false, ndots_set: false, answers: AnswerPolicy::All, timeout: NEVER }
}

/// One that knows no names and asks these servers in turn.
pub(crate) fn forwarder(servers: &[&Server]) -> TestResolver {
    let upstreams = servers.iter().map(|server| host(server.address)).collect();
    Resolver::new(Table::default(), Loopback::default(), settings(upstreams))
}

pub(crate) fn query(name: &str, wanted: RecordType) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), wanted));
    message
}

/// Asks by UDP; what must hold for every answer does.
pub(crate) async fn ask<N: Names, C: Connector>(resolver: &Resolver<N, C>, query: &Message) -> Message {
    ask_by(resolver, query, Transport::Udp).await
}

pub(crate) async fn ask_by<N: Names, C: Connector>(
    resolver: &Resolver<N, C>,
    query: &Message,
    transport: Transport,
) -> Message {
    let octets = resolver.answer(&query.to_vec().unwrap(), transport).await.expect("an answer");
    if transport == Transport::Udp {
        assert!(octets.len() <= query.max_payload().into());
    }
    let answer = Message::from_vec(&octets).unwrap();
    assert_eq!((answer.id, &answer.queries), (query.id, &query.queries));
    // In the client's own letters.
    assert!(answer.queries[0].name().eq_case(query.queries[0].name()));
    assert_eq!(answer.edns.is_some(), query.edns.is_some());
    assert_eq!(answer.recursion_desired, query.recursion_desired);
    answer
}

/// The data of its answers, as text.
pub(crate) fn data(answer: &Message) -> Vec<String> {
    answer.answers.iter().map(|record| record.data.to_string()).collect()
}
