//! Two rules for nftables, written as the kernel reads them: a container's
//! namespace has no `nft`, nor has a utility VM.
//!
//! ```text
//! table ip casemate {
//!     chain output {
//!         type nat hook output priority dstnat;
//!         ip daddr ADDRESS meta l4proto udp th dport 53 dnat to ADDRESS:PORT
//!         ip daddr ADDRESS meta l4proto tcp th dport 53 dnat to ADDRESS:PORT
//!     }
//! }
//! ```
//!
//! Names of messages and attributes are those of `linux/netfilter/nf_tables.h`;
//! numbers in attributes are big-endian, all else is the machine's.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with};

const DNS: u16 = 53;

const TABLE: &str = "casemate";
const CHAIN: &str = "output";

/// Message types: those of a transaction, and of nftables.
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NFTABLES: u16 = 10;
const NEW_TABLE: u16 = NFTABLES << 8;
const NEW_CHAIN: u16 = NFTABLES << 8 | 3;
const NEW_RULE: u16 = NFTABLES << 8 | 6;

/// Flags of a message.
const REQUEST: u16 = 1;
const ACK: u16 = 4;
const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;

/// An answer: `NLMSG_ERROR`, of error 0 if all went well.
const ERROR: u16 = 2;

/// Registers that expressions hand values on in.
const R1: u32 = 1;
const R2: u32 = 2;

/// `udp` and `tcp` are ports at the address.
pub(super) fn redirect(address: Ipv4Addr, (udp, tcp): (u16, u16)) -> io::Result<()> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(netlink::NETFILTER))?;
    sendto(&socket, &transaction(address, udp, tcp), SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    answer(&socket)
}

/// The kernel has answered when `sendto` returns: an error, or that all is done.
fn answer(socket: &OwnedFd) -> io::Result<()> {
    let mut buffer = [0; 8192];
    let (length, _) = recv(socket, &mut buffer, RecvFlags::empty())?;
    let answer = &buffer[..length];
    match (answer.get(4..6), answer.get(16..).and_then(<[u8]>::first_chunk)) {
        (Some(kind), Some(code)) if kind == ERROR.to_ne_bytes() => match i32::from_ne_bytes(*code) {
            0 => Ok(()),
            code => Err(io::Error::from_raw_os_error(-code)),
        },
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn transaction(address: Ipv4Addr, udp: u16, tcp: u16) -> Vec<u8> {
    let begin = message(BATCH_BEGIN, REQUEST, &[]);
    let table = message(NEW_TABLE, REQUEST | CREATE, &[text(1, TABLE)]);
    // Where packets leave for, before anything else is done to them.
    const LOCAL_OUT: u32 = 3;
    const DSTNAT: i32 = -100;
    let hook = nested(4, &[number(1, LOCAL_OUT), attribute(2, &DSTNAT.to_be_bytes())]);
    let chain = message(NEW_CHAIN, REQUEST | CREATE, &[text(1, TABLE), text(3, CHAIN), hook, text(7, "nat")]);
    let [udp, tcp] = [(libc::IPPROTO_UDP, udp, 0), (libc::IPPROTO_TCP, tcp, ACK)].map(|(protocol, port, ack)| {
        let expressions = nested(4, &rule(address, protocol as u8, port));
        message(NEW_RULE, REQUEST | CREATE | APPEND | ack, &[text(1, TABLE), text(2, CHAIN), expressions])
    });
    let end = message(BATCH_END, REQUEST, &[]);
    [begin, table, chain, udp, tcp, end].concat()
}

fn rule(address: Ipv4Addr, protocol: u8, port: u16) -> [Vec<u8>; 9] {
    const NETWORK_HEADER: u32 = 1;
    const TRANSPORT_HEADER: u32 = 2;
    const L4PROTO: u32 = 16;
    const DNAT: u32 = 1;
    let load = |base, offset, length| {
        expression("payload", &[number(1, R1), number(2, base), number(3, offset), number(4, length)])
    };
    let equals = |value: &[u8]| expression("cmp", &[number(1, R1), number(2, 0), value_of(3, value)]);
    let immediate = |register, value: &[u8]| expression("immediate", &[number(1, register), value_of(2, value)]);
    let address = address.octets();
    [
        load(NETWORK_HEADER, 16, 4),
        equals(&address),
        expression("meta", &[number(1, R1), number(2, L4PROTO)]),
        equals(&[protocol]),
        load(TRANSPORT_HEADER, 2, 2),
        equals(&DNS.to_be_bytes()),
        immediate(R1, &address),
        immediate(R2, &port.to_be_bytes()),
        expression("nat", &[number(1, DNAT), number(2, libc::AF_INET as u32), number(3, R1), number(5, R2)]),
    ]
}

fn message(kind: u16, flags: u16, attributes: &[Vec<u8>]) -> Vec<u8> {
    const HEADER: usize = 16 + 4;
    let attributes = attributes.concat();
    let length = (HEADER + attributes.len()) as u32;
    let is_batch = matches!(kind, BATCH_BEGIN | BATCH_END);
    let (family, resource) = if is_batch { (libc::AF_UNSPEC, NFTABLES) } else { (libc::AF_INET, 0) };
    // Neither a sequence number nor a port of ours: there is one transaction.
    let header = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &flags.to_ne_bytes(), &[0; 8]].concat();
    [header, vec![family as u8, 0], resource.to_be_bytes().to_vec(), attributes].concat()
}

fn expression(name: &str, attributes: &[Vec<u8>]) -> Vec<u8> {
    nested(1, &[text(1, name), nested(2, attributes)])
}

fn value_of(kind: u16, value: &[u8]) -> Vec<u8> {
    nested(kind, &[attribute(1, value)])
}

fn number(kind: u16, value: u32) -> Vec<u8> {
    attribute(kind, &value.to_be_bytes())
}

fn text(kind: u16, value: &str) -> Vec<u8> {
    attribute(kind, &[value.as_bytes(), &[0]].concat())
}

fn nested(kind: u16, attributes: &[Vec<u8>]) -> Vec<u8> {
    const NESTED: u16 = 1 << 15;
    attribute(kind | NESTED, &attributes.concat())
}

/// Padded, which its length does not tell.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = 4 + value.len();
    let mut attribute = [&(length as u16).to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat();
    attribute.resize(length.next_multiple_of(4), 0);
    attribute
}
