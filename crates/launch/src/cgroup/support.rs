//! Which limits this kernel's control groups know.

use std::fs;
use std::path::Path;

use casemate_model::{LimitSupport, NumberList};

use super::hierarchy::{Hierarchies, Hierarchy};

impl Hierarchies {
    pub(crate) fn limit_support(&self) -> LimitSupport {
        match self {
            Self::Unified(root) => unified(root),
            Self::Split { v1, .. } => split(v1),
        }
    }
}

fn unified(root: &Path) -> LimitSupport {
    let controllers = fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
    let has = |controller| controllers.split_ascii_whitespace().any(|c| c == controller);
    // Two that share the disks: one announces itself at the root, the other at
    // every group but the root.
    let weighs = || root.join("io.cost.qos").exists() || any_child_has(root, "io.bfq.weight");
    LimitSupport {
        memory: has("memory"),
        // As a group's `memory.swap.max`, it is there where the kernel has swap
        // at all; the root itself has no such file.
        memory_swap: has("memory") && Path::new("/proc/swaps").exists(),
        memory_reservation: has("memory"),
        memory_swappiness: false,
        oom_kill_disable: false,
        cpu_quota: has("cpu"),
        cpu_shares: has("cpu"),
        cpuset: has("cpuset"),
        pids: has("pids"),
        blkio_weight: has("io") && weighs(),
        cpus: numbers(&root.join("cpuset.cpus.effective")),
        mems: numbers(&root.join("cpuset.mems.effective")),
    }
}

fn split(hierarchies: &[Hierarchy]) -> LimitSupport {
    let find = |controller: &str| hierarchies.iter().find(|h| h.controllers.iter().any(|c| c == controller));
    let has = |controller, file: &str| find(controller).is_some_and(|h| h.mount.join(file).exists());
    let list = |file| find("cpuset").map(|h| numbers(&h.mount.join(file))).unwrap_or_default();
    LimitSupport {
        memory: find("memory").is_some(),
        memory_swap: has("memory", "memory.memsw.limit_in_bytes"),
        memory_reservation: has("memory", "memory.soft_limit_in_bytes"),
        memory_swappiness: has("memory", "memory.swappiness"),
        oom_kill_disable: has("memory", "memory.oom_control"),
        cpu_quota: has("cpu", "cpu.cfs_quota_us"),
        cpu_shares: has("cpu", "cpu.shares"),
        cpuset: find("cpuset").is_some(),
        pids: find("pids").is_some(),
        // BFQ's weight is missing from the root, its accounts are not.
        blkio_weight: has("blkio", "blkio.weight") || has("blkio", "blkio.bfq.io_serviced"),
        cpus: list("cpuset.cpus"),
        mems: list("cpuset.mems"),
    }
}

fn any_child_has(root: &Path, file: &str) -> bool {
    fs::read_dir(root).into_iter().flatten().flatten().any(|entry| entry.path().join(file).exists())
}

fn numbers(path: &Path) -> NumberList {
    fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or_default()
}
