//! What a container sees of control groups: its own, read-only.

use std::ffi::CString;

use rustix::fs::{Mode, mkdir, symlink};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount_remount};

use super::mounts::{BARE, filesystem};
use crate::cgroup::Hierarchy;
use crate::error::SetupStep;
use crate::report::{AtStep, StepResult};

const TARGET: &str = "/sys/fs/cgroup";

/// The cgroup namespace makes the container's own group the root of each tree.
pub(crate) fn mount(hierarchies: Option<&[&Hierarchy]>) -> StepResult<()> {
    let flags = BARE | MountFlags::RDONLY;
    let Some(hierarchies) = hierarchies else {
        return filesystem(c"cgroup", TARGET, c"cgroup2", flags, None);
    };
    filesystem(c"tmpfs", TARGET, c"tmpfs", BARE, Some(c"mode=755"))?;
    for hierarchy in hierarchies {
        let Some(name) = hierarchy.mount.file_name().and_then(|name| name.to_str()) else { continue };
        let target = format!("{TARGET}/{name}");
        mkdir(&target, Mode::from_raw_mode(0o755)).at(SetupStep::MakeDirectory, &target)?;
        let options = CString::new(hierarchy.controllers.join(","));
        let options = options.map_err(|_| Errno::INVAL).at(SetupStep::Mount, &target)?;
        filesystem(c"cgroup", &target, c"cgroup", flags, Some(&options))?;
        // Programs look for a controller by its own name.
        for controller in hierarchy.controllers.iter().filter(|c| *c != name && !c.contains('=')) {
            let link = format!("{TARGET}/{controller}");
            match symlink(name, &link) {
                Err(Errno::EXIST) => {}
                other => other.at(SetupStep::MakeFile, &link)?,
            }
        }
    }
    mount_remount(TARGET, flags | MountFlags::BIND, c"").at(SetupStep::ProtectPath, TARGET)
}
