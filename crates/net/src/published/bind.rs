//! The socket that holds a port.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::sockopt::{set_ipv6_v6only, set_socket_keepalive, set_socket_reuseaddr};
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, listen, socket_with};
use tokio::net::{TcpListener, UdpSocket};

use super::error::BindError;
use super::{HeldPort, Socket, packet_info};
use crate::{Protocol, Publication};

/// Connections that wait to be accepted; as many as tokio's own listeners have.
const BACKLOG: i32 = 1024;

pub(super) fn bind(publication: &Publication) -> Result<HeldPort, BindError> {
    let Publication { protocol, host, to } = *publication;
    let socket = open(protocol, host).map_err(|error| BindError::of(publication, error))?;
    let socket = match protocol {
        Protocol::Tcp => TcpListener::from_std(socket.into()).map(Socket::Tcp),
        Protocol::Udp => UdpSocket::from_std(socket.into()).map(Socket::Udp),
        Protocol::Sctp => Ok(Socket::Sctp(socket)),
    };
    let socket = socket.map_err(|source| BindError::Failed { host, protocol, source })?;
    Ok(HeldPort { socket, to })
}

fn open(protocol: Protocol, host: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if host.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let (kind, number) = match protocol {
        Protocol::Tcp => (SocketType::STREAM, ipproto::TCP),
        Protocol::Udp => (SocketType::DGRAM, ipproto::UDP),
        Protocol::Sctp => (SocketType::STREAM, ipproto::SCTP),
    };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, Some(number))?;
    if host.is_ipv6() {
        // IPv4's port of that number is another publication's, or nobody's.
        set_ipv6_v6only(&socket, true)?;
    }
    match protocol {
        Protocol::Tcp => {
            // Connections of an earlier run, which the kernel still remembers, are not in the way.
            set_socket_reuseaddr(&socket, true)?;
            // Of those accepted: clients that are gone without a word do not take up room for ever.
            set_socket_keepalive(&socket, true)?;
        }
        Protocol::Udp => packet_info::request(&socket, host)?,
        Protocol::Sctp => {}
    }
    rustix::net::bind(&socket, &host)?;
    if protocol == Protocol::Tcp {
        listen(&socket, BACKLOG)?;
    }
    Ok(socket)
}
