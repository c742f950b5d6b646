//! What a container sees of control groups: its own, read-only unless it is
//! privileged.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, Mode, mkdir, symlink};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MoveMountFlags, OpenTreeFlags, mount_remount, move_mount, open_tree};

use super::hide::remount_read_only;
use super::mounts::{BARE, filesystem};
use crate::cgroup::Hierarchy;
use crate::error::SetupStep;
use crate::report::{AtStep, StepResult};

const TARGET: &str = "/sys/fs/cgroup";

/// How the container's groups come into its sight.
pub(crate) enum View<'a> {
    /// One tree. With a cgroup namespace of its own the container sees its
    /// group as the root; otherwise all of the tree, as with runc.
    Unified,
    /// One tree for each set of controllers, the container's group the root of
    /// each by its namespace.
    Split(Vec<&'a Hierarchy>),
    /// The same without a namespace: the groups' directories, bound.
    Bound(Vec<(&'a Hierarchy, OwnedFd)>),
}

impl<'a> View<'a> {
    /// Taken before the host's mounts go out of sight.
    pub(crate) fn open(groups: Option<&[(&'a Hierarchy, &Path)]>, own_namespace: bool) -> StepResult<Self> {
        let Some(groups) = groups else { return Ok(Self::Unified) };
        if own_namespace {
            return Ok(Self::Split(groups.iter().map(|(hierarchy, _)| *hierarchy).collect()));
        }
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let bind = |(hierarchy, dir): &(&'a Hierarchy, &Path)| {
            let tree = open_tree(CWD, *dir, flags).at(SetupStep::Mount, TARGET)?;
            Ok((*hierarchy, tree))
        };
        groups.iter().map(bind).collect::<StepResult<_>>().map(Self::Bound)
    }

    pub(crate) fn mount(self, writable: bool) -> StepResult<()> {
        let flags = if writable { BARE } else { BARE | MountFlags::RDONLY };
        match self {
            Self::Unified => return filesystem(c"cgroup", TARGET, c"cgroup2", flags, None),
            Self::Split(hierarchies) => {
                filesystem(c"tmpfs", TARGET, c"tmpfs", BARE, Some(c"mode=755"))?;
                for hierarchy in hierarchies {
                    let Some(target) = place_of(hierarchy)? else { continue };
                    let options = CString::new(hierarchy.controllers.join(","));
                    let options = options.map_err(|_| Errno::INVAL).at(SetupStep::Mount, &target)?;
                    filesystem(c"cgroup", &target, c"cgroup", flags, Some(&options))?;
                }
            }
            Self::Bound(trees) => {
                filesystem(c"tmpfs", TARGET, c"tmpfs", BARE, Some(c"mode=755"))?;
                for (hierarchy, tree) in trees {
                    let Some(target) = place_of(hierarchy)? else { continue };
                    let empty_path = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
                    move_mount(&tree, c"", CWD, target.as_str(), empty_path).at(SetupStep::Mount, &target)?;
                    if !writable {
                        remount_read_only(&target)?;
                    }
                }
            }
        }
        if writable {
            return Ok(());
        }
        mount_remount(TARGET, flags | MountFlags::BIND, c"").at(SetupStep::ProtectPath, TARGET)
    }
}

/// A directory for a hierarchy, named as on the host, and links by which
/// programs look for its controllers.
fn place_of(hierarchy: &Hierarchy) -> StepResult<Option<String>> {
    let Some(name) = hierarchy.mount.file_name().and_then(|name| name.to_str()) else { return Ok(None) };
    let target = format!("{TARGET}/{name}");
    mkdir(&target, Mode::from_raw_mode(0o755)).at(SetupStep::MakeDirectory, &target)?;
    for controller in hierarchy.controllers.iter().filter(|c| *c != name && !c.contains('=')) {
        let link = format!("{TARGET}/{controller}");
        match symlink(name, &link) {
            Err(Errno::EXIST) => {}
            other => other.at(SetupStep::MakeFile, &link)?,
        }
    }
    Ok(Some(target))
}
