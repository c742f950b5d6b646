//! A control group in the unified tree.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use casemate_model::{Bytes, CpuQuota};

use super::file::{
    keyed, number_if_there, read, read_if_there, read_keyed, read_number, try_write, write_if_there, write_limit,
};
use super::settings::{Change, Setting};
use super::stats::{self, CpuUse, DiskUse, MemoryUse};
use super::{CgroupError, make_leaf};

/// What containers are limited and measured in. Others are had when somebody
/// asks for what they limit.
const CONTROLLERS: [&str; 4] = ["cpu", "memory", "pids", "io"];

/// What a group has where nobody set anything else.
const DEFAULT_WEIGHT: u64 = 100;

/// Makes the directory of `path` below `root`, and those above it; with
/// `controllers`, each hands them down to the next.
pub(crate) fn make(root: &Path, path: &str, controllers: bool) -> Result<PathBuf, CgroupError> {
    let mut dir = root.to_owned();
    let components: Vec<&str> = path.split('/').collect();
    for (index, component) in components.iter().enumerate() {
        if controllers {
            enable(&dir, &CONTROLLERS);
        }
        dir.push(component);
        if index + 1 == components.len() {
            make_leaf(&dir)?;
        } else if let Err(source) = fs::create_dir(&dir)
            && source.kind() != io::ErrorKind::AlreadyExists
        {
            return Err(CgroupError::Io { operation: "make", path: dir, source });
        }
    }
    Ok(dir)
}

/// A controller that cannot be had is no error before somebody needs it: then
/// its files are missing (see [`write_limit`]).
fn enable(dir: &Path, controllers: &[&str]) {
    let file = dir.join("cgroup.subtree_control");
    let each = |controller: &&str| format!("+{controller}");
    if try_write(&file, &controllers.iter().map(each).collect::<Vec<_>>().join(" ")).is_err() {
        // All or nothing in one write; each alone gives what there is.
        for controller in controllers {
            let _ = try_write(&file, &each(controller));
        }
    }
}

/// Has all groups above this one hand a controller down to it.
fn require(dir: &Path, controller: &'static str) {
    let above: Vec<&Path> = dir.ancestors().skip(1).take_while(|d| d.join("cgroup.subtree_control").exists()).collect();
    above.into_iter().rev().for_each(|dir| enable(dir, &[controller]));
}

pub(crate) fn set_limits(dir: &Path, change: &Change<'_>) -> Result<(), CgroupError> {
    set_memory(dir, change)?;
    set_cpu(dir, change)?;
    if let Some(pids) = change.of(|limits| limits.pids) {
        write_limit(&dir.join("pids.max"), &pids.text(|n| n.to_string(), "max"), "pids")?;
    }
    if let Some(weight) = change.of(|limits| limits.blkio_weight) {
        let bfq = weight.text(|w| w.to_string(), &DEFAULT_WEIGHT.to_string());
        // Neither is there where nobody weighs.
        if try_write(&dir.join("io.bfq.weight"), &bfq).is_err() {
            let value = weight.text(|w| io_weight(w).to_string(), &DEFAULT_WEIGHT.to_string());
            write_if_there(&dir.join("io.weight"), &value)?;
        }
    }
    Ok(())
}

fn set_memory(dir: &Path, change: &Change<'_>) -> Result<(), CgroupError> {
    if let Some(memory) = change.memory() {
        write_limit(&dir.join("memory.max"), &memory.text(|n| n.to_string(), "max"), "memory")?;
    }
    if let Some(swap) = change.swap() {
        // Kernels without swap have no such file.
        write_if_there(&dir.join("memory.swap.max"), &swap.text(|n| n.to_string(), "max"))?;
    }
    if let Some(reservation) = change.reservation() {
        write_limit(&dir.join("memory.low"), &reservation.text(|n| n.to_string(), "0"), "memory")?;
    }
    Ok(())
}

fn set_cpu(dir: &Path, change: &Change<'_>) -> Result<(), CgroupError> {
    if let Some(quota) = change.cpu_quota() {
        let (quota, period) = match quota {
            Setting::To(CpuQuota { quota_us, period_us }) => (quota_us, period_us),
            Setting::None => (None, CpuQuota::PERIOD_US),
        };
        let quota = quota.map_or("max".to_owned(), |quota| quota.to_string());
        write_limit(&dir.join("cpu.max"), &format!("{quota} {period}"), "cpu")?;
    }
    if let Some(shares) = change.of(|limits| limits.cpu_shares) {
        let value = shares.text(|shares| cpu_weight(shares).to_string(), &DEFAULT_WEIGHT.to_string());
        write_limit(&dir.join("cpu.weight"), &value, "cpu")?;
    }
    for (file, list) in [
        ("cpuset.cpus", change.of(|limits| limits.cpuset_cpus.clone())),
        ("cpuset.mems", change.of(|limits| limits.cpuset_mems.clone())),
    ] {
        let Some(list) = list else { continue };
        require(dir, "cpuset");
        // An empty line is all that the group above has.
        write_limit(&dir.join(file), &format!("{}\n", list.text(|list| list.to_string(), "")), "cpuset")?;
    }
    Ok(())
}

/// Shares of version 1, 2 to 262144 with 1024 in the middle, as weights of
/// version 2, 1 to 10000 with 100 in the middle: the curve through these three
/// that runc draws (opencontainers/cgroups `ConvertCPUSharesToCgroupV2Value`).
fn cpu_weight(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        3..262_144 => {
            let log = (shares as f64).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            10f64.powf(exponent).ceil() as u64
        }
        _ => 10_000,
    }
}

/// 10 to 1000 becomes 1 to 10000 in a straight line, as with runc.
fn io_weight(weight: u16) -> u64 {
    1 + u64::from(weight.saturating_sub(10)) * 9999 / 990
}

pub(crate) fn cpu(dir: &Path) -> Result<CpuUse, CgroupError> {
    let text = read(&dir.join("cpu.stat"))?;
    let number = |key| keyed(&text, key).unwrap_or(0);
    let nanos = |key| number(key).saturating_mul(1000);
    Ok(CpuUse {
        total_ns: nanos("usage_usec"),
        user_ns: nanos("user_usec"),
        system_ns: nanos("system_usec"),
        periods: number("nr_periods"),
        throttled_periods: number("nr_throttled"),
        throttled_ns: nanos("throttled_usec"),
    })
}

pub(crate) fn memory(dir: &Path) -> Result<MemoryUse, CgroupError> {
    let events = read_if_there(&dir.join("memory.events"))?.unwrap_or_default();
    Ok(MemoryUse {
        usage: Bytes(read_number(&dir.join("memory.current"))?),
        max_usage: number_if_there(&dir.join("memory.peak"))?.map(Bytes),
        failures: keyed(&events, "oom").unwrap_or(0),
        detail: stats::lines(&read(&dir.join("memory.stat"))?),
    })
}

pub(crate) fn disks(dir: &Path) -> Result<Vec<DiskUse>, CgroupError> {
    Ok(read_if_there(&dir.join("io.stat"))?.map_or_else(Vec::new, |text| stats::unified_disks(&text)))
}

pub(crate) fn pids(dir: &Path) -> Result<u64, CgroupError> {
    Ok(number_if_there(&dir.join("pids.current"))?.unwrap_or(0))
}

pub(crate) fn oom_kills(dir: &Path) -> Result<u64, CgroupError> {
    Ok(read_keyed(&dir.join("memory.events"), "oom_kill")?.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_weights() {
        for (shares, weight) in [(0, 1), (2, 1), (1024, 100), (262_144, 10_000), (u64::MAX, 10_000)] {
            assert_eq!(cpu_weight(shares), weight, "{shares}");
        }
        assert!((2..262_144).map(cpu_weight).is_sorted());
        assert_eq!((io_weight(10), io_weight(1000), io_weight(0)), (1, 10_000, 1));
    }
}
