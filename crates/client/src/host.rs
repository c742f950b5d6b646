//! Where a daemon listens, as clients write it.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::HostError;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    Unix(PathBuf),
    Tcp { name: String, port: u16 },
}

/// Docker's, without and with TLS.
const PORTS: [u16; 2] = [2375, 2376];

impl Host {
    /// `unix:///PATH` or `tcp://NAME[:PORT]` (docker/cli `opts/hosts.go`).
    /// `unix://` alone is the default socket.
    pub fn parse(text: &str, default_socket: &Path, tls: bool) -> Result<Self, HostError> {
        let unreadable = || HostError::Unreadable(text.to_owned());
        let (protocol, address) = text.trim().split_once("://").ok_or_else(unreadable)?;
        match protocol {
            "unix" if address.is_empty() => Ok(Self::Unix(default_socket.to_owned())),
            "unix" => Ok(Self::Unix(address.into())),
            "tcp" => tcp(address, PORTS[usize::from(tls)]).ok_or_else(unreadable),
            "ssh" => Err(HostError::Ssh(text.to_owned())),
            other => Err(HostError::Protocol(text.to_owned(), other.to_owned())),
        }
    }
}

fn tcp(address: &str, default_port: u16) -> Option<Host> {
    let address = address.strip_suffix('/').unwrap_or(address);
    // An IPv6 address has colons of its own, and stands in brackets.
    let (name, port) = match address.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, port.parse().ok()?),
        _ => (address, default_port),
    };
    let name = if name.is_empty() { "localhost" } else { name };
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-_.:[]".contains(c);
    name.chars().all(is_name).then(|| Host::Tcp { name: name.to_owned(), port })
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp { name, port } => write!(f, "tcp://{name}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_docker_writes_them() {
        let parse = |text: &str, tls| Host::parse(text, Path::new("/run/d.sock"), tls);
        let tcp = |name: &str, port| Ok(Host::Tcp { name: name.to_owned(), port });
        assert_eq!(parse("unix:///a/b", false), Ok(Host::Unix("/a/b".into())));
        assert_eq!(parse("unix://", false), Ok(Host::Unix("/run/d.sock".into())));
        assert_eq!(parse("tcp://box", false), tcp("box", 2375));
        assert_eq!(parse("tcp://box", true), tcp("box", 2376));
        assert_eq!(parse("tcp://:7", true), tcp("localhost", 7));
        assert_eq!(parse("tcp://[::1]:7/", true), tcp("[::1]", 7));
        assert_eq!(parse("tcp://[::1]", true), tcp("[::1]", 2376));
        for text in ["box", "tcp://box:x", "tcp://box:70000", "tcp://a/b:1", ""] {
            assert_eq!(parse(text, false), Err(HostError::Unreadable(text.to_owned())), "{text}");
        }
        assert!(matches!(parse("ssh://box", false), Err(HostError::Ssh(_))));
        assert!(matches!(parse("npipe:////./pipe/x", false), Err(HostError::Protocol(..))));
    }
}
