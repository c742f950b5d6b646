//! A control group in the unified tree.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use casemate_model::{Bytes, Limits};

use super::file::{read_keyed, read_number, try_write, write_if_there, write_limit};
use super::{CPU_PERIOD_US, CgroupError, cpu_quota_us, make_leaf};

/// What containers are limited and measured in.
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];

/// Makes the directory of `path` below `root`, and those above it; with
/// `controllers`, each hands them down to the next.
pub(crate) fn make(root: &Path, path: &str, controllers: bool) -> Result<PathBuf, CgroupError> {
    let mut dir = root.to_owned();
    let components: Vec<&str> = path.split('/').collect();
    for (index, component) in components.iter().enumerate() {
        if controllers {
            enable_controllers(&dir);
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
fn enable_controllers(dir: &Path) {
    let file = dir.join("cgroup.subtree_control");
    if try_write(&file, "+cpu +memory +pids").is_err() {
        // All or nothing in one write; each alone gives what there is.
        for controller in CONTROLLERS {
            let _ = try_write(&file, &format!("+{controller}"));
        }
    }
}

pub(crate) fn set_limits(dir: &Path, limits: &Limits) -> Result<(), CgroupError> {
    if let Some(Bytes(bytes)) = limits.memory {
        write_limit(&dir.join("memory.max"), &bytes.to_string(), "memory")?;
        // Docker allows as much swap as memory. Kernels without swap have no
        // such file.
        write_if_there(&dir.join("memory.swap.max"), &bytes.to_string())?;
    }
    if let Some(cpus) = limits.cpus {
        write_limit(&dir.join("cpu.max"), &format!("{} {CPU_PERIOD_US}", cpu_quota_us(cpus)), "cpu")?;
    }
    if let Some(pids) = limits.pids {
        write_limit(&dir.join("pids.max"), &pids.to_string(), "pids")?;
    }
    Ok(())
}

pub(crate) fn memory_usage(dir: &Path) -> Result<u64, CgroupError> {
    let cache = read_keyed(&dir.join("memory.stat"), "inactive_file")?.unwrap_or(0);
    Ok(read_number(&dir.join("memory.current"))?.saturating_sub(cache))
}

pub(crate) fn cpu_ns(dir: &Path) -> Result<u64, CgroupError> {
    Ok(read_keyed(&dir.join("cpu.stat"), "usage_usec")?.unwrap_or(0).saturating_mul(1000))
}

pub(crate) fn pids(dir: &Path) -> Result<u64, CgroupError> {
    read_number(&dir.join("pids.current"))
}

pub(crate) fn oom_kills(dir: &Path) -> Result<u64, CgroupError> {
    Ok(read_keyed(&dir.join("memory.events"), "oom_kill")?.unwrap_or(0))
}
