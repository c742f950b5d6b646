//! Children that work on a container's files, and the one that mounts its root.
//!
//! Mounts are made in a namespace that the child was cloned into and that goes
//! with it.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use casemate_model::UserSpec;
use casemate_tree::beneath::{join, resolve};
use casemate_tree::{Layers, MountPoint};
use rustix::fs::{CWD, Mode, OFlags, open};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit, umask};
use rustix::thread::{LinkNameSpaceType, ThreadNameSpaceType, move_into_link_name_space, move_into_thread_name_spaces};

use super::{FAILED, die_with_parent, etc, mounts, rootfs, set_oom_score, user};
use crate::cage::ChildFds;
use crate::error::{LaunchError, SetupStep};
use crate::place::Place;
use crate::report::{AtStep, StepResult};
use crate::sys;

/// Whose root is worked on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RootSource<'a> {
    Init(BorrowedFd<'a>),
    /// A mount namespace.
    Held(BorrowedFd<'a>),
}

impl RootSource<'_> {
    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Init(fd) | Self::Held(fd) => fd.as_fd(),
        }
    }

    fn enter(&self) -> Result<(), Errno> {
        match self {
            Self::Init(pidfd) => move_into_thread_name_spaces(*pidfd, ThreadNameSpaceType::MOUNT),
            Self::Held(namespace) => move_into_link_name_space(*namespace, Some(LinkNameSpaceType::Mount)),
        }
    }
}

/// The root of a container, mounted for whoever has this.
#[derive(Debug)]
pub struct ContainerRoot {
    directory: OwnedFd,
}

impl ContainerRoot {
    /// To be named only: everything in it is a stranger's.
    pub fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// User and group by the container's own accounts.
    pub fn owner(&self, user: &UserSpec) -> Result<(u32, u32), LaunchError> {
        let identity = user::look_up(self.directory.as_fd(), user, &[]).map_err(LaunchError::from)?;
        Ok((identity.uid, identity.gid))
    }
}

#[derive(Debug)]
pub(crate) struct FilesJob<'a> {
    pub(crate) place: &'a Place,
    pub(crate) source: RootSource<'a>,
    /// Show the engine's files in `/etc`, and whether read-only.
    pub(crate) etc: Option<bool>,
    pub(crate) fds: ChildFds<'a>,
}

impl FilesJob<'_> {
    pub(crate) fn run(self, job: impl FnOnce(Result<ContainerRoot, LaunchError>)) -> ! {
        let mut keep = self.fds.descriptors();
        keep.push(self.source.fd().as_raw_fd());
        run(keep, || job(self.open().map_err(LaunchError::from)))
    }

    fn open(&self) -> StepResult<ContainerRoot> {
        prepare(self.fds.report)?;
        let etc_files = self.etc.map(|read_only| etc::EtcMounts::open(&self.place.dir, read_only)).transpose()?;
        let own = open(c"/proc/self/ns/mnt", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        let own = own.at(SetupStep::Prepare, "the way back")?;
        self.source.enter().at(SetupStep::JoinContainer, "the container")?;
        // Without what is mounted on it.
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree = open_tree(CWD, c"/", flags).at(SetupStep::Mount, "the root")?;
        sys::make_mount_inert(tree.as_fd()).at(SetupStep::Mount, "the root")?;
        move_into_link_name_space(own.as_fd(), Some(LinkNameSpaceType::Mount)).at(SetupStep::Prepare, "to return")?;
        if let Some(etc_files) = etc_files {
            // Only what is mounted somewhere can be mounted on.
            let target = self.place.dir.join("rootfs");
            move_mount(&tree, c"", CWD, &target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
                .at(SetupStep::Mount, &target.display().to_string())?;
            etc_files.attach(tree.as_fd())?;
        }
        Ok(ContainerRoot { directory: tree })
    }
}

#[derive(Debug)]
pub(crate) struct LayersJob<'a> {
    pub(crate) place: &'a Place,
    pub(crate) fds: ChildFds<'a>,
}

impl LayersJob<'_> {
    pub(crate) fn run(self, job: impl FnOnce(Result<Layers, LaunchError>)) -> ! {
        run(self.fds.descriptors(), || job(self.open().map_err(LaunchError::from)))
    }

    fn open(&self) -> StepResult<Layers> {
        prepare(self.fds.report)?;
        let Place { dir, lowers, upper, .. } = self.place;
        let lower = match lowers.as_slice() {
            // Overlayfs wants more than one.
            [lower] => directory(lower)?,
            _ => {
                let target = dir.join("rootfs");
                rootfs::mount_lowers(lowers, &target)?;
                directory(&target)?
            }
        };
        let mount_points = mount_points(lower.as_fd())?;
        Ok(Layers { upper: directory(upper)?, lower, mount_points })
    }
}

fn directory(path: &Path) -> StepResult<OwnedFd> {
    open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .at(SetupStep::OpenLayer, &path.display().to_string())
}

/// What an init makes in its root where the image has nothing of that name.
fn mount_points(lower: BorrowedFd<'_>) -> StepResult<Vec<MountPoint>> {
    let mut points: Vec<MountPoint> =
        mounts::TARGETS.iter().map(|name| MountPoint { path: name.as_bytes().to_vec(), is_directory: true }).collect();
    for (_, path) in etc::FILES {
        // Where the image's links say that it is.
        let names = resolve(lower, path.as_bytes()).at(SetupStep::OpenLayer, path)?;
        points.push(MountPoint { path: join(&names), is_directory: false });
    }
    Ok(points)
}

/// Mounts a container's root and leaves it to whoever holds the namespace.
#[derive(Debug)]
pub(crate) struct HoldJob<'a> {
    pub(crate) place: &'a Place,
    pub(crate) report: OwnedFd,
    /// At its end when the namespace is held.
    pub(crate) release: OwnedFd,
}

impl HoldJob<'_> {
    /// The report of one that did it.
    pub(crate) const DONE: &'static [u8] = b".";

    pub(crate) fn run(self) -> ! {
        let Self { place, report, release } = self;
        run(vec![report.as_raw_fd(), release.as_raw_fd()], move || {
            let mounted = prepare(report.as_fd()).and_then(|()| rootfs::enter(place, false));
            let record = mounted.map_or_else(|error| error.to_record(), |()| Self::DONE.to_vec());
            // A parent that is gone does not need it.
            let _ = rustix::io::write(&report, &record);
            // The report is whole when it has no writer any more.
            drop(report);
            let _ = rustix::io::read(&release, &mut [0]);
        })
    }
}

/// Runs a child to its end. Of the parent's descriptors it has those in `keep`.
fn run(mut keep: Vec<RawFd>, job: impl FnOnce()) -> ! {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        // First of all: a descriptor of the keeper's in here is one too many.
        if sys::close_others(&mut keep).is_ok() {
            sys::reset_signals();
            job();
            return 0;
        }
        FAILED
    }));
    sys::exit_child(outcome.unwrap_or(FAILED))
}

fn prepare(report: BorrowedFd<'_>) -> StepResult<()> {
    die_with_parent(report)?;
    set_oom_score(0)?;
    // Files get exactly the modes they are made with.
    umask(Mode::empty());
    // A descriptor is held for each directory on the way.
    let limit = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    raised.at(SetupStep::SetLimit, "nofile")?;
    rootfs::make_private()
}
