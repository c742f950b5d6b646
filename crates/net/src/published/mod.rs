//! Published ports on the host: a socket for each, so that nobody else takes it, and
//! so that somebody serves what no rule of the firewall leads to the container: the
//! host's loopback addresses, and IPv6 where the container has IPv4 only.
//!
//! ```text
//! client ─▶ rules of the firewall ─▶ container
//!    └────▶ socket here ─(a socket of the host's own, with LOOPBACK_MARK)─▶ container
//! ```
//!
//! TCP and UDP are passed on, with the host as the client that the container sees.
//! SCTP is only held. What is under way at a time is bounded for each port.
//! Single-threaded; all that is served ends at once when its future is dropped.

mod bind;
mod error;
mod holder;
mod packet_info;
mod tcp;
mod udp;

use std::future::pending;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::net::{TcpListener, UdpSocket};

pub use self::error::BindError;
pub use self::holder::Holder;
use crate::Publication;

/// After a socket failed, which a lack of descriptors or memory makes it do.
const PAUSE: Duration = Duration::from_millis(100);

/// Ports of the host that nobody else can take as long as this lives.
#[derive(Debug)]
pub struct Held(Vec<HeldPort>);

#[derive(Debug)]
struct HeldPort {
    socket: Socket,
    to: SocketAddr,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Udp(UdpSocket),
    Sctp(OwnedFd),
}

impl Held {
    /// Takes all of them, or none. Clients wait from then on until they are served.
    /// In the network namespace of the thread that calls it, which needs a tokio
    /// runtime; whoever is in the way is looked for in `/proc`, which blocks.
    pub fn bind(publications: &[Publication]) -> Result<Self, BindError> {
        publications.iter().map(bind::bind).collect::<Result<_, _>>().map(Self)
    }

    /// Serves them until it is dropped.
    pub async fn serve(self) {
        let served: FuturesUnordered<_> = self.0.into_iter().map(HeldPort::serve).collect();
        served.collect::<()>().await;
        pending().await
    }
}

impl HeldPort {
    async fn serve(self) {
        match self.socket {
            Socket::Tcp(listener) => tcp::serve(listener, self.to, tcp::CONNECTIONS).await,
            Socket::Udp(socket) => udp::serve(socket, self.to, udp::FLOWS).await,
            Socket::Sctp(_held) => pending().await,
        }
    }
}

#[cfg(test)]
mod tests;
