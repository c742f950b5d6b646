//! The files of `/etc` that are the engine's: they lie beside the root and are
//! bound over what the image has there, so that they are no part of what the
//! container wrote.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use casemate_tree::beneath::{Wanted, open_or_make};
use rustix::fs::CWD;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use crate::error::SetupStep;
use crate::report::{AtStep, StepResult};
use crate::sys;

/// The file's name in the container's directory, and where it appears.
pub(crate) const FILES: [(&str, &str); 3] =
    [("resolv.conf", "/etc/resolv.conf"), ("hostname", "/etc/hostname"), ("hosts", "/etc/hosts")];

/// Mounts that are not attached anywhere yet: taken before the host's files go
/// out of sight.
pub(crate) struct EtcMounts(Vec<(OwnedFd, &'static str)>);

impl EtcMounts {
    pub(crate) fn open(dir: &Path, read_only: bool) -> StepResult<Self> {
        let mut mounts = Vec::with_capacity(FILES.len());
        for (name, target) in FILES {
            let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
            let tree = open_tree(CWD, dir.join(name), flags).at(SetupStep::Mount, target)?;
            if read_only {
                sys::make_mount_read_only(tree.as_fd()).at(SetupStep::Mount, target)?;
            }
            mounts.push((tree, target));
        }
        Ok(Self(mounts))
    }

    /// Wherever the image's own links say that these files are.
    pub(crate) fn attach(self, root: BorrowedFd<'_>) -> StepResult<()> {
        self.0.into_iter().try_for_each(|(tree, path)| attach(root, tree.as_fd(), path))
    }
}

/// Shows a file that is mounted nowhere yet, at a path that is made if missing.
pub(crate) fn attach(root: BorrowedFd<'_>, file: BorrowedFd<'_>, path: &str) -> StepResult<()> {
    let target = open_or_make(root, path, Wanted::File).at(SetupStep::MakeFile, path)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(file, c"", &target, c"", flags).at(SetupStep::Mount, path)
}
