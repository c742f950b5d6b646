//! The container's embedded resolver (`casemate-dns`), in its keeper: on sockets of
//! the container's namespace, or at the end of a stream from the agent of its VM.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;

use casemate_dns::{AnswerPolicy, Connector, QUERY, SERVER_TIMEOUT, Settings, Transport, UNANSWERED, Upstream};
use casemate_model::{ErrorClass, Failure};
use casemate_net::{Egress, ResolverSockets, is_public};
use casemate_wire::{DnsMessage, Stream, dns_messages};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::io::split;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

use crate::names::NetworkNames;

const DNS: u16 = 53;

type Inner = casemate_dns::Resolver<Rc<NetworkNames>, OnHost>;

/// Answers until it is dropped.
#[derive(Debug)]
pub(crate) struct Resolver {
    names: Rc<NetworkNames>,
    inner: Rc<Inner>,
    serving: JoinSet<()>,
}

impl Resolver {
    fn new(wanted: &casemate_wire::Resolver) -> Self {
        let names = Rc::new(NetworkNames::default());
        let settings = Settings {
            upstreams: Vec::new(),
            internal: false,
            ndots_set: false,
            answers: AnswerPolicy::All,
            timeout: SERVER_TIMEOUT,
        };
        let inner = Rc::new(Inner::new(Rc::clone(&names), OnHost, settings));
        let resolver = Self { names, inner, serving: JoinSet::new() };
        resolver.set(Some(wanted));
        resolver
    }

    /// For the container in whose namespace the sockets are.
    pub(crate) fn on_sockets(wanted: &casemate_wire::Resolver, sockets: ResolverSockets) -> Result<Self, Failure> {
        let mut resolver = Self::new(wanted);
        let registered = || io::Result::Ok((UdpSocket::from_std(sockets.udp)?, TcpListener::from_std(sockets.tcp)?));
        let (udp, tcp) = registered().map_err(|error| {
            Failure::new(ErrorClass::Internal, format!("cannot watch the resolver's sockets: {error}"))
        })?;
        let (by_udp, by_tcp) = (Rc::clone(&resolver.inner), Rc::clone(&resolver.inner));
        resolver.serving.spawn_local(async move { by_udp.serve_udp(&udp).await });
        resolver.serving.spawn_local(async move { by_tcp.serve_tcp(&tcp).await });
        Ok(resolver)
    }

    /// For the container in a VM whose agent passes queries on.
    pub(crate) fn on_stream(wanted: &casemate_wire::Resolver, stream: Stream) -> Self {
        let mut resolver = Self::new(wanted);
        let inner = Rc::clone(&resolver.inner);
        resolver.serving.spawn_local(async move {
            if let Err(error) = serve(&inner, stream).await {
                tracing::debug!(%error, "answer lost");
            }
        });
        resolver
    }

    /// Has it know and ask these from now on, or nobody: it goes on answering, since
    /// the container may still ask it.
    pub(crate) fn set(&self, wanted: Option<&casemate_wire::Resolver>) {
        let nobody = casemate_wire::Resolver::default();
        let wanted = wanted.unwrap_or(&nobody);
        self.names.set(wanted);
        let of_host = |server: &IpAddr| Upstream {
            address: SocketAddr::new(*server, DNS),
            namespace: casemate_dns::Namespace::Host,
        };
        self.inner.set_upstreams(wanted.upstreams.iter().map(of_host).collect());
        self.inner.set_answers(wanted.answers.as_ref().map_or(AnswerPolicy::All, only));
    }
}

fn only(egress: &Egress) -> AnswerPolicy {
    let Egress { public, ranges } = egress.clone();
    AnswerPolicy::Only(Rc::new(move |address| {
        public && is_public(address) || ranges.iter().any(|range| range.contains(&address))
    }))
}

/// The guest is hostile: what it asks at once is bounded, and it is not asked on
/// while it does not take its answers.
async fn serve(resolver: &Inner, stream: Stream) -> io::Result<()> {
    let (reader, mut writer) = split(stream);
    let mut queries = pin!(dns_messages(reader));
    let mut answers = FuturesUnordered::new();
    loop {
        tokio::select! {
            query = queries.next(), if answers.len() < 2 * UNANSWERED => match query {
                Some(query) => answers.push(answer(resolver, query)),
                None => return Ok(()),
            },
            Some(answer) = answers.next() => answer.write(&mut writer).await?,
        }
    }
}

async fn answer(resolver: &Inner, query: DnsMessage) -> DnsMessage {
    let DnsMessage { number, by_tcp, octets } = query;
    let transport = if by_tcp { Transport::Tcp } else { Transport::Udp };
    let answer = if octets.len() <= QUERY { resolver.answer(&octets, transport).await } else { None };
    DnsMessage { number, by_tcp, octets: answer.unwrap_or_default() }
}

/// Servers are asked from the host, which has a way to its own.
#[derive(Debug)]
struct OnHost;

impl Connector for OnHost {
    async fn udp(&self, server: Upstream) -> io::Result<UdpSocket> {
        let any = match server.address {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        let socket = UdpSocket::bind(any).await?;
        socket.connect(server.address).await?;
        Ok(socket)
    }

    async fn tcp(&self, server: Upstream) -> io::Result<TcpStream> {
        TcpStream::connect(server.address).await
    }
}
