//! Filesystems in memory that were asked for, wherever the image's own links
//! say that their places are.

use std::ffi::CString;
use std::os::fd::{AsRawFd, BorrowedFd};

use casemate_model::{Tmpfs, TmpfsAttributes, TmpfsKey};
use casemate_tree::beneath::{Wanted, open_in, open_or_make};
use rustix::fs::{OFlags, fstat, fstatfs};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};

use crate::error::SetupStep;
use crate::report::{AtStep, StepError, StepResult};

/// `PROC_SUPER_MAGIC` of linux/magic.h.
const PROC_MAGIC: u64 = 0x9fa0;

/// Those near the root first, so that one does not cover another.
pub(crate) fn mount_all(root: BorrowedFd<'_>, all: &[Tmpfs]) -> StepResult<()> {
    let depth = |tmpfs: &&Tmpfs| tmpfs.path.split('/').filter(|part| !part.is_empty()).count();
    let mut sorted: Vec<&Tmpfs> = all.iter().collect();
    sorted.sort_by_key(depth);
    sorted.into_iter().try_for_each(|tmpfs| mount_one(root, tmpfs))
}

fn mount_one(root: BorrowedFd<'_>, tmpfs: &Tmpfs) -> StepResult<()> {
    let path = &tmpfs.path;
    // What is there lends its permissions.
    let mode = match open_in(root, path.as_bytes(), OFlags::PATH | OFlags::DIRECTORY) {
        Ok(found) => Some(fstat(&found).at(SetupStep::Mount, path)?.st_mode & 0o7777),
        Err(_) => None,
    };
    let target = open_or_make(root, path, Wanted::Directory).at(SetupStep::MakeDirectory, path)?;
    // What is masked there has to stay visible as what it is.
    if fstatfs(&target).at(SetupStep::Mount, path)?.f_type as u64 == PROC_MAGIC {
        return Err(StepError::new(SetupStep::Mount, format!("{path} inside /proc"), Errno::PERM));
    }
    let options = data(tmpfs, mode).at(SetupStep::Mount, path)?;
    let target = format!("/proc/self/fd/{}", target.as_raw_fd());
    mount(c"tmpfs", target, c"tmpfs", flags(tmpfs.attributes), Some(options.as_c_str())).at(SetupStep::Mount, path)
}

/// tmpfs's own options; a mode that is said comes later and counts.
pub(crate) fn data(tmpfs: &Tmpfs, mode: Option<u32>) -> Result<CString, Errno> {
    let given = tmpfs.parameters.iter().any(|(key, _)| *key == TmpfsKey::Mode);
    let mode = mode.filter(|_| !given).map(|mode| format!("mode={mode:o}"));
    let all: Vec<String> = mode.into_iter().chain(tmpfs.parameters()).collect();
    CString::new(all.join(",")).map_err(|_| Errno::INVAL)
}

pub(crate) fn flags(attributes: TmpfsAttributes) -> MountFlags {
    let TmpfsAttributes { read_only, nosuid, nodev, noexec, sync, dirsync, noatime, nodiratime, strictatime } =
        attributes;
    let mut flags = MountFlags::empty();
    for (is, flag) in [
        (read_only, MountFlags::RDONLY),
        (nosuid, MountFlags::NOSUID),
        (nodev, MountFlags::NODEV),
        (noexec, MountFlags::NOEXEC),
        (sync, MountFlags::SYNCHRONOUS),
        (dirsync, MountFlags::DIRSYNC),
        (noatime, MountFlags::NOATIME),
        (nodiratime, MountFlags::NODIRATIME),
        (strictatime, MountFlags::STRICTATIME),
    ] {
        flags.set(flag, is);
    }
    flags
}
