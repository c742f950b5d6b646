//! Whose socket is in the way, as far as `/proc` tells.

use std::fmt::{self, Display};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::Protocol;

/// A process that holds a port. Of several that share it, the oldest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// As the kernel has it: the first 15 bytes, or what the process made of it.
    pub name: String,
    pub process: u32,
}

impl Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, process {}", self.name.escape_debug(), self.process)
    }
}

impl Holder {
    /// In the network namespace of the thread that asks.
    pub(super) fn find(protocol: Protocol, host: SocketAddr) -> Option<Self> {
        let tables: &[&str] = match (protocol, host) {
            (Protocol::Tcp, SocketAddr::V4(_)) => &["tcp", "tcp6"],
            (Protocol::Tcp, SocketAddr::V6(_)) => &["tcp6"],
            (Protocol::Udp, SocketAddr::V4(_)) => &["udp", "udp6"],
            (Protocol::Udp, SocketAddr::V6(_)) => &["udp6"],
            // Its table says of no socket which it is.
            (Protocol::Sctp, _) => &[],
        };
        // Those that listen come before connections.
        let mut sockets = tables.iter().flat_map(|table| entries(table));
        process_with(sockets.find(|entry| entry.is_in_the_way_of(host))?.inode)
    }
}

/// A socket that has an address.
#[derive(Debug)]
struct Entry {
    local: SocketAddr,
    inode: u64,
}

fn entries(table: &str) -> Vec<Entry> {
    let text = fs::read_to_string(format!("/proc/thread-self/net/{table}")).unwrap_or_default();
    text.lines().skip(1).filter_map(Entry::parse).collect()
}

impl Entry {
    /// None of what belongs to no process any more.
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split_ascii_whitespace();
        let (address, port) = fields.nth(1)?.split_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        let inode = fields.nth(7)?.parse().ok().filter(|inode| *inode != 0)?;
        Some(Self { local: SocketAddr::new(parse_address(address)?, port), inode })
    }

    fn is_in_the_way_of(&self, host: SocketAddr) -> bool {
        let (mine, wanted) = (self.local.ip(), host.ip());
        // All of IPv6 is all of IPv4 as well, unless its socket was made for IPv6 alone, which nobody says.
        let overlaps = mine == Ipv6Addr::UNSPECIFIED
            || mine.is_ipv4() == wanted.is_ipv4()
                && (mine == wanted || mine.is_unspecified() || wanted.is_unspecified());
        self.local.port() == host.port() && overlaps
    }
}

/// Words of 32 bits, each as the processor has it.
fn parse_address(hex: &str) -> Option<IpAddr> {
    let word = |range| u32::from_str_radix(hex.get(range)?, 16).map(u32::to_ne_bytes).ok();
    match hex.len() {
        8 => Some(Ipv4Addr::from(word(0..8)?).into()),
        32 => {
            let words = [word(0..8)?, word(8..16)?, word(16..24)?, word(24..32)?];
            let octets: [u8; 16] = words.concat().try_into().ok()?;
            Some(Ipv6Addr::from(octets).to_canonical())
        }
        _ => None,
    }
}

fn process_with(inode: u64) -> Option<Holder> {
    let socket = format!("socket:[{inode}]");
    let mut processes: Vec<u32> = numbers("/proc").collect();
    processes.sort_unstable();
    let holds = |process: &u32| {
        let descriptors = format!("/proc/{process}/fd");
        let is_it = |number| fs::read_link(format!("{descriptors}/{number}")).is_ok_and(|link| *link == *socket);
        numbers(&descriptors).any(is_it)
    };
    let process = processes.into_iter().find(holds)?;
    let name = fs::read(format!("/proc/{process}/comm")).ok()?;
    Some(Holder { name: String::from_utf8_lossy(&name).trim_end().to_owned(), process })
}

/// Names in a directory that are numbers; none if it cannot be read.
fn numbers(directory: &str) -> impl Iterator<Item = u32> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}
