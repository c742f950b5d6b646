//! Frames as an attacker makes them, and links as packet sockets see them.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::set_socket_timeout;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, recv, send, socket, sockopt};

use super::calls::{PORT, index};
use super::sys::{bind_to_link, set_option};
use crate::Links;
use crate::testbed::Node;

pub(super) type Mac = [u8; 6];

pub(super) const BROADCAST: Mac = [0xff; 6];

pub(super) const ETHERTYPE_IPV4: u16 = 0x0800;
pub(super) const ETHERTYPE_IPV6: u16 = 0x86dd;
pub(super) const ETHERTYPE_ARP: u16 = 0x0806;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;

/// A packet socket on one link.
#[derive(Debug)]
pub(super) struct Wire(OwnedFd);

impl Wire {
    pub(super) fn open(node: &Node, link: &str) -> Self {
        let index = index(node, link);
        node.run(|_| {
            let socket = socket(AddressFamily::PACKET, SocketType::RAW, None).unwrap();
            set_option(&socket, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, 1).unwrap();
            // Far longer than a frame takes: whoever waits, waits for one that has to come.
            set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(Duration::from_secs(10))).unwrap();
            bind_to_link(&socket, index).unwrap();
            Self(socket)
        })
    }

    pub(super) fn send(&self, frame: &[u8]) {
        send(&self.0, frame, SendFlags::empty()).unwrap();
    }

    /// Whether one with this in it comes before one with that in it, which has to
    /// come.
    pub(super) fn has_heard(&self, this: &[u8], before: &[u8]) -> bool {
        let contains = |frame: &[u8], part: &[u8]| frame.windows(part.len()).any(|window| window == part);
        let mut frame = [0; 2048];
        let mut has_heard = false;
        loop {
            match recv(&self.0, &mut frame, RecvFlags::empty()) {
                Ok((length, _)) if contains(&frame[..length], before) => return has_heard,
                Ok((length, _)) => has_heard |= contains(&frame[..length], this),
                Err(Errno::INTR) => {}
                Err(error) => panic!("the frame that has to come does not: {error}"),
            }
        }
    }
}

/// Six bytes that are in no other frame.
pub(super) fn token() -> [u8; 6] {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let [a, b] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    [0xca, 0x5e, 0xf0, 0x0d, a, b]
}

/// Of a link.
pub(super) fn hardware_address(node: &Node, link: &str) -> Mac {
    let address = async { Links::open().unwrap().hardware_address(link).await };
    node.run(|runtime| runtime.block_on(address)).try_into().unwrap()
}

pub(super) fn ethernet(to: Mac, from: Mac, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&to, &from, &ethertype.to_be_bytes()[..], payload].concat()
}

/// With a tag of a VLAN, after the two addresses.
pub(super) fn tagged(frame: &[u8], protocol: u16, vlan: u16) -> Vec<u8> {
    let (addresses, rest) = frame.split_at(12);
    [addresses, &protocol.to_be_bytes(), &vlan.to_be_bytes(), rest].concat()
}

pub(super) fn ipv4_udp(from: Ipv4Addr, to: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    let datagram = udp(payload);
    let length = (20 + datagram.len() as u16).to_be_bytes();
    let mut header = [&[0x45, 0], &length[..], &[0, 0, 0, 0, 64, UDP, 0, 0], &from.octets(), &to.octets()].concat();
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum);
    [header, datagram].concat()
}

pub(super) fn ipv6_udp(from: Ipv6Addr, to: Ipv6Addr, payload: &[u8]) -> Vec<u8> {
    ipv6(from, to, UDP, udp(payload), 6)
}

/// Without a checksum.
fn udp(payload: &[u8]) -> Vec<u8> {
    let port = PORT.to_be_bytes();
    [&port, &port, &(8 + payload.len() as u16).to_be_bytes()[..], &[0, 0], payload].concat()
}

/// From an address of another: request (1) or reply (2).
pub(super) fn arp(operation: u8, (mac, ip): (Mac, Ipv4Addr), to: Ipv4Addr, trailer: &[u8]) -> Vec<u8> {
    let header = [0, 1, 8, 0, 6, 4, 0, operation];
    [&header, &mac[..], &ip.octets(), &[0; 6], &to.octets(), trailer].concat()
}

/// A message about an address (135: who has it; 136: it is here), or of a router (134).
pub(super) fn neighbour(
    kind: u8,
    (from, to): (Ipv6Addr, Ipv6Addr),
    (target, mac): (Ipv6Addr, Mac),
    trailer: [u8; 6],
) -> Vec<u8> {
    let flags = if kind == 136 { [0x20, 0, 0, 0] } else { [0; 4] };
    let option = if kind == 136 { 2 } else { 1 };
    let body = match kind {
        134 => vec![64, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0],
        _ => [&flags, &target.octets()[..]].concat(),
    };
    let link_address = if from.is_unspecified() { Vec::new() } else { [&[option, 1], &mac[..]].concat() };
    // An option that nobody knows is passed over.
    let unknown = [&[253, 1], &trailer[..]].concat();
    ipv6(from, to, ICMPV6, [vec![kind, 0, 0, 0], body, link_address, unknown].concat(), 2)
}

fn ipv6(from: Ipv6Addr, to: Ipv6Addr, protocol: u8, mut payload: Vec<u8>, checksum_at: usize) -> Vec<u8> {
    let length = payload.len() as u16;
    let addresses = [from.octets(), to.octets()].concat();
    let summed = [&addresses, &[0, 0][..], &length.to_be_bytes(), &[0, 0, 0, protocol], &payload].concat();
    payload[checksum_at..checksum_at + 2].copy_from_slice(&checksum(&summed));
    [&[0x60, 0, 0, 0], &length.to_be_bytes()[..], &[protocol, 255], &addresses, &payload].concat()
}

/// A packet of IPv4 that goes no further than so many hops.
pub(super) fn with_hops(mut packet: Vec<u8>, hops: u8) -> Vec<u8> {
    packet[8] = hops;
    packet[10..12].fill(0);
    let sum = checksum(&packet[..20]);
    packet[10..12].copy_from_slice(&sum);
    packet
}

/// With an extension header, which says nothing.
pub(super) fn with_options(packet: &[u8]) -> Vec<u8> {
    const DESTINATION_OPTIONS: u8 = 60;
    let (header, payload) = packet.split_at(40);
    let length = (8 + payload.len() as u16).to_be_bytes();
    let options = [header[6], 0, 1, 4, 0, 0, 0, 0];
    [&header[..4], &length, &[DESTINATION_OPTIONS], &header[7..], &options, payload].concat()
}

fn checksum(bytes: &[u8]) -> [u8; 2] {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    let mut sum: u32 = bytes.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}
