//! `casemate daemon`: the Docker Engine API on a socket.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;

use casemate_api::HostFacts;
use casemate_engine::{Daemon, Settings};
use rustix::fs::{FlockOperation, flock};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::DaemonArgs;
use crate::report::CliError;

/// The socket's group, as dockerd's is `docker`.
const GROUP: &str = "casemate";

pub(crate) async fn run(settings: Settings, args: DaemonArgs) -> Result<ExitCode, CliError> {
    let run_dir = settings.run.clone();
    let path = args.host.as_deref().map_or_else(|| Ok(run_dir.join("docker.sock")), socket_path)?;
    let facts = Rc::new(facts(&settings));
    let daemon = Daemon::open(settings).await?;
    let _alone = alone(daemon.engine().layout().root())?;
    let listener = bind(&path, args.group.as_deref())?;
    tracing::info!(socket = %path.display(), "API listens");
    let ended = ended();
    tokio::select! {
        _ = casemate_api::serve(Rc::clone(&daemon), facts, listener) => {}
        () = ended => tracing::info!("stopping; containers go on"),
    }
    if let Err(error) = fs::remove_file(&path) {
        tracing::warn!(path = %path.display(), %error, "socket left behind");
    }
    Ok(ExitCode::SUCCESS)
}

/// SIGTERM or ctrl-C.
async fn ended() {
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}

fn socket_path(host: &str) -> Result<PathBuf, CliError> {
    match host.strip_prefix("unix://") {
        Some(path) if path.starts_with('/') => Ok(path.into()),
        _ => Err(CliError::Host(host.to_owned())),
    }
}

/// One daemon on one root; the kernel lets go of the lock with the process.
fn alone(root: &Path) -> Result<fs::File, CliError> {
    let path = root.join("daemon.lock");
    let failed = |source| CliError::Write { what: path.display().to_string(), source };
    let file = fs::OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(CliError::AnotherDaemon(root.to_owned())),
        Err(error) => Err(failed(error.into())),
    }
}

/// For root and the group, if there is such a group.
fn bind(path: &Path, group: Option<&str>) -> Result<UnixListener, CliError> {
    let failed = |source| CliError::Write { what: path.display().to_string(), source };
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    // Of a daemon that was killed: this one holds the lock.
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => fs::remove_file(path).map_err(failed)?,
        Ok(_) => return Err(failed(io::Error::from(io::ErrorKind::AlreadyExists))),
        Err(_) => {}
    }
    let gid = match (group, group_id(group.unwrap_or(GROUP))) {
        (Some(group), None) => return Err(CliError::Group(group.to_owned())),
        (_, gid) => gid,
    };
    // Nobody gets in before it belongs to whom it should.
    let before = rustix::process::umask(rustix::fs::Mode::from_bits_truncate(0o177));
    let bound = UnixListener::bind(path);
    rustix::process::umask(before);
    let listener = bound.map_err(failed)?;
    if let Some(gid) = gid {
        chown(path, Some(0), Some(gid)).map_err(failed)?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o660)).map_err(failed)?;
    Ok(listener)
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

fn facts(settings: &Settings) -> HostFacts {
    let (accelerator, accelerator_reason) = match super::doctor::accelerator(settings) {
        Ok(detected) => (Some(detected.accelerator.to_string()), detected.why),
        Err(problem) => (None, problem),
    };
    let capacity = casemate_vm::HostCapacity::read().ok();
    let uname = rustix::system::uname();
    let os = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let os = os.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or("Linux").trim_matches('"');
    HostFacts {
        machine_id: fs::read_to_string("/etc/machine-id").unwrap_or_default().trim().to_owned(),
        host_name: uname.nodename().to_string_lossy().into_owned(),
        kernel: uname.release().to_string_lossy().into_owned(),
        operating_system: os.to_owned(),
        cgroup_version: match super::doctor::cgroup() {
            Ok(version) if version == "2" => version,
            _ => "1".to_owned(),
        },
        cpus: capacity.as_ref().map_or(0, |capacity| capacity.cpus),
        memory: capacity.map_or(0, |capacity| capacity.memory.0),
        accelerator,
        accelerator_reason,
        qemu: super::doctor::qemu(settings).ok(),
    }
}
