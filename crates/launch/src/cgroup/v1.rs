//! Control groups of version 1: one directory per hierarchy.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use casemate_model::{Bytes, Limits};

use super::file::{read_keyed, read_number, write_if_there, write_limit, write_value};
use super::hierarchy::Hierarchy;
use super::{CPU_PERIOD_US, CgroupError, cpu_quota_us, devices, make_leaf};

/// A container's directory in one hierarchy.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) dir: PathBuf,
    pub(crate) hierarchy: Hierarchy,
}

impl Group {
    fn controls(&self, controller: &str) -> bool {
        self.hierarchy.controllers.iter().any(|c| c == controller)
    }

    /// Makes the directory and those above it.
    pub(crate) fn make(&self, path: &str) -> Result<(), CgroupError> {
        let mut dir = self.hierarchy.mount.clone();
        let components: Vec<&str> = path.split('/').collect();
        for (index, component) in components.iter().enumerate() {
            let parent = dir.clone();
            dir.push(component);
            if index + 1 == components.len() {
                make_leaf(&dir)?;
            } else if let Err(source) = fs::create_dir(&dir)
                && source.kind() != io::ErrorKind::AlreadyExists
            {
                return Err(CgroupError::Io { operation: "make", path: dir, source });
            }
            if self.controls("cpuset") {
                inherit_cpuset(&parent, &dir)?;
            }
        }
        Ok(())
    }
}

/// A new directory of the cpuset hierarchy names no processor and no memory
/// node, and takes no process until it does.
fn inherit_cpuset(parent: &Path, dir: &Path) -> Result<(), CgroupError> {
    for name in ["cpuset.cpus", "cpuset.mems"] {
        if super::file::read(&dir.join(name))?.trim().is_empty() {
            write_value(&dir.join(name), super::file::read(&parent.join(name))?.trim())?;
        }
    }
    Ok(())
}

pub(crate) fn find<'a>(groups: &'a [Group], controller: &'static str) -> Result<&'a Group, CgroupError> {
    groups.iter().find(|g| g.controls(controller)).ok_or_else(|| CgroupError::NoController {
        controller,
        path: groups.first().map_or_else(PathBuf::new, |g| g.dir.clone()),
    })
}

pub(crate) fn set_limits(groups: &[Group], limits: &Limits) -> Result<(), CgroupError> {
    if let Some(Bytes(bytes)) = limits.memory {
        let dir = &find(groups, "memory")?.dir;
        write_limit(&dir.join("memory.limit_in_bytes"), &bytes.to_string(), "memory")?;
        // Memory and swap together; Docker allows as much swap again.
        write_if_there(&dir.join("memory.memsw.limit_in_bytes"), &bytes.saturating_mul(2).to_string())?;
    }
    if let Some(cpus) = limits.cpus {
        let dir = &find(groups, "cpu")?.dir;
        write_limit(&dir.join("cpu.cfs_period_us"), &CPU_PERIOD_US.to_string(), "cpu")?;
        write_limit(&dir.join("cpu.cfs_quota_us"), &cpu_quota_us(cpus).to_string(), "cpu")?;
    }
    if let Some(pids) = limits.pids {
        let dir = &find(groups, "pids")?.dir;
        write_limit(&dir.join("pids.max"), &pids.to_string(), "pids")?;
    }
    Ok(())
}

/// `false` where this kernel has no such hierarchy.
pub(crate) fn restrict_devices(groups: &[Group]) -> Result<bool, CgroupError> {
    match groups.iter().find(|g| g.controls("devices")) {
        Some(group) => devices::restrict_v1(&group.dir).map(|()| true),
        None => Ok(false),
    }
}

pub(crate) fn memory_usage(groups: &[Group]) -> Result<u64, CgroupError> {
    let dir = &find(groups, "memory")?.dir;
    let cache = read_keyed(&dir.join("memory.stat"), "total_inactive_file")?.unwrap_or(0);
    Ok(read_number(&dir.join("memory.usage_in_bytes"))?.saturating_sub(cache))
}

pub(crate) fn cpu_ns(groups: &[Group]) -> Result<u64, CgroupError> {
    read_number(&find(groups, "cpuacct")?.dir.join("cpuacct.usage"))
}

pub(crate) fn pids(groups: &[Group]) -> Result<u64, CgroupError> {
    read_number(&find(groups, "pids")?.dir.join("pids.current"))
}

pub(crate) fn oom_kills(groups: &[Group]) -> Result<u64, CgroupError> {
    Ok(read_keyed(&find(groups, "memory")?.dir.join("memory.oom_control"), "oom_kill")?.unwrap_or(0))
}
