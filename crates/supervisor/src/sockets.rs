//! TCP's and UDP's sockets in the network that a container is in, as this kernel's
//! `/proc` tells of them (proc_pid_net(5)).
//!
//! How many there are is the container's choice: what is read is bounded, since
//! nobody else is served meanwhile.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use casemate_launch::ProcessEntry;
use casemate_model::{ErrorClass, Failure, Protocol};
use casemate_wire::{MAX_SOCKETS, Socket, SocketOwner, Sockets};

/// Of each file, in bytes: a line has 150.
const LONGEST_FILE: u64 = 4 << 20;

/// Descriptors that are looked at in search of sockets: a few milliseconds' worth.
const MAX_DESCRIPTORS: usize = 16_384;

const FILES: [(&str, Protocol); 4] =
    [("tcp", Protocol::Tcp), ("tcp6", Protocol::Tcp), ("udp", Protocol::Udp), ("udp6", Protocol::Udp)];

/// By the kernel's number of it, which the descriptors have as well.
type Numbered = (u64, Socket);

/// `init` is a process of the container that has not been waited for.
pub(crate) fn list(init: u32, processes: &[ProcessEntry]) -> Result<Sockets, Failure> {
    let mut found = Found::default();
    for (name, protocol) in FILES {
        let path = PathBuf::from(format!("/proc/{init}/net/{name}"));
        match File::open(&path).and_then(|file| found.read(BufReader::new(file.take(LONGEST_FILE)), protocol)) {
            Ok(length) => found.more |= length >= LONGEST_FILE,
            // A kernel without IPv6, or the container has ended.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let message = format!("cannot read {}: {error}", path.display());
                return Err(Failure::new(ErrorClass::Internal, message));
            }
        }
    }
    let Found { mut listening, connected, more } = found;
    listening.extend(connected);
    name_owners(&mut listening, processes);
    Ok(Sockets { sockets: listening.into_iter().map(|(_, socket)| socket).collect(), more })
}

/// Apart from each other, so that the ones do not crowd the others out.
#[derive(Debug, Default)]
struct Found {
    listening: Vec<Numbered>,
    connected: Vec<Numbered>,
    more: bool,
}

impl Found {
    /// Returns how much was read.
    fn read(&mut self, file: impl BufRead, protocol: Protocol) -> io::Result<u64> {
        let mut length = 0;
        for line in file.lines() {
            let line = line?;
            length += line.len() as u64 + 1;
            let Some(socket) = parse(&line, protocol) else { continue };
            let list = if socket.1.peer.is_none() { &mut self.listening } else { &mut self.connected };
            match list.len() < MAX_SOCKETS / 2 {
                true => list.push(socket),
                false => self.more = true,
            }
        }
        Ok(length)
    }
}

/// `None` of headings, and of sockets that are neither open to all nor connected.
fn parse(line: &str, protocol: Protocol) -> Option<Numbered> {
    // From include/net/tcp_states.h; one of UDP that is not connected is closed.
    const ESTABLISHED: &str = "01";
    const CLOSED: &str = "07";
    const LISTEN: &str = "0A";
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let local = address(fields.get(1)?)?;
    let peer = match (*fields.get(3)?, protocol) {
        (ESTABLISHED, _) => Some(address(fields.get(2)?)?),
        (LISTEN, Protocol::Tcp) | (CLOSED, Protocol::Udp) => None,
        _ => return None,
    };
    let inode = fields.get(9)?.parse().ok()?;
    Some((inode, Socket { protocol, local, peer, owner: None }))
}

/// `0100007F:0050`: words of 32 bits of the address, each as this machine would read
/// it, and the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let word = |text: &str| u32::from_str_radix(text, 16).ok().map(u32::to_ne_bytes);
    let address: IpAddr = match address.len() {
        8 => IpAddr::from(word(address)?),
        32 => {
            let mut octets = [0; 16];
            for (at, octets) in octets.chunks_exact_mut(4).enumerate() {
                octets.copy_from_slice(&word(address.get(at * 8..at * 8 + 8)?)?);
            }
            IpAddr::from(octets)
        }
        _ => return None,
    };
    // IPv4 by a socket for both.
    Some(SocketAddr::new(address.to_canonical(), u16::from_str_radix(port, 16).ok()?))
}

/// Of several that have a socket the first, who made it as a rule.
fn name_owners(sockets: &mut [Numbered], processes: &[ProcessEntry]) {
    let mut unknown: HashMap<u64, &mut Socket> = sockets.iter_mut().map(|(inode, socket)| (*inode, socket)).collect();
    let mut left = MAX_DESCRIPTORS;
    for process in processes {
        // Whoever ends meanwhile has none.
        let Ok(descriptors) = fs::read_dir(format!("/proc/{}/fd", process.pid)) else { continue };
        for descriptor in descriptors.flatten() {
            if left == 0 || unknown.is_empty() {
                return;
            }
            left -= 1;
            let Ok(target) = fs::read_link(descriptor.path()) else { continue };
            if let Some(socket) = target.to_str().and_then(inode).and_then(|inode| unknown.remove(&inode)) {
                socket.owner = Some(SocketOwner { pid: process.pid, name: process.name.clone() });
            }
        }
    }
}

/// `socket:[4711]`
fn inode(target: &str) -> Option<u64> {
    target.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use super::*;

    const HEADING: &str =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";

    fn shown((inode, socket): &Numbered) -> String {
        let peer = socket.peer.map_or("*".to_owned(), |peer| peer.to_string());
        format!("{} {} {peer} {inode}", socket.protocol, socket.local)
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn lines_are_as_the_kernel_writes_them() {
        const REST: &str = "00000000:00000000 00:00000000 00000000     0        0";
        let of = |protocol, line: &str| parse(&line.replace("…", REST), protocol).as_ref().map(shown);
        let (tcp, udp) = (Protocol::Tcp, Protocol::Udp);
        for (protocol, line, expected) in [
            (tcp, "   0: 00000000:0087 00000000:0000 0A … 4711 1 ffff8880 100 0 0 10 0", "tcp 0.0.0.0:135 * 4711"),
            (tcp, "   1: 0200010A:0050 0100A8C0:C350 01 … 4712 1", "tcp 10.1.0.2:80 192.168.0.1:50000 4712"),
            (
                tcp,
                "   2: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A … 5 1",
                "tcp [::]:8080 * 5",
            ),
            (
                tcp,
                "   3: 0000000000000000FFFF00000200010A:0050 0000000000000000FFFF00000100010A:C350 01 … 6 1",
                "tcp 10.1.0.2:80 10.1.0.1:50000 6",
            ),
            (
                udp,
                "  77: 000000FD000000000000000002000000:0035 00000000000000000000000000000000:0000 07 … 7 2",
                "udp [fd00::2]:53 * 7",
            ),
            (udp, "  78: 0100007F:0035 0200007F:0036 01 … 8 2", "udp 127.0.0.1:53 127.0.0.2:54 8"),
        ] {
            assert_eq!(of(protocol, line).as_deref(), Some(expected), "{line}");
        }
        let whole = "   0: 00000000:0087 00000000:0000 0A … 4711";
        for other in [
            HEADING,
            "",
            &whole.replace("0A", "06"),
            &whole.replace("0A", "02"),
            &whole.replace("00000000:0087", "0000000:0087"),
            &whole.replace("00000000:0087", "000000é0:0087"),
            &whole.replace("0087", "10087"),
            &whole.replace("4711", "-"),
            whole.split_once(" …").unwrap().0,
        ] {
            assert_eq!(of(tcp, other), None, "{other}");
        }
        assert_eq!(of(udp, whole), None, "UDP does not listen");
    }

    #[test]
    fn neither_kind_crowds_the_other_out() {
        let line =
            |state: &str, inode: usize| format!("0: 00000000:0087 00000000:0000 {state} 0:0 0:0 0 0 0 {inode}\n");
        let many: String = (0..MAX_SOCKETS).map(|inode| line("01", inode)).collect();
        let mut found = Found::default();
        found.read(many.as_bytes(), Protocol::Tcp).unwrap();
        assert_eq!((found.listening.len(), found.connected.len(), found.more), (0, MAX_SOCKETS / 2, true));
        found.read(line("0A", 1).as_bytes(), Protocol::Tcp).unwrap();
        assert_eq!(found.listening.len(), 1);
    }

    #[test]
    fn this_programs_own_are_found_with_their_owner() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let client = TcpStream::connect(at).unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let me = std::process::id();
        let entry = ProcessEntry {
            pid: me,
            ppid: 1,
            pid_inside: me,
            uid: 0,
            tty: None,
            started: 0,
            cpu_ms: 0,
            cpu_percent: 0,
            state: 'R',
            virtual_memory: casemate_model::Bytes(0),
            resident_memory: casemate_model::Bytes(0),
            name: "me".to_owned(),
            command: "me".to_owned(),
        };
        let Sockets { sockets, .. } = list(me, &[entry]).unwrap();
        let owner = Some(SocketOwner { pid: me, name: "me".to_owned() });
        for (protocol, local, peer) in [
            (Protocol::Tcp, at, None),
            (Protocol::Tcp, client.local_addr().unwrap(), Some(at)),
            (Protocol::Udp, udp.local_addr().unwrap(), None),
        ] {
            let expected = Socket { protocol, local, peer, owner: owner.clone() };
            assert!(sockets.contains(&expected), "{expected:?}: {sockets:?}");
        }
    }
}
