//! The clients' side: who answers a node, and what.

use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketType, ipproto, socket};

use super::node::Node;

/// After which a datagram that has no answer is sent again.
const AGAIN: Duration = Duration::from_millis(200);

impl Node {
    /// All that is said at this address to one that connects and says nothing.
    pub fn ask_tcp(&self, to: SocketAddr, within: Duration) -> io::Result<String> {
        self.run(|| {
            let mut stream = TcpStream::connect_timeout(&to, within)?;
            stream.set_read_timeout(Some(within))?;
            let mut said = String::new();
            stream.read_to_string(&mut said)?;
            Ok(said)
        })
    }

    /// The datagram that comes back for one sent there.
    pub fn ask_udp(&self, to: SocketAddr, within: Duration) -> io::Result<String> {
        self.run(|| {
            let socket = UdpSocket::bind(SocketAddr::new(unspecified(to.ip()), 0))?;
            exchange(&socket, to, b"?", within).map(|answer| String::from_utf8_lossy(&answer).into_owned())
        })
    }

    /// Whether there is an echo.
    pub fn ping(&self, to: IpAddr, within: Duration) -> io::Result<()> {
        self.run(|| {
            let (family, protocol, request) = match to {
                IpAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP, 8),
                IpAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6, 128),
            };
            let socket = UdpSocket::from(socket(family, SocketType::DGRAM, Some(protocol))?);
            // The kernel fills in checksum and identifier, and gives back what is for this one.
            let header = [request, 0, 0, 0, 0, 0, 0, 1];
            exchange(&socket, SocketAddr::new(to, 0), &header, within).map(drop)
        })
    }
}

/// As each protocol over datagrams does, until there is an answer.
fn exchange(socket: &UdpSocket, to: SocketAddr, message: &[u8], within: Duration) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + within;
    socket.connect(to)?;
    socket.set_read_timeout(Some(AGAIN.min(within)))?;
    let mut answer = vec![0; 2048];
    loop {
        socket.send(message)?;
        match socket.recv(&mut answer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < deadline => {}
            received => {
                answer.truncate(received?);
                return Ok(answer);
            }
        }
    }
}

fn unspecified(of: IpAddr) -> IpAddr {
    match of {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}
