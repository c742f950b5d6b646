//! What is asked at the embedded resolver's address goes to the keeper, who answers:
//! nothing here reads it.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use casemate_net::ResolverSockets;
use casemate_wire::{DnsMessage, dns_messages};
use futures::StreamExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, DuplexStream, split};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Queries whose answers are waited for; the oldest is forgotten for one more.
const WAITING: usize = 2048;

/// Connections at a time; more wait to be accepted.
const CONNECTIONS: usize = 64;

/// One that neither asks nor takes its answer for this long is closed.
const IDLE: Duration = Duration::from_secs(10);

/// After a socket failed.
const PAUSE: Duration = Duration::from_millis(100);

/// Octets of a query; a longer one is none.
const QUERY: usize = 4096;

/// Who waits for an answer.
enum Client {
    Udp(SocketAddr),
    Tcp(oneshot::Sender<Vec<u8>>),
}

/// Passes on until the keeper has enough.
pub(crate) fn pass_on(sockets: ResolverSockets, keeper: DuplexStream) -> io::Result<impl Future<Output = ()>> {
    let (udp, tcp) = (UdpSocket::from_std(sockets.udp)?, TcpListener::from_std(sockets.tcp)?);
    Ok(async move {
        let (answers, mut queries) = split(keeper);
        let (asked, mut to_ask) = mpsc::channel::<DnsMessage>(1);
        let relay = Rc::new(Relay { waiting: RefCell::default(), asked });
        tokio::select! {
            () = relay.take_datagrams(&udp) => {}
            () = Rc::clone(&relay).take_connections(&tcp) => {}
            () = async {
                while let Some(query) = to_ask.recv().await {
                    if query.write(&mut queries).await.is_err() {
                        break;
                    }
                }
            } => {}
            () = relay.give(answers, &udp) => {}
        }
    })
}

struct Relay {
    waiting: RefCell<Waiting>,
    asked: mpsc::Sender<DnsMessage>,
}

#[derive(Default)]
struct Waiting {
    last: u32,
    clients: HashMap<u32, Client>,
    /// In the order in which they asked.
    oldest: VecDeque<u32>,
}

impl Waiting {
    fn add(&mut self, client: Client) -> u32 {
        while self.oldest.len() >= WAITING {
            if let Some(oldest) = self.oldest.pop_front() {
                self.clients.remove(&oldest);
            }
        }
        self.last = self.last.wrapping_add(1);
        self.clients.insert(self.last, client);
        self.oldest.push_back(self.last);
        self.last
    }
}

impl Relay {
    async fn ask(&self, client: Client, octets: Vec<u8>) {
        let by_tcp = matches!(client, Client::Tcp(_));
        let number = self.waiting.borrow_mut().add(client);
        // Nobody takes it at the end of all this only.
        let _ = self.asked.send(DnsMessage { number, by_tcp, octets }).await;
    }

    async fn take_datagrams(&self, udp: &UdpSocket) {
        let mut buffer = vec![0; QUERY];
        loop {
            match udp.recv_from(&mut buffer).await {
                Ok((length, from)) => self.ask(Client::Udp(from), buffer[..length].to_vec()).await,
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    async fn take_connections(self: Rc<Self>, tcp: &TcpListener) {
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            if connections.len() >= CONNECTIONS {
                connections.join_next().await;
            }
            match tcp.accept().await {
                Ok((stream, _)) => {
                    let relay = Rc::clone(&self);
                    connections.spawn_local(async move { relay.serve(stream).await.ok() });
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    async fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        loop {
            let length = usize::from(timeout(IDLE, stream.read_u16()).await??);
            if length > QUERY {
                return Ok(());
            }
            let mut octets = vec![0; length];
            timeout(IDLE, stream.read_exact(&mut octets)).await??;
            let (sender, answered) = oneshot::channel();
            self.ask(Client::Tcp(sender), octets).await;
            match answered.await {
                Ok(answer) if !answer.is_empty() => {
                    let length = (answer.len() as u16).to_be_bytes();
                    timeout(IDLE, stream.write_all(&[&length[..], &answer].concat())).await??;
                }
                _ => return Ok(()),
            }
        }
    }

    /// Returns when there are no more answers.
    async fn give(&self, answers: impl AsyncRead + Unpin, udp: &UdpSocket) {
        let mut answers = pin!(dns_messages(answers));
        while let Some(DnsMessage { number, by_tcp: _, octets }) = answers.next().await {
            let client = self.waiting.borrow_mut().clients.remove(&number);
            match client {
                // One that there is no room for is lost, as on any network.
                Some(Client::Udp(to)) if !octets.is_empty() => drop(udp.try_send_to(&octets, to)),
                Some(Client::Tcp(answered)) => drop(answered.send(octets)),
                _ => {}
            }
        }
    }
}
