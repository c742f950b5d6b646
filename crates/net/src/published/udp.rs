//! Datagrams, passed on to the container, and its answers back. Each client has a
//! socket towards the container, so that answers are known by where they come.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::{AbortHandle, Abortable};
use futures::stream::FuturesUnordered;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::Mark;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, recv, send, socket_with};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep, sleep_until};

use super::PAUSE;
use super::packet_info::{self, Client};
use crate::LOOPBACK_MARK;

/// Clients of one port at a time: for one more, the one goes that has been silent for
/// longest. Each takes a descriptor of this process.
pub(super) const FLOWS: usize = 1024;

/// How long a client and the container may be silent before they are forgotten;
/// Docker's.
pub(super) const IDLE: Duration = Duration::from_secs(90);

/// No datagram is longer.
const LONGEST: usize = 64 << 10;

pub(super) async fn serve(socket: UdpSocket, to: SocketAddr, most: usize) {
    let port = Port { socket, to, buffer: RefCell::new(vec![0; LONGEST]) };
    let mut flows: HashMap<Client, (Rc<Flow>, AbortHandle)> = HashMap::new();
    let mut answers = FuturesUnordered::new();
    loop {
        tokio::select! {
            received = port.receive() => {
                let Some((length, client)) = received else {
                    continue;
                };
                if let Some((flow, _)) = flows.get(&client) {
                    flow.pass_on(&port.buffer.borrow()[..length]);
                    continue;
                }
                let Some(flow) = port.open(client) else {
                    continue;
                };
                if flows.len() >= most {
                    forget_oldest(&mut flows);
                }
                flow.pass_on(&port.buffer.borrow()[..length]);
                let flow = Rc::new(flow);
                let (end, registration) = AbortHandle::new_pair();
                answers.push(Abortable::new(port.pass_back(Rc::clone(&flow)), registration));
                flows.insert(client, (flow, end));
            }
            Some(ended) = answers.next() => {
                // Aborted, it is no longer among them.
                if let Ok(client) = ended {
                    flows.remove(&client);
                }
            }
        }
    }
}

fn forget_oldest(flows: &mut HashMap<Client, (Rc<Flow>, AbortHandle)>) {
    let oldest = flows.iter().min_by_key(|(_, (flow, _))| flow.used.get()).map(|(client, _)| *client);
    if let Some((_, end)) = oldest.and_then(|client| flows.remove(&client)) {
        end.abort();
    }
}

#[derive(Debug)]
struct Port {
    socket: UdpSocket,
    to: SocketAddr,
    /// Of the one datagram that is passed on now.
    buffer: RefCell<Vec<u8>>,
}

/// What a client and the container say to each other.
#[derive(Debug)]
struct Flow {
    client: Client,
    container: UdpSocket,
    used: Cell<Instant>,
}

impl Port {
    /// A datagram is in the buffer then. `None` after a failure, which has nothing to
    /// do with any one.
    async fn receive(&self) -> Option<(usize, Client)> {
        let receive = || packet_info::receive(&self.socket, &mut self.buffer.borrow_mut());
        match self.socket.async_io(Interest::READABLE, receive).await {
            Ok(received) => Some(received),
            Err(error) => {
                tracing::debug!(to = %self.to, %error, "datagram not received");
                sleep(PAUSE).await;
                None
            }
        }
    }

    fn open(&self, client: Client) -> Option<Flow> {
        match towards(self.to) {
            Ok(container) => Some(Flow { client, container, used: Cell::new(Instant::now()) }),
            Err(error) => {
                tracing::debug!(to = %self.to, %error, "datagram lost");
                None
            }
        }
    }

    /// Returns when there has been nothing for a while, or will be nothing any more.
    async fn pass_back(&self, flow: Rc<Flow>) -> Client {
        let mut idle = std::pin::pin!(sleep_until(flow.used.get() + IDLE));
        let receive = || Ok(recv(&flow.container, &mut **self.buffer.borrow_mut(), RecvFlags::empty())?.0);
        loop {
            tokio::select! {
                received = flow.container.async_io(Interest::READABLE, receive) => match received {
                    Ok(length) => {
                        flow.used.set(Instant::now());
                        let answer = &self.buffer.borrow()[..length];
                        if let Err(error) = packet_info::answer(&self.socket, answer, &flow.client) {
                            tracing::debug!(to = %self.to, %error, "answer lost");
                        }
                    }
                    // Nobody listens in the container, as yet.
                    Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                    Err(error) => {
                        tracing::debug!(to = %self.to, %error, "answers not received");
                        return flow.client;
                    }
                },
                () = &mut idle => {
                    let end = flow.used.get() + IDLE;
                    if end <= Instant::now() {
                        return flow.client;
                    }
                    idle.as_mut().reset(end);
                }
            }
        }
    }
}

impl Flow {
    /// Lost, as on any network, if there is no room for it.
    fn pass_on(&self, datagram: &[u8]) {
        self.used.set(Instant::now());
        // Not by tokio's, which does not know yet that a new socket can be written to.
        let send = || send(&self.container, datagram, SendFlags::empty());
        // It is about the one before.
        let sent = send().or_else(|error| if error == Errno::CONNREFUSED { send() } else { Err(error) });
        if let Err(error) = sent {
            tracing::debug!(%error, "datagram lost");
        }
    }
}

fn towards(to: SocketAddr) -> io::Result<UdpSocket> {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    setsockopt(&socket, Mark, &LOOPBACK_MARK)?;
    connect(&socket, &to)?;
    UdpSocket::from_std(socket.into())
}
