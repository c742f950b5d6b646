//! Datagrams with the address of the host that they were sent to, so that answers
//! come from there: `IP_PKTINFO`, and RFC 3542 of IPv6.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};

use nix::cmsg_space;
use nix::sys::socket::sockopt::{Ipv4PacketInfo, Ipv6RecvPacketInfo};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt};
use rustix::io::Errno;

/// Who sends, and to what address of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Client {
    pub(super) address: SocketAddr,
    host: Local,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Local {
    V4(Ipv4Addr),
    /// The link counts for addresses that are a link's own, and is 0 for others.
    V6(Ipv6Addr, u32),
}

/// Before a socket is bound to this address.
pub(super) fn request(socket: &impl AsFd, host: SocketAddr) -> Result<(), Errno> {
    let requested = match host {
        SocketAddr::V4(_) => setsockopt(socket, Ipv4PacketInfo, &true),
        SocketAddr::V6(_) => setsockopt(socket, Ipv6RecvPacketInfo, &true),
    };
    requested.map_err(|error| Errno::from_raw_os_error(error as i32))
}

/// The length of the next datagram, and whose it is.
pub(super) fn receive(socket: &impl AsRawFd, buffer: &mut [u8]) -> io::Result<(usize, Client)> {
    let mut control = cmsg_space!(libc::in6_pktinfo);
    let mut buffers = [IoSliceMut::new(buffer)];
    let received = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut buffers, Some(&mut control), MsgFlags::empty())?;
    let host = received.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::Ipv4PacketInfo(info) => Some(Local::V4(info.ipi_spec_dst.s_addr.to_ne_bytes().into())),
        ControlMessageOwned::Ipv6PacketInfo(info) => {
            let address = Ipv6Addr::from(info.ipi6_addr.s6_addr);
            let link = if address.is_unicast_link_local() { info.ipi6_ifindex } else { 0 };
            Some(Local::V6(address, link))
        }
        _ => None,
    });
    match (received.address.as_ref().and_then(std_address), host) {
        (Some(address), Some(host)) => Ok((received.bytes, Client { address, host })),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// From the address that the client spoke to.
pub(super) fn answer(socket: &impl AsRawFd, message: &[u8], client: &Client) -> io::Result<()> {
    let to = SockaddrStorage::from(client.address);
    let send = |control| {
        sendmsg(socket.as_raw_fd(), &[IoSlice::new(message)], &[control], MsgFlags::empty(), Some(&to)).map(drop)
    };
    let sent = match client.host {
        Local::V4(address) => {
            let ipi_spec_dst = libc::in_addr { s_addr: u32::from_ne_bytes(address.octets()) };
            let unspecified = libc::in_addr { s_addr: 0 };
            let info = libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst, ipi_addr: unspecified };
            send(ControlMessage::Ipv4PacketInfo(&info))
        }
        Local::V6(address, link) => {
            let ipi6_addr = libc::in6_addr { s6_addr: address.octets() };
            send(ControlMessage::Ipv6PacketInfo(&libc::in6_pktinfo { ipi6_addr, ipi6_ifindex: link }))
        }
    };
    Ok(sent?)
}

fn std_address(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|address| SocketAddr::from(*address));
    v4.or_else(|| address.as_sockaddr_in6().map(|address| SocketAddr::from(*address)))
}
