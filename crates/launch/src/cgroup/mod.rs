//! The control group of one container: its limits, its accounts, and the one
//! handle that reaches every process in it.
//!
//! On a kernel with one unified tree this is a directory there; on a split one
//! it is a directory in each hierarchy of version 1, and one in the unified
//! tree where that exists (hybrid), for its `cgroup.kill` and for entering it
//! by clone.
//!
//! Failures are typed by what is missing (a controller nobody can give), what
//! was refused (a limit), and what did not happen in time (processes that do
//! not die).

mod devices;
mod error;
mod file;
mod freezer;
mod hierarchy;
mod removal;
mod settings;
mod stats;
mod support;
mod v1;
mod v2;

use std::cell::RefCell;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use casemate_model::{DeviceRule, LimitSupport, Limits};
use rustix::fs::{Mode, OFlags};

pub(crate) use devices::BpfInstruction;
pub use error::CgroupError;
pub use hierarchy::CgroupVersion;
pub(crate) use hierarchy::{Hierarchies, Hierarchy};
use settings::Change;
pub use stats::{CgroupStats, CpuUse, DiskUse, MemoryUse};

/// Two engines that make and remove the shared parent at the same time undo
/// each other's step; one of them wins soon.
const CREATE_ATTEMPTS: usize = 16;

/// How this kernel's control groups are set up.
pub fn cgroup_version() -> Result<CgroupVersion, CgroupError> {
    Hierarchies::of_this_kernel().map(|h| h.version())
}

/// Which limits this kernel can hold a container to.
pub fn limit_support() -> Result<LimitSupport, CgroupError> {
    Hierarchies::of_this_kernel().map(|h| h.limit_support())
}

/// One control group, made by [`Cgroup::create`]. Dropping it leaves it there:
/// it belongs to the container's life, not to this program's.
#[derive(Debug)]
pub struct Cgroup {
    groups: Groups,
    limits: RefCell<Limits>,
}

#[derive(Debug)]
enum Groups {
    V2(PathBuf),
    V1 { groups: Vec<v1::Group>, unified: Option<PathBuf> },
}

/// How a child gets into a control group.
#[derive(Debug)]
pub(crate) struct Entrance {
    /// A directory to clone into.
    pub(crate) unified: Option<OwnedFd>,
    /// Files that the child writes itself into.
    pub(crate) procs: Vec<OwnedFd>,
}

impl Cgroup {
    /// Makes the control group `path` (as `casemate/<id>`) in every hierarchy
    /// and sets its limits. Leaves nothing behind when it fails.
    ///
    /// Limits that this kernel does not know are passed over; whoever wants to
    /// warn of them asks [`limit_support`].
    pub fn create(path: &str, limits: &Limits) -> Result<Self, CgroupError> {
        let path = checked(path)?;
        let hierarchies = Hierarchies::of_this_kernel()?;
        let mut groups = Err(CgroupError::NotMounted);
        for _ in 0..CREATE_ATTEMPTS {
            groups = make(&hierarchies, path);
            match &groups {
                Err(CgroupError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                    removal::remove_everywhere(&hierarchies, path);
                }
                _ => break,
            }
        }
        let groups = match groups {
            Ok(groups) => groups,
            // Somebody else's: hands off.
            Err(error @ CgroupError::Exists { .. }) => return Err(error),
            Err(error) => {
                removal::remove_everywhere(&hierarchies, path);
                return Err(error);
            }
        };
        let cgroup = Self { groups, limits: RefCell::default() };
        match cgroup.update(limits) {
            Ok(()) => Ok(cgroup),
            Err(error) => {
                removal::remove_everywhere(&hierarchies, path);
                Err(error)
            }
        }
    }

    /// Sets these limits in place of those before. When one is refused, those
    /// before are set again.
    pub fn update(&self, limits: &Limits) -> Result<(), CgroupError> {
        let before = self.limits.borrow().clone();
        let mut limits = limits.clone();
        if limits != Limits::default() {
            limit_support()?.discard_unsupported(&mut limits);
        }
        if let Err(error) = self.set_limits(&Change::new(&before, &limits)) {
            // The first failure is the one to tell.
            let _ = self.set_limits(&Change::new(&limits, &before));
            return Err(error);
        }
        self.limits.replace(limits);
        Ok(())
    }

    fn set_limits(&self, change: &Change<'_>) -> Result<(), CgroupError> {
        match &self.groups {
            Groups::V2(dir) => v2::set_limits(dir, change),
            Groups::V1 { groups, .. } => v1::set_limits(groups, change),
        }
    }

    /// Refuses every device but the harmless ones, and those that the rules
    /// allow, to all processes in it.
    pub(crate) fn restrict_devices(&self, rules: &[DeviceRule]) -> Result<(), CgroupError> {
        let unified = match &self.groups {
            Groups::V1 { groups, .. } if v1::restrict_devices(groups, rules)? => return Ok(()),
            Groups::V1 { groups, unified: None } => return v1::find(groups, "devices").map(drop),
            Groups::V1 { unified: Some(dir), .. } | Groups::V2(dir) => dir,
        };
        devices::restrict_v2(unified, open_dir(unified)?.as_fd(), rules)
    }

    /// Has all its processes stand still, also those to come; returns when they
    /// do.
    pub fn freeze(&self) -> Result<(), CgroupError> {
        freezer::freeze(self.unified(), self.freezer())
    }

    pub fn thaw(&self) -> Result<(), CgroupError> {
        freezer::thaw(self.unified(), self.freezer())
    }

    fn freezer(&self) -> Option<&Path> {
        match &self.groups {
            Groups::V2(_) => None,
            Groups::V1 { groups, .. } => v1::find(groups, "freezer").ok().map(|group| group.dir.as_path()),
        }
    }

    /// Its directory in each hierarchy.
    pub fn directories(&self) -> Vec<PathBuf> {
        match &self.groups {
            Groups::V2(dir) => vec![dir.clone()],
            Groups::V1 { groups, unified } => groups.iter().map(|g| &g.dir).chain(unified).cloned().collect(),
        }
    }

    fn unified(&self) -> Option<&Path> {
        match &self.groups {
            Groups::V2(dir) => Some(dir),
            Groups::V1 { unified, .. } => unified.as_deref(),
        }
    }

    /// The groups of version 1 that a container is shown.
    pub(crate) fn split_groups(&self) -> Option<Vec<(&Hierarchy, &Path)>> {
        match &self.groups {
            Groups::V2(_) => None,
            Groups::V1 { groups, .. } => Some(groups.iter().map(|g| (&g.hierarchy, g.dir.as_path())).collect()),
        }
    }

    pub(crate) fn entrance(&self) -> Result<Entrance, CgroupError> {
        let unified = self.unified().map(open_dir).transpose()?;
        let procs = match &self.groups {
            Groups::V2(_) => Vec::new(),
            Groups::V1 { groups, .. } => {
                groups.iter().map(|g| open_procs(&g.dir)).collect::<Result<_, CgroupError>>()?
            }
        };
        Ok(Entrance { unified, procs })
    }

    /// The pids of its processes, as the caller's pid namespace has them.
    pub(crate) fn pids(&self) -> Result<Vec<u32>, CgroupError> {
        let directories = self.directories();
        removal::pids(directories.first().ok_or(CgroupError::NotMounted)?)
    }

    pub fn stats(&self) -> Result<CgroupStats, CgroupError> {
        let (cpu, memory, disks, pids) = match &self.groups {
            Groups::V2(dir) => (v2::cpu(dir)?, v2::memory(dir)?, v2::disks(dir)?, v2::pids(dir)?),
            Groups::V1 { groups, .. } => (v1::cpu(groups)?, v1::memory(groups)?, v1::disks(groups)?, v1::pids(groups)?),
        };
        Ok(CgroupStats { cpu, memory, disks, pids, limits: self.limits.borrow().clone() })
    }

    /// Whether the kernel killed one of its processes for want of memory.
    /// `false` also where the kernel does not count that.
    pub fn oom_killed(&self) -> bool {
        let kills = match &self.groups {
            Groups::V2(dir) => v2::oom_kills(dir),
            Groups::V1 { groups, .. } => v1::oom_kills(groups),
        };
        kills.is_ok_and(|kills| kills > 0)
    }

    /// Sends SIGKILL to all its processes, without waiting for their end.
    pub fn kill(&self) -> Result<(), CgroupError> {
        removal::kill(self.unified(), &self.directories())
    }

    /// Kills what is in it, waits until nothing is, and removes it. Tries all
    /// hierarchies and returns the first failure. Nothing to do is no failure.
    pub fn destroy(&self) -> Result<(), CgroupError> {
        removal::destroy(self.unified(), &self.directories())
    }
}

/// Kills and removes what is left of a control group whose keeper is gone.
pub(crate) fn destroy_by_path(path: &str) -> Result<(), CgroupError> {
    let (unified, directories) = places_of(path)?;
    removal::destroy(unified.as_deref(), &directories)
}

/// The pids in the control group of this path, which may be another program's.
pub fn pids_in(path: &str) -> Result<Vec<u32>, CgroupError> {
    let (_, directories) = places_of(path)?;
    removal::pids(directories.first().ok_or(CgroupError::NotMounted)?)
}

/// Where a control group of this path would be: in the unified hierarchy, and
/// in all.
fn places_of(path: &str) -> Result<(Option<PathBuf>, Vec<PathBuf>), CgroupError> {
    let path = checked(path)?;
    Ok(match Hierarchies::of_this_kernel()? {
        Hierarchies::Unified(root) => (Some(root.join(path)), vec![root.join(path)]),
        Hierarchies::Split { v1, unified } => {
            let unified = unified.map(|root| root.join(path));
            let directories = v1.iter().map(|h| h.mount.join(path)).chain(unified.clone()).collect();
            (unified, directories)
        }
    })
}

/// A path may name a group below the hierarchies' roots, and nothing else.
fn checked(path: &str) -> Result<&str, CgroupError> {
    let sound = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains(['\0', '\n']);
    if path.split('/').all(sound) { Ok(path) } else { Err(CgroupError::InvalidPath { path: path.to_owned() }) }
}

fn make(hierarchies: &Hierarchies, path: &str) -> Result<Groups, CgroupError> {
    match hierarchies {
        Hierarchies::Unified(root) => v2::make(root, path, true).map(Groups::V2),
        Hierarchies::Split { v1, unified } => {
            let groups: Vec<v1::Group> =
                v1.iter().map(|h| v1::Group { dir: h.mount.join(path), hierarchy: h.clone() }).collect();
            for (index, group) in groups.iter().enumerate() {
                group.make(path).map_err(|error| match error {
                    // Not the first: then the others are this container's own.
                    CgroupError::Exists { path } if index > 0 => stale(path),
                    error => error,
                })?;
            }
            let unified = unified.as_ref().map(|root| v2::make(root, path, false)).transpose();
            let unified = unified.map_err(|error| match error {
                CgroupError::Exists { path } => stale(path),
                error => error,
            })?;
            Ok(Groups::V1 { groups, unified })
        }
    }
}

/// A group that exists in some hierarchies only was left by a removal that was
/// cut short; it is reported as what it is, and taken away with the rest.
fn stale(path: PathBuf) -> CgroupError {
    CgroupError::Io { operation: "make", path, source: io::Error::from(io::ErrorKind::AlreadyExists) }
}

fn make_leaf(dir: &Path) -> Result<(), CgroupError> {
    fs::create_dir(dir).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => CgroupError::Exists { path: dir.to_owned() },
        _ => CgroupError::Io { operation: "make", path: dir.to_owned(), source },
    })
}

fn open_dir(dir: &Path) -> Result<OwnedFd, CgroupError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(dir, flags, Mode::empty()).map_err(|errno| CgroupError::Io {
        operation: "open",
        path: dir.to_owned(),
        source: errno.into(),
    })
}

fn open_procs(dir: &Path) -> Result<OwnedFd, CgroupError> {
    let path = dir.join("cgroup.procs");
    rustix::fs::open(&path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()).map_err(|errno| CgroupError::Io {
        operation: "open",
        path,
        source: errno.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_below_the_root() {
        assert!(checked("casemate/0123").is_ok());
        for bad in ["", "/", "/a", "a/", "a//b", "a/../b", ".", "a\0b", "a/.."] {
            assert!(matches!(checked(bad), Err(CgroupError::InvalidPath { .. })), "{bad:?}");
        }
    }
}
