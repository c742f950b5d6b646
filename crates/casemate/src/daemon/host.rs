//! `-H`: where to listen, in dockerd's forms.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

const PORT: u16 = 2375;
const TLS_PORT: u16 = 2376;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host {
    Unix(PathBuf),
    Tcp(SocketAddr),
    /// Sockets that systemd has opened: all, those of a name, or the one of a
    /// number.
    Fd(Option<String>),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HostError {
    #[error("invalid bind address ({0}): unsupported proto '{1}'")]
    Protocol(String, String),
    #[error("invalid bind address ({0}): a socket's path starts with /")]
    RelativePath(String),
    #[error("invalid bind address ({0}): should not contain a path element")]
    TcpPath(String),
    #[error("invalid bind address ({0}): {1:?} is no port")]
    Port(String, String),
    #[error("invalid bind address ({0}): {1:?} is not looked up: use an IP address, or localhost")]
    Name(String, String),
}

impl Host {
    /// Without a protocol it is TCP; a port that is not named depends on TLS.
    pub(super) fn parse(text: &str, default_socket: &Path, tls: bool) -> Result<Self, HostError> {
        let (protocol, address) = text.split_once("://").unwrap_or(("tcp", text));
        match protocol {
            "unix" if address.is_empty() => Ok(Self::Unix(default_socket.to_owned())),
            "unix" if address.starts_with('/') => Ok(Self::Unix(address.into())),
            "unix" => Err(HostError::RelativePath(text.to_owned())),
            "fd" => Ok(Self::Fd(Some(address.to_owned()).filter(|name| !name.is_empty() && name != "*"))),
            "tcp" => tcp(text, address, if tls { TLS_PORT } else { PORT }).map(Self::Tcp),
            other => Err(HostError::Protocol(text.to_owned(), other.to_owned())),
        }
    }
}

fn tcp(text: &str, address: &str, default_port: u16) -> Result<SocketAddr, HostError> {
    let address = address.strip_suffix('/').unwrap_or(address);
    if address.contains('/') {
        return Err(HostError::TcpPath(text.to_owned()));
    }
    // An IPv6 address has colons of its own, and stands in brackets.
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (address, None),
    };
    let port = match port {
        None | Some("") => default_port,
        Some(port) => port.parse().map_err(|_| HostError::Port(text.to_owned(), port.to_owned()))?,
    };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let ip: IpAddr = match bare {
        "" | "localhost" => Ipv4Addr::LOCALHOST.into(),
        _ => bare.parse().map_err(|_| HostError::Name(text.to_owned(), host.to_owned()))?,
    };
    Ok(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, tls: bool) -> Result<Host, HostError> {
        Host::parse(text, Path::new("/run/casemate/docker.sock"), tls)
    }

    #[test]
    fn sockets_have_dockerds_forms() {
        assert_eq!(parse("unix:///a/b", false), Ok(Host::Unix("/a/b".into())));
        assert_eq!(parse("unix://", false), Ok(Host::Unix("/run/casemate/docker.sock".into())));
        assert_eq!(parse("unix://a", false), Err(HostError::RelativePath("unix://a".into())));
        assert_eq!(parse("fd://", false), Ok(Host::Fd(None)));
        assert_eq!(parse("fd://*", false), Ok(Host::Fd(None)));
        assert_eq!(parse("fd://api", false), Ok(Host::Fd(Some("api".into()))));
        assert!(matches!(parse("npipe:////./pipe/x", false), Err(HostError::Protocol(..))));
    }

    #[test]
    fn tcp_has_dockerds_defaults() {
        for (text, tls, expected) in [
            ("tcp://", false, "127.0.0.1:2375"),
            ("tcp://", true, "127.0.0.1:2376"),
            ("tcp://:7", true, "127.0.0.1:7"),
            ("tcp://0.0.0.0", true, "0.0.0.0:2376"),
            ("tcp://0.0.0.0:7/", true, "0.0.0.0:7"),
            ("tcp://localhost:7", false, "127.0.0.1:7"),
            ("tcp://[::1]", false, "[::1]:2375"),
            ("tcp://[::]:7", false, "[::]:7"),
            ("127.0.0.1:7", false, "127.0.0.1:7"),
        ] {
            assert_eq!(parse(text, tls), Ok(Host::Tcp(expected.parse().unwrap())), "{text}");
        }
        assert!(matches!(parse("tcp://1.2.3.4:x", false), Err(HostError::Port(..))));
        assert!(matches!(parse("tcp://1.2.3.4:70000", false), Err(HostError::Port(..))));
        assert!(matches!(parse("tcp://1.2.3.4:7/x", false), Err(HostError::TcpPath(..))));
        assert!(matches!(parse("tcp://example.com:7", false), Err(HostError::Name(..))));
    }
}
