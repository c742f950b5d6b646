//! Accounts of what a container uses, and its processes.

use casemate_model::Bytes;

use super::printable;
use crate::client::CallError;
use crate::message as written;
use crate::vocabulary::{BlkioStats, ContainerProcess, CpuStats, MemoryStats, PidsStats, Stats, VmCost};

/// Lines of `memory.stat` and disks that are looked at: an honest kernel has
/// some fifty and a few.
const MAX_LINES: usize = 256;
const MAX_DISKS: usize = 256;

impl From<Stats> for written::Response {
    fn from(stats: Stats) -> Self {
        let Stats { cpu, memory, blkio, pids, vm } = stats;
        let PidsStats { current, limit } = pids;
        Self::Stats(Box::new(written::Stats {
            cpu: cpu.into(),
            memory: memory.into(),
            blkio: blkio.into_iter().map(Into::into).collect(),
            pids: written::PidsStats { current, limit },
            vm: vm.map(|VmCost { cpu_ns, memory }| written::VmCost { cpu_ns, memory: memory.0 }),
        }))
    }
}

impl TryFrom<written::Response> for Stats {
    type Error = CallError;

    fn try_from(response: written::Response) -> Result<Self, CallError> {
        let written::Response::Stats(stats) = response else { return Err(CallError::Unexpected) };
        let written::Stats { cpu, memory, blkio, pids, vm } = *stats;
        let written::PidsStats { current, limit } = pids;
        Ok(Self {
            cpu: cpu.into(),
            memory: memory.into(),
            blkio: blkio.into_iter().take(MAX_DISKS).map(Into::into).collect(),
            pids: PidsStats { current, limit },
            vm: vm.map(|written::VmCost { cpu_ns, memory }| VmCost { cpu_ns, memory: Bytes(memory) }),
        })
    }
}

impl From<CpuStats> for written::CpuStats {
    fn from(stats: CpuStats) -> Self {
        let CpuStats {
            total_ns,
            user_ns,
            system_ns,
            periods,
            throttled_periods,
            throttled_ns,
            machine_ns,
            online_cpus,
        } = stats;
        Self { total_ns, user_ns, system_ns, periods, throttled_periods, throttled_ns, machine_ns, online_cpus }
    }
}

impl From<written::CpuStats> for CpuStats {
    fn from(stats: written::CpuStats) -> Self {
        let written::CpuStats {
            total_ns,
            user_ns,
            system_ns,
            periods,
            throttled_periods,
            throttled_ns,
            machine_ns,
            online_cpus,
        } = stats;
        Self { total_ns, user_ns, system_ns, periods, throttled_periods, throttled_ns, machine_ns, online_cpus }
    }
}

impl From<MemoryStats> for written::MemoryStats {
    fn from(stats: MemoryStats) -> Self {
        let MemoryStats { usage, max_usage, limit, failures, detail } = stats;
        Self { usage: usage.0, max_usage: max_usage.map(|b| b.0), limit: limit.0, failures, detail }
    }
}

impl From<written::MemoryStats> for MemoryStats {
    fn from(stats: written::MemoryStats) -> Self {
        let written::MemoryStats { usage, max_usage, limit, failures, detail } = stats;
        let detail = detail.into_iter().take(MAX_LINES).map(|(name, value)| (printable(&name), value));
        Self {
            usage: Bytes(usage),
            max_usage: max_usage.map(Bytes),
            limit: Bytes(limit),
            failures,
            detail: detail.collect(),
        }
    }
}

impl From<BlkioStats> for written::BlkioStats {
    fn from(stats: BlkioStats) -> Self {
        let BlkioStats { major, minor, read_bytes, write_bytes, reads, writes } = stats;
        Self { major, minor, read_bytes, write_bytes, reads, writes }
    }
}

impl From<written::BlkioStats> for BlkioStats {
    fn from(stats: written::BlkioStats) -> Self {
        let written::BlkioStats { major, minor, read_bytes, write_bytes, reads, writes } = stats;
        Self { major, minor, read_bytes, write_bytes, reads, writes }
    }
}

impl From<ContainerProcess> for written::ContainerProcess {
    fn from(process: ContainerProcess) -> Self {
        let ContainerProcess {
            pid,
            parent,
            uid,
            tty,
            state,
            cpu_ms,
            cpu_percent,
            started,
            virtual_memory,
            resident_memory,
            command,
        } = process;
        Self {
            pid,
            parent,
            uid,
            tty,
            state,
            cpu_ms,
            cpu_percent,
            started,
            virtual_memory: virtual_memory.0,
            resident_memory: resident_memory.0,
            command,
        }
    }
}

impl From<written::ContainerProcess> for ContainerProcess {
    fn from(process: written::ContainerProcess) -> Self {
        let written::ContainerProcess {
            pid,
            parent,
            uid,
            tty,
            state,
            cpu_ms,
            cpu_percent,
            started,
            virtual_memory,
            resident_memory,
            command,
        } = process;
        Self {
            pid,
            parent,
            uid,
            tty,
            state: if state.is_ascii_alphabetic() { state } else { '?' },
            cpu_ms,
            cpu_percent,
            started,
            virtual_memory: Bytes(virtual_memory),
            resident_memory: Bytes(resident_memory),
            command: printable(&command),
        }
    }
}
