//! The end of a control group: kill, wait until it is empty, remove.

use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::CgroupError;
use super::file::{read, try_write};
use super::hierarchy::Hierarchies;
use crate::sys;

/// Killed processes are gone in milliseconds, unless one hangs in the kernel
/// (a dead network filesystem): then waiting longer does not help.
const DEADLINE: Duration = Duration::from_secs(10);

/// Without a unified tree nothing tells when a group that lists no process can
/// be removed; it is a matter of the kernel finishing an exit.
pub(crate) const V1_RETRY: Duration = Duration::from_millis(1);

/// The pids in a group's directory; none where there is no such directory.
pub(crate) fn pids(dir: &Path) -> Result<Vec<u32>, CgroupError> {
    let path = dir.join("cgroup.procs");
    match read(&path) {
        Ok(text) => Ok(text.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid != 0).collect()),
        Err(CgroupError::Io { source, .. }) if is_gone(&source) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// ENODEV is the kernel's answer for a file of a group that was just removed.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}

pub(crate) fn kill(unified: Option<&Path>, directories: &[PathBuf]) -> Result<(), CgroupError> {
    if let Some(dir) = unified
        && try_write(&dir.join("cgroup.kill"), "1").is_ok()
        && directories.len() == 1
    {
        return Ok(());
    }
    // A split kernel: a process may be on its way into the last hierarchies.
    for dir in directories {
        for (_, pidfd) in members(dir)? {
            ignore_gone(sys::send_signal(std::os::fd::AsFd::as_fd(&pidfd), libc::SIGKILL), dir)?;
        }
        // Version 1 lets nobody die who is frozen. Other hierarchies have no
        // such file.
        let _ = try_write(&dir.join("freezer.state"), "THAWED");
    }
    Ok(())
}

fn ignore_gone(result: Result<(), Errno>, dir: &Path) -> Result<(), CgroupError> {
    match result {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(errno) => Err(CgroupError::Io { operation: "kill in", path: dir.to_owned(), source: errno.into() }),
    }
}

/// The processes of a group, by handles that cannot come to mean another
/// process.
fn members(dir: &Path) -> Result<Vec<(u32, OwnedFd)>, CgroupError> {
    let mut found = Vec::new();
    for pid in pids(dir)? {
        let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { continue };
        match pidfd_open(raw, PidfdFlags::empty()) {
            Ok(pidfd) => found.push((pid, pidfd)),
            Err(Errno::SRCH) => {}
            Err(errno) => {
                return Err(CgroupError::Io {
                    operation: "watch a process of",
                    path: dir.to_owned(),
                    source: errno.into(),
                });
            }
        }
    }
    if found.is_empty() {
        return Ok(found);
    }
    // A pid that is still listed after it was opened was ours when it was.
    let still = pids(dir)?;
    found.retain(|(pid, _)| still.contains(pid));
    Ok(found)
}

pub(crate) fn destroy(unified: Option<&Path>, directories: &[PathBuf]) -> Result<(), CgroupError> {
    let deadline = Instant::now() + DEADLINE;
    let mut first = None;
    if let Err(error) = empty(unified, directories, deadline) {
        first = Some(error);
    }
    for dir in directories {
        if let Err(error) = remove(dir, deadline) {
            first = first.or(Some(error));
        }
        remove_empty_parents(dir);
    }
    first.map_or(Ok(()), Err)
}

/// Kills until nothing is left.
fn empty(unified: Option<&Path>, directories: &[PathBuf], deadline: Instant) -> Result<(), CgroupError> {
    kill(unified, directories)?;
    if let Some(dir) = unified {
        wait_unpopulated(dir, deadline)?;
    }
    if directories.len() == 1 && unified.is_some() {
        return Ok(());
    }
    for dir in directories {
        loop {
            let members = members(dir)?;
            if members.is_empty() {
                break;
            }
            for (_, pidfd) in members {
                ignore_gone(sys::send_signal(std::os::fd::AsFd::as_fd(&pidfd), libc::SIGKILL), dir)?;
                wait_for(&pidfd, PollFlags::IN, deadline, dir, || still_populated(dir))?;
            }
        }
    }
    Ok(())
}

/// Waits for the kernel's word that no process is in the group or below it.
fn wait_unpopulated(dir: &Path, deadline: Instant) -> Result<(), CgroupError> {
    let path = dir.join("cgroup.events");
    let failed = |source| CgroupError::Io { operation: "read", path: path.clone(), source };
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if is_gone(&error) => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    loop {
        let mut text = String::new();
        match file.rewind().and_then(|()| file.read_to_string(&mut text)) {
            Ok(_) if text.lines().any(|line| line == "populated 0") => return Ok(()),
            Ok(_) => wait_for(&file, PollFlags::PRI, deadline, dir, || still_populated(dir))?,
            Err(error) if is_gone(&error) => return Ok(()),
            Err(error) => return Err(failed(error)),
        }
    }
}

fn still_populated(dir: &Path) -> CgroupError {
    CgroupError::StillPopulated { path: dir.to_owned(), seconds: DEADLINE.as_secs() }
}

pub(crate) fn wait_for(
    fd: &impl std::os::fd::AsFd,
    event: PollFlags,
    deadline: Instant,
    dir: &Path,
    late: impl FnOnce() -> CgroupError,
) -> Result<(), CgroupError> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::new(fd, event)], Some(&timeout)) {
            Ok(0) => return Err(late()),
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => {
                return Err(CgroupError::Io { operation: "wait for", path: dir.to_owned(), source: errno.into() });
            }
        }
    }
}

/// Removes the group and those below it (a container with the rights to may
/// have made some).
fn remove(dir: &Path, deadline: Instant) -> Result<(), CgroupError> {
    loop {
        match fs::remove_dir(dir) {
            Ok(()) => return Ok(()),
            Err(error) if is_gone(&error) => return Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) && Instant::now() < deadline => {
                let mut children = 0;
                for child in fs::read_dir(dir).into_iter().flatten().flatten() {
                    if child.file_type().is_ok_and(|kind| kind.is_dir()) {
                        children += 1;
                        empty(None, &[child.path()], deadline)?;
                        remove(&child.path(), deadline)?;
                    }
                }
                if children == 0 {
                    std::thread::sleep(V1_RETRY);
                }
            }
            Err(source) => return Err(CgroupError::Io { operation: "remove", path: dir.to_owned(), source }),
        }
    }
}

/// The directories above are shared; whoever removes the last group takes them
/// along. The kernel refuses for one that is in use, and at the root.
fn remove_empty_parents(dir: &Path) {
    for parent in dir.ancestors().skip(1) {
        if !parent.parent().is_some_and(|above| above.join("cgroup.procs").exists()) || fs::remove_dir(parent).is_err()
        {
            return;
        }
    }
}

/// Takes back what a creation that failed had made: no process was ever in it.
pub(crate) fn remove_everywhere(hierarchies: &Hierarchies, path: &str) {
    let directories: Vec<PathBuf> = match hierarchies {
        Hierarchies::Unified(root) => vec![root.join(path)],
        Hierarchies::Split { v1, unified } => {
            v1.iter().map(|h| h.mount.join(path)).chain(unified.as_ref().map(|root| root.join(path))).collect()
        }
    };
    for dir in directories {
        let _ = fs::remove_dir(&dir);
        remove_empty_parents(&dir);
    }
}
