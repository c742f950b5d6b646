//! Control groups of version 1: one directory per hierarchy.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use casemate_model::{Bytes, CpuQuota, DeviceRule};

use super::file::{
    keyed, number_if_there, read, read_if_there, read_keyed, read_number, try_write, write_if_there, write_limit,
    write_value,
};
use super::hierarchy::Hierarchy;
use super::settings::{Change, Setting};
use super::stats::{self, CpuUse, DiskUse, MemoryUse};
use super::{CgroupError, devices, make_leaf};

/// What each version-1 controller has where nobody set anything else.
const DEFAULT_SHARES: u64 = 1024;
const DEFAULT_WEIGHT: u16 = 500;
const DEFAULT_BFQ_WEIGHT: u16 = 100;

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

pub(crate) fn set_limits(groups: &[Group], change: &Change<'_>) -> Result<(), CgroupError> {
    set_memory(groups, change)?;
    set_cpu(groups, change)?;
    if let Some(pids) = change.of(|limits| limits.pids) {
        let dir = &find(groups, "pids")?.dir;
        write_limit(&dir.join("pids.max"), &pids.text(|n| n.to_string(), "max"), "pids")?;
    }
    if let Some(weight) = change.of(|limits| limits.blkio_weight) {
        let dir = &find(groups, "blkio")?.dir;
        let write =
            |file, default: u16| try_write(&dir.join(file), &weight.text(|w| w.to_string(), &default.to_string()));
        // Neither is there where no scheduler weighs.
        if write("blkio.weight", DEFAULT_WEIGHT).is_err() {
            write_if_there(
                &dir.join("blkio.bfq.weight"),
                &weight.text(|w| w.to_string(), &DEFAULT_BFQ_WEIGHT.to_string()),
            )?;
        }
    }
    Ok(())
}

fn set_memory(groups: &[Group], change: &Change<'_>) -> Result<(), CgroupError> {
    let (memory, both) = (change.memory(), change.memory_and_swap());
    if memory.is_some() || both.is_some() {
        let dir = &find(groups, "memory")?.dir;
        let set = |file: &str, setting: Option<Setting<u64>>| match setting {
            Some(setting) => write_limit(&dir.join(file), &setting.text(|n| n.to_string(), "-1"), "memory"),
            None => Ok(()),
        };
        let set_memory = || set("memory.limit_in_bytes", memory);
        // Kernels that do not count swap have no such file.
        let set_both = || match set("memory.memsw.limit_in_bytes", both) {
            Err(CgroupError::NoController { .. }) => Ok(()),
            other => other,
        };
        // The kernel wants the sum to be the greater of the two at any time.
        let now = read_number(&dir.join("memory.limit_in_bytes"))?;
        let grows = match both {
            Some(Setting::To(both)) => both > now,
            Some(Setting::None) => true,
            None => false,
        };
        if grows {
            set_both().and_then(|()| set_memory())?;
        } else {
            set_memory().and_then(|()| set_both())?;
        }
    }
    if let Some(reservation) = change.reservation() {
        let dir = &find(groups, "memory")?.dir;
        let value = reservation.text(|n| n.to_string(), "-1");
        write_limit(&dir.join("memory.soft_limit_in_bytes"), &value, "memory")?;
    }
    if let Some(Setting::To(swappiness)) = change.of(|limits| limits.memory_swappiness) {
        let dir = &find(groups, "memory")?.dir;
        write_limit(&dir.join("memory.swappiness"), &swappiness.to_string(), "memory")?;
    }
    if let Some(disable) = change.oom_kill_disable() {
        let dir = &find(groups, "memory")?.dir;
        write_limit(&dir.join("memory.oom_control"), if disable { "1" } else { "0" }, "memory")?;
    }
    Ok(())
}

fn set_cpu(groups: &[Group], change: &Change<'_>) -> Result<(), CgroupError> {
    if let Some(quota) = change.cpu_quota() {
        let dir = &find(groups, "cpu")?.dir;
        let (quota, period) = match quota {
            Setting::To(CpuQuota { quota_us, period_us }) => (quota_us, period_us),
            Setting::None => (None, CpuQuota::PERIOD_US),
        };
        // A new period must not meet a quota that is too large or small for it.
        write_limit(&dir.join("cpu.cfs_quota_us"), "-1", "cpu")?;
        write_limit(&dir.join("cpu.cfs_period_us"), &period.to_string(), "cpu")?;
        if let Some(quota) = quota {
            write_limit(&dir.join("cpu.cfs_quota_us"), &quota.to_string(), "cpu")?;
        }
    }
    if let Some(shares) = change.of(|limits| limits.cpu_shares) {
        let dir = &find(groups, "cpu")?.dir;
        let value = shares.text(|n| n.to_string(), &DEFAULT_SHARES.to_string());
        write_limit(&dir.join("cpu.shares"), &value, "cpu")?;
    }
    for (file, list) in [
        ("cpuset.cpus", change.of(|limits| limits.cpuset_cpus.clone())),
        ("cpuset.mems", change.of(|limits| limits.cpuset_mems.clone())),
    ] {
        let Some(list) = list else { continue };
        let dir = &find(groups, "cpuset")?.dir;
        let all = || read(&dir.parent().unwrap_or(dir).join(file));
        let value = match list {
            Setting::To(list) => list.to_string(),
            Setting::None => all()?.trim().to_owned(),
        };
        write_limit(&dir.join(file), &value, "cpuset")?;
    }
    Ok(())
}

/// `false` where this kernel has no such hierarchy.
pub(crate) fn restrict_devices(groups: &[Group], rules: &[DeviceRule]) -> Result<bool, CgroupError> {
    match groups.iter().find(|g| g.controls("devices")) {
        Some(group) => devices::restrict_v1(&group.dir, rules).map(|()| true),
        None => Ok(false),
    }
}

pub(crate) fn cpu(groups: &[Group]) -> Result<CpuUse, CgroupError> {
    let accounts = &find(groups, "cpuacct")?.dir;
    let quota = match find(groups, "cpu") {
        Ok(group) => read_if_there(&group.dir.join("cpu.stat"))?.unwrap_or_default(),
        Err(_) => String::new(),
    };
    let number = |key| keyed(&quota, key).unwrap_or(0);
    Ok(CpuUse {
        total_ns: read_number(&accounts.join("cpuacct.usage"))?,
        user_ns: number_if_there(&accounts.join("cpuacct.usage_user"))?.unwrap_or(0),
        system_ns: number_if_there(&accounts.join("cpuacct.usage_sys"))?.unwrap_or(0),
        periods: number("nr_periods"),
        throttled_periods: number("nr_throttled"),
        throttled_ns: number("throttled_time"),
    })
}

pub(crate) fn memory(groups: &[Group]) -> Result<MemoryUse, CgroupError> {
    let dir = &find(groups, "memory")?.dir;
    Ok(MemoryUse {
        usage: Bytes(read_number(&dir.join("memory.usage_in_bytes"))?),
        max_usage: number_if_there(&dir.join("memory.max_usage_in_bytes"))?.map(Bytes),
        failures: number_if_there(&dir.join("memory.failcnt"))?.unwrap_or(0),
        detail: stats::lines(&read(&dir.join("memory.stat"))?),
    })
}

/// The scheduler counts what it served; where none does, the throttling layer
/// counts what passed through.
pub(crate) fn disks(groups: &[Group]) -> Result<Vec<DiskUse>, CgroupError> {
    let Ok(group) = find(groups, "blkio") else { return Ok(Vec::new()) };
    let mut disks = Vec::new();
    for counter in ["bfq", "throttle"] {
        let file = |what: &str| group.dir.join(format!("blkio.{counter}.io_{what}_recursive"));
        let (bytes, operations) = (read_if_there(&file("service_bytes"))?, read_if_there(&file("serviced"))?);
        disks = stats::split_disks(&bytes.unwrap_or_default(), &operations.unwrap_or_default());
        if !disks.is_empty() {
            break;
        }
    }
    Ok(disks)
}

pub(crate) fn pids(groups: &[Group]) -> Result<u64, CgroupError> {
    match find(groups, "pids") {
        Ok(group) => read_number(&group.dir.join("pids.current")),
        Err(_) => Ok(0),
    }
}

pub(crate) fn oom_kills(groups: &[Group]) -> Result<u64, CgroupError> {
    Ok(read_keyed(&find(groups, "memory")?.dir.join("memory.oom_control"), "oom_kill")?.unwrap_or(0))
}
