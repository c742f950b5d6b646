//! Asking a server upstream.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hickory_proto::op::{Message, OpCode, Query as Question, ResponseCode};
use hickory_proto::{ProtoError, serialize::binary::DecodeError};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout_at};

use crate::message::{Header, decode};
use crate::query::Query;

/// Where a name server is reached from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Namespace {
    /// The host's: a server of the host's own configuration, which a container
    /// would not reach, as at 127.0.0.53. Not asked for containers whose networks
    /// are all internal.
    Host,
    /// The container's: its networks decide whether it is reached.
    Container,
}

/// A name server that others' names are asked of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upstream {
    pub address: SocketAddr,
    pub namespace: Namespace,
}

/// Servers beyond these are not asked; Docker's and libc's number.
pub const MAX_UPSTREAMS: usize = 3;

/// How long one server has to answer, over UDP and TCP together; Docker's for
/// either. A client of libc has given up after 5 s.
pub const SERVER_TIMEOUT: Duration = Duration::from_secs(4);

/// Makes the sockets that servers are asked with.
///
/// Each is for one question, closed after it, and lives in the namespace that
/// the server names. An error, as where there is no route, means that the next
/// server is asked. The future is dropped when the server's time is up.
pub trait Connector {
    /// A datagram socket of a random port, connected to the server: it is the
    /// kernel that tells the server's answers from those of others.
    fn udp(&self, server: Upstream) -> impl Future<Output = io::Result<UdpSocket>>;

    /// A connection to the server.
    fn tcp(&self, server: Upstream) -> impl Future<Output = io::Result<TcpStream>>;
}

/// Why a server's answer is none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    #[error("cannot encode the question")]
    Encode(#[from] ProtoError),
    #[error("cannot reach the server")]
    Io(#[from] io::Error),
    #[error("cannot read the answer")]
    Decode(#[from] DecodeError),
    #[error("the answer is to something else")]
    Stray,
    #[error("no answer in time")]
    Timeout,
}

/// Datagrams that answer something else before UDP is given up with a server:
/// somebody guesses.
const STRAYS: usize = 16;

/// A question on its way.
#[derive(Debug)]
pub(crate) struct Asked {
    id: u16,
    question: Question,
    pub(crate) octets: Vec<u8>,
}

impl Asked {
    pub(crate) fn new(query: &Query) -> Result<Self, ProtoError> {
        let message = query.asked();
        Ok(Self { id: message.id, question: query.question.clone(), octets: message.to_vec()? })
    }

    /// The answer to this question, if it is one.
    pub(crate) fn accept(&self, octets: &[u8]) -> Result<Message, AskError> {
        let header = Header::of(octets).filter(|header| header.id() == self.id && header.is_response());
        // Before the rest is read: it makes room for as many as are announced.
        if header.is_none_or(|header| header.questions() > 1) {
            return Err(AskError::Stray);
        }
        let answer = decode(octets)?;
        let is_ours = match answer.queries.first() {
            Some(question) => *question == self.question,
            // A server that did not read the question cannot repeat it.
            None => answer.response_code != ResponseCode::NoError && answer.all_sections().next().is_none(),
        };
        if is_ours && answer.op_code == OpCode::Query { Ok(answer) } else { Err(AskError::Stray) }
    }
}

/// Asks by UDP, and again by TCP if that answer was truncated. If TCP fails, the
/// truncated answer is what there is.
///
/// `buffer` is where datagrams of any size are received; nobody keeps it over a
/// wait, so all questions of a thread can share one.
pub(crate) async fn ask(
    connector: &impl Connector,
    server: Upstream,
    query: &Query,
    timeout: Duration,
    buffer: &RefCell<Box<[u8]>>,
) -> Result<Message, AskError> {
    let deadline = Instant::now() + timeout;
    let by_udp =
        timeout_at(deadline, ask_udp(connector, server, query, buffer)).await.map_err(|_| AskError::Timeout)?;
    let truncated = match by_udp {
        Ok(answer) if answer.truncation => Some(answer),
        // Where nobody else can answer.
        Err(AskError::Stray) => None,
        answered => return answered,
    };
    let by_tcp = timeout_at(deadline, ask_tcp(connector, server, query)).await.unwrap_or(Err(AskError::Timeout));
    match (by_tcp, truncated) {
        (Err(error), Some(truncated)) => {
            tracing::debug!(%error, server = %server.address, "only a truncated answer");
            Ok(truncated)
        }
        (answered, _) => answered,
    }
}

async fn ask_udp(
    connector: &impl Connector,
    server: Upstream,
    query: &Query,
    buffer: &RefCell<Box<[u8]>>,
) -> Result<Message, AskError> {
    let asked = Asked::new(query)?;
    let socket = connector.udp(server).await?;
    socket.send(&asked.octets).await?;
    let mut strays = 0;
    while strays < STRAYS {
        wait(&socket).await?;
        let mut buffer = buffer.borrow_mut();
        match socket.try_recv(&mut buffer) {
            Ok(length) => match asked.accept(&buffer[..length]) {
                Err(AskError::Stray) => strays += 1,
                answered => return answered,
            },
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(AskError::Stray)
}

/// Until there is something to receive, or the kernel knows that there will not
/// be: nobody has that port, or there is no way there.
async fn wait(socket: &UdpSocket) -> io::Result<()> {
    let ready = socket.ready(Interest::READABLE | Interest::ERROR).await?;
    if ready.is_error() {
        if let Some(error) = socket.take_error()? {
            return Err(error);
        }
        // Taken before; the runtime is told, or it would say so forever.
        let cleared: io::Result<()> = socket.try_io(Interest::ERROR, || Err(io::ErrorKind::WouldBlock.into()));
        drop(cleared);
    }
    Ok(())
}

async fn ask_tcp(connector: &impl Connector, server: Upstream, query: &Query) -> Result<Message, AskError> {
    let asked = Asked::new(query)?;
    let mut stream = connector.tcp(server).await?;
    stream.write_all(&framed(&asked.octets)).await?;
    let length = stream.read_u16().await?;
    // Grows as it comes: what is announced costs nothing.
    let mut octets = Vec::new();
    stream.take(length.into()).read_to_end(&mut octets).await?;
    asked.accept(&octets)
}

/// A message as it is on a connection: after its length (RFC 1035, section
/// 4.2.2). In one piece, which some servers insist on.
pub(crate) fn framed(octets: &[u8]) -> Vec<u8> {
    // No encoder makes more than fits.
    let length = u16::try_from(octets.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes()[..], &octets[..length.into()]].concat()
}
