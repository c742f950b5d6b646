//! From addresses to listening sockets.

use std::fs::{self, Permissions};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use casemate_api::{Listener, TlsError, TlsFiles, tls_acceptor};
use rustix::net::AddressFamily;
use rustix::net::sockopt::{socket_acceptconn, socket_domain};
use tokio_rustls::TlsAcceptor;

use super::activation::{self, HandedOver};
use super::config::Group;
use super::host::Host;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(
        "tcp://{address} would make anyone who reaches it root of this host: use --tlsverify, or an address that only this \
         host reaches, such as tcp://127.0.0.1"
    )]
    Open { address: SocketAddr },
    #[error("can't create unix socket {path}")]
    Unix { path: PathBuf, source: io::Error },
    #[error("can't create unix socket {path}: another program listens on it")]
    Taken { path: PathBuf },
    #[error("can't create unix socket {path}: there is something else of that name")]
    NoSocket { path: PathBuf },
    #[error("group {0} not found")]
    Group(String),
    #[error("can't listen on {address}")]
    Tcp { address: SocketAddr, source: io::Error },
    #[error("no sockets found via socket activation: make sure the service was started by systemd")]
    NotActivated,
    #[error("no socket named {0} found via socket activation")]
    NoneOfName(String),
    #[error("descriptor {number} of socket activation is no stream socket that listens")]
    NotListening { number: i32 },
    #[error("cannot use descriptor {number} of socket activation")]
    Descriptor { number: i32, source: io::Error },
}

/// A socket that clients can already connect to.
#[derive(Debug)]
pub(super) struct Listening {
    pub(super) listener: Listener,
    /// As `-H` has it.
    pub(super) address: String,
    /// To be dropped when no more clients are to come.
    pub(super) socket: Option<SocketFile>,
}

/// How clients over TCP are told from attackers.
pub(super) struct Guard {
    acceptor: Option<TlsAcceptor>,
    verifies: bool,
}

impl Guard {
    pub(super) fn new(files: Option<&TlsFiles>) -> Result<Self, ListenError> {
        Ok(Self {
            acceptor: files.map(tls_acceptor).transpose()?,
            verifies: files.is_some_and(|files| files.client_authority.is_some()),
        })
    }

    /// Who is not asked who he is must be of this host.
    pub(super) fn check(&self, hosts: &[Host]) -> Result<(), ListenError> {
        for host in hosts {
            if let Host::Tcp(address) = host {
                self.check_address(*address)?;
            }
        }
        Ok(())
    }

    fn check_address(&self, address: SocketAddr) -> Result<(), ListenError> {
        match self.verifies || address.ip().is_loopback() {
            true => Ok(()),
            false => Err(ListenError::Open { address }),
        }
    }

    fn tcp(&self, listener: TcpListener, address: SocketAddr) -> io::Result<Listening> {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let address = format!("tcp://{address}");
        if !self.verifies {
            tracing::warn!("{}", warning(&address));
        }
        let listener = match &self.acceptor {
            Some(acceptor) => Listener::Tls(listener, acceptor.clone()),
            None => Listener::Tcp(listener),
        };
        Ok(Listening { listener, address, socket: None })
    }
}

/// For the log and for `info`.
pub(super) fn warning(address: &str) -> String {
    format!(
        "WARNING: API is accessible on {address} without clients being verified: every process and user of this host \
         that can connect to it is root"
    )
}

impl Listening {
    pub(super) fn warning(&self, guard_verifies: bool) -> Option<String> {
        (self.address.starts_with("tcp://") && !guard_verifies).then(|| warning(&self.address))
    }
}

pub(super) fn listen(hosts: &[Host], guard: &Guard, group: Option<&Group>) -> Result<Vec<Listening>, ListenError> {
    let mut handed_over = activation::take();
    let mut listening = Vec::new();
    for host in hosts {
        match host {
            Host::Unix(path) => listening.push(unix(path, group)?),
            Host::Tcp(address) => listening.push(tcp(*address, guard)?),
            Host::Fd(name) => listening.extend(activated(&mut handed_over, name.as_deref(), guard)?),
        }
    }
    Ok(listening)
}

fn tcp(address: SocketAddr, guard: &Guard) -> Result<Listening, ListenError> {
    guard.check_address(address)?;
    let failed = |source| ListenError::Tcp { address, source };
    let listener = TcpListener::bind(address).map_err(failed)?;
    // The port may have been for the kernel to choose.
    let bound = listener.local_addr().map_err(failed)?;
    guard.tcp(listener, bound).map_err(failed)
}

fn activated(
    handed_over: &mut Vec<HandedOver>,
    name: Option<&str>,
    guard: &Guard,
) -> Result<Vec<Listening>, ListenError> {
    if handed_over.is_empty() {
        return Err(ListenError::NotActivated);
    }
    let wanted =
        |socket: &mut HandedOver| name.is_none_or(|name| name == socket.name || name == socket.number.to_string());
    let wanted: Vec<HandedOver> = handed_over.extract_if(.., wanted).collect();
    if wanted.is_empty() {
        return Err(ListenError::NoneOfName(name.unwrap_or_default().to_owned()));
    }
    wanted.into_iter().map(|HandedOver { fd, number, .. }| adopt(fd, number, guard)).collect()
}

fn adopt(fd: OwnedFd, number: i32, guard: &Guard) -> Result<Listening, ListenError> {
    let failed = |source| ListenError::Descriptor { number, source };
    if !socket_acceptconn(fd.as_fd()).unwrap_or(false) {
        return Err(ListenError::NotListening { number });
    }
    match socket_domain(fd.as_fd()).map_err(|error| failed(error.into()))? {
        AddressFamily::UNIX => {
            let listener = UnixListener::from(fd);
            let address = listener.local_addr().map_err(failed)?;
            let address = format!("unix://{}", address.as_pathname().unwrap_or(Path::new("")).display());
            let listener = from_std(listener).map_err(failed)?;
            Ok(Listening { listener, address, socket: None })
        }
        _ => {
            let listener = TcpListener::from(fd);
            let address = listener.local_addr().map_err(failed)?;
            guard.check_address(address)?;
            guard.tcp(listener, address).map_err(failed)
        }
    }
}

fn from_std(listener: UnixListener) -> io::Result<Listener> {
    listener.set_nonblocking(true)?;
    tokio::net::UnixListener::from_std(listener).map(Listener::Unix)
}

/// For root and the group.
fn unix(path: &Path, group: Option<&Group>) -> Result<Listening, ListenError> {
    let failed = |source| ListenError::Unix { path: path.to_owned(), source };
    let gid = match group {
        None => None,
        Some(Group::Default(name)) => group_id(name),
        Some(Group::Named(name)) => Some(group_id(name).ok_or_else(|| ListenError::Group(name.clone()))?),
    };
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    make_way(path)?;
    // Nobody gets in before it belongs to whom it should.
    let before = rustix::process::umask(rustix::fs::Mode::from_bits_truncate(0o177));
    let bound = UnixListener::bind(path);
    rustix::process::umask(before);
    let listener = bound.map_err(failed)?;
    let socket = SocketFile::of(path).map_err(failed)?;
    if let Some(gid) = gid {
        chown(path, Some(0), Some(gid)).map_err(failed)?;
    }
    fs::set_permissions(path, Permissions::from_mode(0o660)).map_err(failed)?;
    let listener = from_std(listener).map_err(failed)?;
    Ok(Listening { listener, address: format!("unix://{}", path.display()), socket: Some(socket) })
}

/// Takes away the socket of a daemon that was killed, and no other's.
fn make_way(path: &Path) -> Result<(), ListenError> {
    let failed = |source| ListenError::Unix { path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.file_type().is_socket() => Err(ListenError::NoSocket { path: path.to_owned() }),
        Ok(_) => match UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path).map_err(failed),
            _ => Err(ListenError::Taken { path: path.to_owned() }),
        },
        Err(_) => Ok(()),
    }
}

/// By number or by its name in `/etc/group`.
fn group_id(group: &str) -> Option<u32> {
    if let Ok(gid) = group.parse() {
        return Some(gid);
    }
    let groups = fs::read_to_string("/etc/group").ok()?;
    let mut lines = groups.lines().map(|line| line.split(':').collect::<Vec<_>>());
    lines.find(|fields| fields.first() == Some(&group))?.get(2)?.parse().ok()
}

/// The name of a listening socket, removed when this goes.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::symlink_metadata(path)?;
        Ok(Self { path: path.to_owned(), identity: (metadata.dev(), metadata.ino()) })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Somebody may have put another in its place.
        let is_ours = fs::symlink_metadata(&self.path).is_ok_and(|now| (now.dev(), now.ino()) == self.identity);
        if is_ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "socket left behind");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(verifies: bool) -> Guard {
        Guard { acceptor: None, verifies }
    }

    fn may_listen(address: &str, verifies: bool) -> bool {
        guard(verifies).check(&[Host::Tcp(address.parse().unwrap())]).is_ok()
    }

    #[test]
    fn only_verified_clients_come_from_elsewhere() {
        assert!(may_listen("127.0.0.1:1", false) && may_listen("127.1.2.3:1", false) && may_listen("[::1]:1", false));
        for address in ["0.0.0.0:1", "10.0.0.1:1", "[::]:1", "[fe80::1]:1"] {
            assert!(!may_listen(address, false), "{address}");
            assert!(may_listen(address, true), "{address}");
        }
    }

    #[test]
    fn a_socket_that_nobody_listens_on_makes_way_and_others_stay() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        make_way(&path).unwrap();
        let listener = UnixListener::bind(&path).unwrap();
        assert!(matches!(make_way(&path), Err(ListenError::Taken { .. })));
        drop(listener);
        make_way(&path).unwrap();
        assert!(!path.exists());
        fs::write(&path, "").unwrap();
        assert!(matches!(make_way(&path), Err(ListenError::NoSocket { .. })));
        assert!(path.exists());
    }

    #[test]
    fn a_socket_put_in_its_place_is_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let first = UnixListener::bind(&path).unwrap();
        let file = SocketFile::of(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let _second = UnixListener::bind(&path).unwrap();
        drop(file);
        assert!(path.exists());
        drop(SocketFile::of(&path).unwrap());
        assert!(!path.exists());
        drop(first);
    }
}
