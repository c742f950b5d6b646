//! The sockets of an embedded resolver, at its address in a container's network
//! namespace.
//!
//! They have ports of their own, and nftables leads there what is sent to port 53:
//! so that port stays the container's, who may be a name server itself. Docker has
//! it so as well (moby, `libnetwork/resolver_unix.go`).

mod redirect;

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket};
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::net::sockopt::set_ip_freebind;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with};

use crate::inside::{ConfigureError, within};

/// Where a container's `/etc/resolv.conf` says that its resolver is; Docker's.
pub const RESOLVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

/// Connections that wait to be accepted; the standard library's number.
const BACKLOG: i32 = 128;

/// Not blocking, and bound.
#[derive(Debug)]
pub struct ResolverSockets {
    pub udp: UdpSocket,
    pub tcp: TcpListener,
}

impl ResolverSockets {
    /// In another network namespace. Blocks until it is done.
    pub fn open_in(namespace: BorrowedFd<'_>) -> Result<Self, ConfigureError> {
        within(namespace, Self::open)
    }

    /// In this thread's namespace, whose loopback may be brought up later. What this
    /// adds to nftables stays as long as the namespace.
    pub fn open() -> Result<Self, ConfigureError> {
        Self::bind().map_err(ConfigureError::Resolver)
    }

    fn bind() -> io::Result<Self> {
        let udp = UdpSocket::from(bound(SocketType::DGRAM)?);
        let tcp = bound(SocketType::STREAM)?;
        listen(&tcp, BACKLOG)?;
        let tcp = TcpListener::from(tcp);
        redirect::redirect(RESOLVER, (udp.local_addr()?.port(), tcp.local_addr()?.port()))?;
        Ok(Self { udp, tcp })
    }
}

/// To a port that the kernel chooses.
fn bound(kind: SocketType) -> io::Result<OwnedFd> {
    let socket = socket_with(AddressFamily::INET, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    // The address need not be there yet.
    set_ip_freebind(&socket, true)?;
    bind(&socket, &SocketAddrV4::new(RESOLVER, 0))?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::time::Duration;

    use super::*;
    use crate::new_namespace;
    use crate::testbed::Node;

    #[test]
    fn what_is_sent_to_port_53_comes_and_is_answered_and_the_port_stays_free() {
        let Some(node) = Node::new() else { return };
        let sockets = ResolverSockets::open_in(node.namespace()).unwrap();
        node.run(|_| {
            // The container's own name server.
            let own = UdpSocket::bind("0.0.0.0:53").unwrap();
            let listener = TcpListener::bind("0.0.0.0:53").unwrap();

            let client = UdpSocket::bind("0.0.0.0:0").unwrap();
            client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            client.connect((RESOLVER, 53)).unwrap();
            client.send(b"who?").unwrap();
            let mut buffer = [0; 16];
            sockets.udp.set_nonblocking(false).unwrap();
            let (length, from) = sockets.udp.recv_from(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], b"who?");
            sockets.udp.send_to(b"me", from).unwrap();
            // A connected socket takes nothing from another address or port.
            let length = client.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], b"me");

            let mut stream = TcpStream::connect((RESOLVER, 53)).unwrap();
            sockets.tcp.set_nonblocking(false).unwrap();
            let (mut accepted, _) = sockets.tcp.accept().unwrap();
            accepted.write_all(b"me").unwrap();
            drop(accepted);
            let mut heard = String::new();
            stream.read_to_string(&mut heard).unwrap();
            assert_eq!(heard, "me");

            // What is sent elsewhere goes there.
            client.connect(("127.0.0.1", 53)).unwrap();
            client.send(b"you?").unwrap();
            let length = own.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], b"you?");
            TcpStream::connect(("127.0.0.1", 53)).unwrap();
            listener.accept().unwrap();
        });
    }

    #[test]
    fn a_new_namespace_will_do() {
        if Node::new().is_some() {
            let namespace = new_namespace().unwrap();
            ResolverSockets::open_in(std::os::fd::AsFd::as_fd(&namespace)).unwrap();
        }
    }
}
