//! Paths that a container may not see, or not write.
//!
//! They are used as they are, see [`super::mounts`].

use rustix::fs::{StatVfsMountFlags, statvfs};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount, mount_bind, mount_bind_recursive, mount_remount};

use crate::error::SetupStep;
use crate::report::{AtStep, StepResult};

/// Files are covered by the null device, directories by an empty filesystem.
pub(crate) fn mask(paths: &[String]) -> StepResult<()> {
    for path in paths {
        let masked = match mount_bind(c"/dev/null", path.as_str()) {
            // Not on this kernel.
            Err(Errno::NOENT) => continue,
            Err(Errno::NOTDIR) => mount(c"tmpfs", path.as_str(), c"tmpfs", MountFlags::RDONLY, None),
            other => other,
        };
        masked.at(SetupStep::HidePath, path)?;
    }
    Ok(())
}

pub(crate) fn make_read_only(paths: &[String]) -> StepResult<()> {
    for path in paths {
        match mount_bind_recursive(path.as_str(), path.as_str()) {
            Err(Errno::NOENT) => continue,
            other => other.at(SetupStep::ProtectPath, path)?,
        }
        remount_read_only(path)?;
    }
    Ok(())
}

/// The root alone: what is mounted on it has its own say.
pub(crate) fn make_root_read_only() -> StepResult<()> {
    remount_read_only("/")
}

/// With the flags the mount has, which a remount would drop.
pub(super) fn remount_read_only(path: &str) -> StepResult<()> {
    let has = statvfs(path).at(SetupStep::ProtectPath, path)?.f_flag;
    let mut flags = MountFlags::BIND | MountFlags::RDONLY;
    for (present, flag) in [
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
        (StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
        (StatVfsMountFlags::NODIRATIME, MountFlags::NODIRATIME),
        (StatVfsMountFlags::RELATIME, MountFlags::RELATIME),
    ] {
        if has.contains(present) {
            flags |= flag;
        }
    }
    mount_remount(path, flags, c"").at(SetupStep::ProtectPath, path)
}
