//! Who hears whom: every node answers on the addresses it has, and all that they
//! hear is written down, answered or not.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use futures::future::join_all;
use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SocketType, ipproto, socket};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::sys::set_option;
use crate::testbed::Node;

/// Where nodes listen, with TCP and UDP.
pub(super) const PORT: u16 = 80;

/// What the policy lets through takes far less, even on a machine that has much to do.
const ANSWERED: Duration = Duration::from_secs(30);

/// What has not come by then was not let through: a frame takes microseconds.
const SILENT: Duration = Duration::from_millis(150);

/// Longer than those wait that should not be heard: these are said once.
const AGAIN: Duration = Duration::from_millis(200);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Tcp(SocketAddr),
    Udp(SocketAddr),
    Ping(SocketAddr),
}

/// A call that came through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Heard {
    /// The node. Not known of a ping.
    pub(super) by: String,
    /// Whom it saw calling.
    pub(super) source: Option<IpAddr>,
}

/// By all means of this address.
pub(super) fn calls(address: &str) -> Vec<Call> {
    let [tcp, udp] = published(address, PORT);
    vec![tcp, udp, Call::Ping(SocketAddr::new(address.parse().unwrap(), 0))]
}

/// By the address of that link which a node shares with another.
pub(super) fn at_link_local(from: &Node, address: Ipv6Addr) -> Vec<Call> {
    let index = index(from, "eth0");
    let to = |port| SocketAddr::V6(SocketAddrV6::new(address, port, 0, index));
    vec![Call::Tcp(to(PORT)), Call::Udp(to(PORT)), Call::Ping(to(0))]
}

/// Index of a link.
pub(super) fn index(node: &Node, link: &str) -> u32 {
    node.run(|_| name_to_index(UdpSocket::bind("0.0.0.0:0").unwrap(), link).unwrap())
}

/// To another port.
pub(super) fn published(address: &str, port: u16) -> [Call; 2] {
    let to = SocketAddr::new(address.parse().unwrap(), port);
    [Call::Tcp(to), Call::Udp(to)]
}

/// A call, by what it said.
struct Made {
    token: u64,
    /// Or why there was none.
    answer: Result<(), String>,
}

type Log = Arc<Mutex<HashMap<u64, Heard>>>;

#[derive(Debug)]
pub(super) struct Exchange {
    /// Of the calls that are made, unless it is 0.
    pub(super) mark: AtomicU32,
    log: Log,
    handle: Handle,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Exchange {
    pub(super) fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel();
        let thread = std::thread::spawn(move || drop(runtime.block_on(ended)));
        Self { mark: AtomicU32::new(0), log: Log::default(), handle, end: Some(end), thread: Some(thread) }
    }

    /// A node that listens on these addresses, which it has.
    pub(super) fn serve(&self, node: &Node, name: &str, addresses: &[IpAddr]) {
        for address in addresses {
            self.serve_at(node, name, SocketAddr::new(*address, PORT));
        }
    }

    pub(super) fn serve_at(&self, node: &Node, name: &str, address: SocketAddr) {
        let (tcp, udp) = node.run(|_| (TcpListener::bind(address).unwrap(), UdpSocket::bind(address).unwrap()));
        tcp.set_nonblocking(true).unwrap();
        udp.set_nonblocking(true).unwrap();
        let _entered = self.handle.enter();
        let tcp = net::TcpListener::from_std(tcp).unwrap();
        let udp = net::UdpSocket::from_std(udp).unwrap();
        self.handle.spawn(answer_streams(tcp, name.to_owned(), self.log.clone()));
        self.handle.spawn(answer_datagrams(udp, name.to_owned(), self.log.clone()));
    }

    /// What becomes of calls that are all made at once and should be answered, in
    /// their order.
    pub(super) fn answers(&self, from: &Node, calls: &[Call]) -> Vec<Result<Heard, String>> {
        self.call(from, calls.iter().map(|call| (*call, ANSWERED))).into_iter().map(|made| self.heard(made)).collect()
    }

    /// Those that were heard nevertheless. They may have had no answer.
    pub(super) fn leaks(&self, from: &Node, calls: &[Call]) -> Vec<Call> {
        let made = self.call(from, calls.iter().map(|call| (*call, SILENT))).into_iter().zip(calls);
        let leaked = made.filter(|(made, _)| made.answer.is_ok() || self.was_heard(made.token));
        leaked.map(|(_, call)| *call).collect()
    }

    /// Who hears each, or why it has no answer. Those that should be heard are waited
    /// for.
    pub(super) fn arrivals(&self, from: &Node, calls: &[(Call, bool)]) -> Vec<Result<String, String>> {
        let calls = calls.iter().map(|(call, should)| (*call, if *should { ANSWERED } else { SILENT }));
        let by = |made: Made| match self.log.lock().unwrap().get(&made.token) {
            Some(heard) => Ok(heard.by.clone()),
            None => Err(made.answer.err().unwrap_or_default()),
        };
        self.call(from, calls).into_iter().map(by).collect()
    }

    /// Whether any node has heard this said, which was not said by a call.
    pub(super) fn was_heard(&self, token: u64) -> bool {
        self.log.lock().unwrap().contains_key(&token)
    }

    fn heard(&self, made: Made) -> Result<Heard, String> {
        let heard = self.log.lock().unwrap().get(&made.token).cloned();
        made.answer.map(|()| heard.unwrap_or(Heard { by: String::new(), source: None }))
    }

    fn call(&self, from: &Node, calls: impl Iterator<Item = (Call, Duration)> + Send) -> Vec<Made> {
        let mark = self.mark.load(Ordering::Relaxed);
        let call = |(call, patience)| async move {
            let token = token();
            let answer = match timeout(patience, make(call, mark, token)).await {
                Ok(answer) => answer.map_err(|error| error.to_string()),
                Err(elapsed) => Err(elapsed.to_string()),
            };
            Made { token, answer }
        };
        from.run(|runtime| runtime.block_on(async { join_all(calls.map(call)).await }))
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.end.take();
        self.thread.take().map(JoinHandle::join);
    }
}

/// What a call says.
pub(super) fn token() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

async fn make(call: Call, mark: u32, token: u64) -> io::Result<()> {
    let token = token.to_be_bytes();
    let marked = |socket: BorrowedFd<'_>| match mark {
        0 => Ok(()),
        _ => set_option(socket, libc::SOL_SOCKET, libc::SO_MARK, mark),
    };
    match call {
        Call::Tcp(to) => {
            let socket = if to.is_ipv4() { net::TcpSocket::new_v4()? } else { net::TcpSocket::new_v6()? };
            marked(socket.as_fd())?;
            let mut stream = socket.connect(to).await?;
            stream.write_all(&token).await?;
            stream.read_exact(&mut [0; 8]).await?;
        }
        Call::Udp(to) => {
            let socket = net::UdpSocket::bind(SocketAddr::new(unspecified(to), 0)).await?;
            marked(socket.as_fd())?;
            exchange(&socket, to, &token).await?;
        }
        Call::Ping(to) => {
            let (family, protocol, request) = match to {
                SocketAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP, 8),
                SocketAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6, 128),
            };
            let socket: OwnedFd = socket(family, SocketType::DGRAM, Some(protocol))?;
            let socket = UdpSocket::from(socket);
            socket.set_nonblocking(true)?;
            let header = [request, 0, 0, 0, 0, 0, 0, 1];
            exchange(&net::UdpSocket::from_std(socket)?, to, &[header, token].concat()).await?;
        }
    }
    Ok(())
}

/// As each protocol over datagrams does, until there is an answer.
async fn exchange(socket: &net::UdpSocket, to: SocketAddr, message: &[u8]) -> io::Result<()> {
    socket.connect(to).await?;
    loop {
        socket.send(message).await?;
        if let Ok(received) = timeout(AGAIN, socket.recv(&mut [0; 64])).await {
            return received.map(drop);
        }
    }
}

fn unspecified(of: SocketAddr) -> IpAddr {
    match of {
        SocketAddr::V4(_) => IpAddr::from([0; 4]),
        SocketAddr::V6(_) => IpAddr::from([0; 16]),
    }
}

async fn answer_streams(listener: net::TcpListener, by: String, log: Log) {
    while let Ok((mut stream, peer)) = listener.accept().await {
        let (by, log) = (by.clone(), log.clone());
        tokio::spawn(async move {
            let mut token = [0; 8];
            if stream.read_exact(&mut token).await.is_ok() {
                note(&log, token, by, peer);
                stream.write_all(&token).await.ok();
            }
        });
    }
}

async fn answer_datagrams(socket: net::UdpSocket, by: String, log: Log) {
    let mut token = [0; 8];
    loop {
        // Errors are those of answers before.
        if let Ok((8, peer)) = socket.recv_from(&mut token).await {
            note(&log, token, by.clone(), peer);
            socket.send_to(&token, peer).await.ok();
        }
    }
}

fn note(log: &Log, token: [u8; 8], by: String, peer: SocketAddr) {
    log.lock().unwrap().insert(u64::from_be_bytes(token), Heard { by, source: Some(peer.ip()) });
}
