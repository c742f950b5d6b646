//! Notices when another program changes the tables, as `nft flush ruleset` does.

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::sockopt::set_socket_recv_buffer_size_force;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};
use tokio::io::unix::AsyncFd;

use super::nft::{Nft, Transactions};

/// Group of what happens to tables: `NFNLGRP_NFTABLES`.
const GROUP: u32 = 1 << (7 - 1);

/// Of a netlink message's type the upper half: `NFNL_SUBSYS_NFTABLES`.
const SUBSYSTEM: u8 = 10;

/// Ends the messages of a transaction: `NFT_MSG_NEWGEN`.
const GENERATION: u8 = 15;

/// Of all other messages the attribute with the table's name.
const TABLE: u16 = 1;

/// Room for what the kernel has to say of one transaction of ours with thousands of
/// containers. What has none is taken for another's, and would be made anew, which
/// has as much said again. Takes memory as it fills.
const ROOM: usize = 64 << 20;

/// Transactions that concern the tables, against those that were ours.
#[derive(Debug)]
pub struct Watch {
    socket: AsyncFd<OwnedFd>,
    transactions: Transactions,
    seen: u64,
    /// Whether the transaction whose messages come in now concerns them.
    concerned: bool,
}

impl Watch {
    /// Of the network namespace this is opened in. Needs a tokio runtime.
    pub fn open(nft: &Nft) -> io::Result<Self> {
        Self::with_room(nft, ROOM)
    }

    /// In bytes.
    pub(super) fn with_room(nft: &Nft, room: usize) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(netlink::NETFILTER))?;
        set_socket_recv_buffer_size_force(&socket, room)?;
        bind(&socket, &SocketAddrNetlink::new(0, GROUP))?;
        let transactions = nft.transactions();
        let seen = transactions.ours();
        Ok(Self { socket: registered(socket)?, transactions, seen, concerned: false })
    }

    /// Returns when another program has changed them, or may have. Nothing is lost
    /// if this is dropped and called again.
    pub async fn changed(&mut self) -> io::Result<()> {
        // As large as the kernel ever makes one.
        let mut buffer = vec![0; 64 << 10];
        loop {
            let mut ready = self.socket.readable().await?;
            match recv(self.socket.get_ref(), &mut *buffer, RecvFlags::empty()) {
                Ok((length, _)) => self.take_in(&buffer[..length]),
                Err(Errno::AGAIN) => {
                    ready.clear_ready();
                    continue;
                }
                // More has happened than was kept for us.
                Err(Errno::NOBUFS) => self.seen = u64::MAX,
                Err(error) => return Err(error.into()),
            }
            let ours = self.transactions.ours();
            if self.seen > ours {
                self.seen = ours;
                return Ok(());
            }
        }
    }

    fn take_in(&mut self, datagram: &[u8]) {
        for (kind, body) in messages(datagram) {
            match kind {
                GENERATION if std::mem::take(&mut self.concerned) => self.seen += 1,
                GENERATION => {}
                _ => self.concerned |= attribute(body, TABLE) == Some(b"casemate\0"),
            }
        }
    }
}

#[expect(unsafe_code, reason = "the descriptor has to stay open")]
fn registered(socket: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is one descriptor as long as it lives, and nothing takes it out of the `AsyncFd`.
    unsafe { AsyncFd::register(socket) }.map_err(|error| error.into_parts().1)
}

/// Kind and body of each message of nftables.
fn messages(mut datagram: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    const HEADER: usize = 16;
    const FAMILY: usize = 4;
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(*datagram.first_chunk()?) as usize;
        let message = datagram.get(..length).filter(|message| message.len() >= HEADER)?;
        let [kind, subsystem] = u16::from_ne_bytes([message[4], message[5]]).to_le_bytes();
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
        let body = message.get(HEADER + FAMILY..).unwrap_or_default();
        Some((subsystem, kind, body))
    })
    .filter_map(|(subsystem, kind, body)| (subsystem == SUBSYSTEM).then_some((kind, body)))
}

fn attribute(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    const HEADER: usize = 4;
    loop {
        let [a, b, c, d] = *attributes.first_chunk::<HEADER>()?;
        let length = usize::from(u16::from_ne_bytes([a, b]));
        let value = attributes.get(HEADER..length)?;
        if u16::from_ne_bytes([c, d]) == wanted {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}
