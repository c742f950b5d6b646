//! A daemon for a command that finds none.
//!
//! It is this program with the same engine's options, in a session of its own,
//! and says that it serves as to a service manager (sd_notify(3)). It stays when
//! the command has ended. Commands that come together start one: they wait for
//! each other by a lock on the run directory.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::{SocketAddr, UnixDatagram as StdDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use rustix::fs::{FlockOperation, flock};
use rustix::rand::{GetRandomFlags, getrandom};
use tokio::net::UnixDatagram;
use tokio::process::Command;

use crate::cli::Cli;

/// Of the log of a daemon that did not come up.
const LAST_LINES: usize = 5;

#[derive(Debug, thiserror::Error)]
pub(crate) enum OnDemandError {
    #[error("no daemon serves {socket}, and only root can start one")]
    NotRoot { socket: PathBuf },
    #[error("cannot start a daemon: {what}")]
    Start { what: String, source: io::Error },
    #[error("the daemon did not start ({status}); its log, {log}, ends with:\n{lines}")]
    Ended { status: ExitStatus, log: PathBuf, lines: String },
}

/// A socket on which nobody listens, or none at all.
pub(crate) fn is_nobody(connected: io::Result<UnixStream>) -> bool {
    let nobody = [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused];
    connected.is_err_and(|error| nobody.contains(&error.kind()))
}

/// False if somebody else has started one meanwhile.
pub(crate) async fn start(cli: &Cli, run: &Path, socket: &Path) -> Result<bool, OnDemandError> {
    if !rustix::process::geteuid().is_root() {
        return Err(OnDemandError::NotRoot { socket: socket.to_owned() });
    }
    let failed = |path: &Path| {
        let what = path.display().to_string();
        move |source: io::Error| OnDemandError::Start { what, source }
    };
    DirBuilder::new().recursive(true).mode(0o711).create(run).map_err(failed(run))?;
    let lock = File::open(run).map_err(failed(run))?;
    flock(&lock, FlockOperation::LockExclusive).map_err(|error| failed(run)(error.into()))?;
    if !is_nobody(UnixStream::connect(socket)) {
        return Ok(false);
    }
    let root = cli.global.root_dir();
    DirBuilder::new().recursive(true).mode(0o700).create(root).map_err(failed(root))?;
    let log = root.join("daemon.log");
    let output = new_log(&log).map_err(failed(&log))?;
    let program = std::env::current_exe().map_err(failed(Path::new("/proc/self/exe")))?;
    let (notified, name) = notify_socket().map_err(failed(run))?;
    let mut daemon = Command::new(&program)
        .arg("daemon")
        .args(&cli.engine_flags)
        .arg("--on-demand")
        .env("NOTIFY_SOCKET", name)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(output.try_clone().map_err(failed(&log))?)
        .stderr(output)
        .spawn()
        .map_err(failed(&program))?;
    let pid = daemon.id().unwrap_or_default();
    tokio::select! {
        ready = until_ready(&notified) => ready.map_err(failed(run))?,
        ended = daemon.wait() => {
            let status = ended.map_err(failed(&program))?;
            return Err(OnDemandError::Ended { status, lines: last_lines(&log), log });
        }
    }
    crate::report::note(&format!("started the daemon (pid {pid}, log {})", log.display()));
    Ok(true)
}

/// The log of the one before stays beside it.
fn new_log(path: &Path) -> io::Result<File> {
    match fs::rename(path, path.with_extension("log.1")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    File::create(path)
}

/// In the abstract namespace: nothing to take away. By a name that nobody can have
/// taken before.
fn notify_socket() -> io::Result<(UnixDatagram, String)> {
    let mut random = [0; 16];
    getrandom(&mut random, GetRandomFlags::empty())?;
    let name = format!("casemate-start-{:032x}", u128::from_ne_bytes(random));
    let socket = StdDatagram::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
    socket.set_nonblocking(true)?;
    Ok((UnixDatagram::from_std(socket)?, format!("@{name}")))
}

async fn until_ready(socket: &UnixDatagram) -> io::Result<()> {
    let mut message = [0; 4096];
    loop {
        let length = socket.recv(&mut message).await?;
        if message[..length].split(|byte| *byte == b'\n').any(|line| line == b"READY=1") {
            return Ok(());
        }
    }
}

fn last_lines(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LAST_LINES)..]
        .iter()
        .map(|line| format!("  {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}
