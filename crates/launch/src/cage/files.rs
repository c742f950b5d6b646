//! Work on a container's files, done by a child on mounts of its own.
//!
//! ```text
//!   not to be started: hold_root ──▶ (root mounted, nobody in it) ─┐
//!   started:           start ──────▶ (the init's mounts) ──────────┴─ with_root ──▶ child
//!   either:            with_layers ──▶ child
//! ```
//!
//! What a child sees is the container's root as Docker's copies see it: without
//! what the container has mounted there but for the engine's files in `/etc`.
//! The child stands on this program's side: in none of the container's
//! namespaces while it works, and in none of its control groups. It is killed
//! with its [`Child`], and its mounts go with it.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use casemate_model::Container;
use casemate_tree::Layers;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use super::{Cage, clone_failed};
use crate::child::{ContainerRoot, FilesJob, HoldJob, LayersJob, RootSource};
use crate::error::LaunchError;
use crate::report;
use crate::starting::{Child, read_report};
use crate::sys::{self, Cloned};

/// What a child that works on files may use of this program's.
#[derive(Clone, Copy, Debug)]
pub struct ChildFds<'a> {
    /// Closed by the child's end, and not before; the child does not outlive
    /// whoever reads it.
    pub report: BorrowedFd<'a>,
    /// What is read or written.
    pub data: BorrowedFd<'a>,
}

impl ChildFds<'_> {
    pub(crate) fn descriptors(&self) -> Vec<RawFd> {
        vec![self.report.as_raw_fd(), self.data.as_raw_fd()]
    }
}

impl Cage {
    /// Mounts the root of a container that is not going to be started, and keeps
    /// it mounted until the container is destroyed. Waits for the mount.
    pub fn hold_root(&self) -> Result<(), LaunchError> {
        if self.init.started.get() || self.held_root.get().is_some() {
            return Err(LaunchError::AlreadyStarted);
        }
        let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(LaunchError::host("make pipes"));
        let ((report, child_report), (child_release, release)) = (pipe()?, pipe()?);
        match sys::clone_process(libc::CLONE_NEWNS as u64, None).map_err(clone_failed)? {
            Cloned::Child => HoldJob { place: &self.place, report: child_report, release: child_release }.run(),
            Cloned::Parent { pid, pidfd } => {
                drop((child_report, child_release));
                // Dropped, it is killed.
                let mut child = Child::without_streams(pid, pidfd);
                let record = read_report(&report).map_err(LaunchError::host("read a child's report"))?;
                if record != HoldJob::DONE {
                    return Err(if record.is_empty() { LaunchError::DiedInSetup } else { report::read(&record) });
                }
                let path = format!("/proc/{pid}/ns/mnt");
                let namespace = File::open(&path).map_err(|source| LaunchError::File {
                    operation: "open",
                    path: path.into(),
                    source,
                })?;
                // Not set before.
                let _ = self.held_root.set(namespace.into());
                drop(release);
                child.wait().map_err(|source| LaunchError::Host {
                    operation: "wait for a child",
                    source: Errno::from_io_error(&source).unwrap_or(Errno::IO).into(),
                })?;
                Ok(())
            }
        }
    }

    /// Has a child do the job on the container's root. The container is running,
    /// or its root is held. With `etc` the child sees the engine's files there.
    pub fn with_root(
        &self,
        etc: bool,
        fds: ChildFds<'_>,
        job: impl FnOnce(Result<ContainerRoot, LaunchError>),
    ) -> Result<Child, LaunchError> {
        let source = match self.held_root.get() {
            Some(namespace) => RootSource::Held(namespace.as_fd()),
            None => RootSource::Init(self.init.alive()?),
        };
        match sys::clone_process(libc::CLONE_NEWNS as u64, None).map_err(clone_failed)? {
            Cloned::Child => {
                let etc = etc.then_some(self.container.read_only);
                FilesJob { place: &self.place, source, etc, fds }.run(job)
            }
            Cloned::Parent { pid, pidfd } => Ok(Child::without_streams(pid, pidfd)),
        }
    }

    /// Has a child do the job on what the container wrote, beside what it was
    /// based on.
    pub fn with_layers(
        &self,
        fds: ChildFds<'_>,
        job: impl FnOnce(Result<Layers, LaunchError>),
    ) -> Result<Child, LaunchError> {
        match sys::clone_process(libc::CLONE_NEWNS as u64, None).map_err(clone_failed)? {
            Cloned::Child => LayersJob { place: &self.place, fds }.run(job),
            Cloned::Parent { pid, pidfd } => Ok(Child::without_streams(pid, pidfd)),
        }
    }

    /// The container whose files these are.
    pub fn container(&self) -> &Container {
        &self.container
    }
}
