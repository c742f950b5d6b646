//! What the launcher counts, in the wire's vocabulary. Every conversion names
//! every field, so that a new one does not compile until it has been decided
//! upon.

use casemate_launch::{CgroupStats, CpuUse, DiskUse, Machine, MemoryUse, ProcessEntry};
use casemate_wire::{BlkioStats, ContainerProcess, CpuStats, MemoryStats, PidsStats, Stats};

pub(crate) fn stats(stats: CgroupStats, machine: Machine) -> Stats {
    let CgroupStats { cpu, memory, disks, pids, limits } = stats;
    let CpuUse { total_ns, user_ns, system_ns, periods, throttled_periods, throttled_ns } = cpu;
    let MemoryUse { usage, max_usage, failures, detail } = memory;
    let Machine { cpu_ns, cpus, memory: all } = machine;
    Stats {
        cpu: CpuStats {
            total_ns,
            user_ns,
            system_ns,
            periods,
            throttled_periods,
            throttled_ns,
            machine_ns: cpu_ns,
            online_cpus: cpus,
        },
        memory: MemoryStats {
            usage,
            max_usage,
            limit: limits.memory.map_or(all, |limit| limit.min(all)),
            failures,
            detail,
        },
        blkio: disks.into_iter().map(disk).collect(),
        pids: PidsStats { current: pids, limit: limits.pids.map(u64::from) },
        vm: None,
    }
}

fn disk(disk: DiskUse) -> BlkioStats {
    let DiskUse { major, minor, read_bytes, write_bytes, reads, writes } = disk;
    BlkioStats { major, minor, read_bytes, write_bytes, reads, writes }
}

pub(crate) fn process(entry: ProcessEntry) -> ContainerProcess {
    let ProcessEntry {
        pid,
        ppid,
        // The container's own numbers, and the name that the command begins
        // with, are nobody's question yet.
        pid_inside: _,
        uid,
        tty,
        started,
        cpu_ms,
        cpu_percent,
        state,
        virtual_memory,
        resident_memory,
        name: _,
        command,
    } = entry;
    ContainerProcess {
        pid,
        parent: ppid,
        uid,
        tty,
        state,
        cpu_ms,
        cpu_percent,
        started,
        virtual_memory,
        resident_memory,
        command,
    }
}
