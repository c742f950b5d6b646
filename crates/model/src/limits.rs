//! What a container may use, and what of that a kernel can hold it to.

use crate::{Bytes, NanoCpus, NumberList};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Memory of all the container's processes and their page cache.
    pub memory: Option<Bytes>,
    /// Where it is absent and `memory` is not, twice the memory.
    pub memory_swap: Option<MemorySwap>,
    /// What is left to the container when memory is short.
    pub memory_reservation: Option<Bytes>,
    /// How readily its memory is swapped out, 0 to 100.
    pub memory_swappiness: Option<u8>,
    /// At its limit the container waits for memory and no process is killed.
    pub oom_kill_disable: bool,
    pub cpu_quota: Option<CpuQuota>,
    /// Its part of the processors beside others', who have 1024.
    pub cpu_shares: Option<u64>,
    /// The processors it may run on, as the host numbers them.
    pub cpuset_cpus: Option<NumberList>,
    /// The memory nodes it may use, as the host numbers them.
    pub cpuset_mems: Option<NumberList>,
    /// Number of tasks.
    pub pids: Option<u32>,
    /// Its part of the disks beside others', 10 to 1000.
    pub blkio_weight: Option<u16>,
}

/// How much a container may have of memory and swap together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemorySwap {
    Unlimited,
    Total(Bytes),
}

/// Processor time in each period, in microseconds; without a quota there is
/// no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuQuota {
    pub quota_us: Option<u64>,
    pub period_us: u64,
}

impl CpuQuota {
    /// The kernel's default and Docker's.
    pub const PERIOD_US: u64 = 100_000;

    /// The number of processors that this is worth.
    pub fn cpus(self) -> Option<NanoCpus> {
        let nanos = u128::from(self.quota_us?) * u128::from(NanoCpus::ONE.0) / u128::from(self.period_us.max(1));
        Some(NanoCpus(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }
}

impl From<NanoCpus> for CpuQuota {
    fn from(cpus: NanoCpus) -> Self {
        let quota = u128::from(cpus.0) * u128::from(Self::PERIOD_US) / u128::from(NanoCpus::ONE.0);
        Self { quota_us: Some(u64::try_from(quota).unwrap_or(u64::MAX)), period_us: Self::PERIOD_US }
    }
}

/// Which limits a kernel knows, as `docker info` tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitSupport {
    pub memory: bool,
    pub memory_swap: bool,
    pub memory_reservation: bool,
    pub memory_swappiness: bool,
    pub oom_kill_disable: bool,
    pub cpu_quota: bool,
    pub cpu_shares: bool,
    pub cpuset: bool,
    pub pids: bool,
    pub blkio_weight: bool,
    /// Processors and memory nodes that there are for containers.
    pub cpus: NumberList,
    pub mems: NumberList,
}

impl LimitSupport {
    /// The same for a container in a utility VM: the guest's kernel, which is
    /// ours (one tree of control groups), holds it to what its processes use,
    /// the host's to what the VM takes from others.
    pub fn in_utility_vm(host: &Self) -> Self {
        let Self { cpu_shares, cpuset, blkio_weight, cpus, mems, .. } = host.clone();
        Self {
            memory: true,
            memory_swap: true,
            memory_reservation: true,
            memory_swappiness: false,
            oom_kill_disable: false,
            cpu_quota: true,
            cpu_shares,
            cpuset,
            pids: true,
            blkio_weight,
            cpus,
            mems,
        }
    }

    /// Takes out of `limits` what the kernel cannot hold a container to, and
    /// says so in Docker's words (moby `verifyPlatformContainerResources`).
    pub fn discard_unsupported(&self, limits: &mut Limits) -> Vec<&'static str> {
        let mut warnings = Vec::new();
        if !self.memory && limits.memory.take().is_some() {
            limits.memory_swap = None;
            warnings.push(
                "Your kernel does not support memory limit capabilities or the cgroup is not mounted. \
                 Limitation discarded.",
            );
        }
        let limits_swap = limits.memory.is_some() && limits.memory_swap != Some(MemorySwap::Unlimited);
        if !self.memory_swap && limits_swap {
            limits.memory_swap = Some(MemorySwap::Unlimited);
            warnings.push(
                "Your kernel does not support swap limit capabilities or the cgroup is not mounted. \
                 Memory limited without swap.",
            );
        }
        if !self.memory_swappiness && limits.memory_swappiness.take().is_some() {
            warnings.push(
                "Your kernel does not support memory swappiness capabilities or the cgroup is not mounted. \
                 Memory swappiness discarded.",
            );
        }
        if !self.memory_reservation && limits.memory_reservation.take().is_some() {
            warnings.push(
                "Your kernel does not support memory soft limit capabilities or the cgroup is not mounted. \
                 Limitation discarded.",
            );
        }
        if !self.oom_kill_disable && std::mem::take(&mut limits.oom_kill_disable) {
            warnings.push("Your kernel does not support OomKillDisable. OomKillDisable discarded.");
        }
        if limits.oom_kill_disable && limits.memory.is_none() {
            warnings.push(
                "OOM killer is disabled for the container, but no memory limit is set, \
                 this can result in the system running out of resources.",
            );
        }
        if !self.pids && limits.pids.take().is_some() {
            warnings.push(
                "Your kernel does not support PIDs limit capabilities or the cgroup is not mounted. \
                 PIDs limit discarded.",
            );
        }
        if !self.cpu_shares && limits.cpu_shares.take().is_some() {
            warnings.push("Your kernel does not support CPU shares or the cgroup is not mounted. Shares discarded.");
        }
        if !self.cpu_quota && limits.cpu_quota.take().is_some() {
            warnings.push("Your kernel does not support CPU CFS scheduler. CPU period/quota discarded.");
        }
        if !self.cpuset && (limits.cpuset_cpus.take().is_some() | limits.cpuset_mems.take().is_some()) {
            warnings.push("Your kernel does not support cpuset or the cgroup is not mounted. Cpuset discarded.");
        }
        if !self.blkio_weight && limits.blkio_weight.take().is_some() {
            warnings
                .push("Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded.");
        }
        warnings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Limits {
        Limits {
            memory: Some(Bytes::mib(64)),
            memory_swap: Some(MemorySwap::Total(Bytes::mib(128))),
            memory_reservation: Some(Bytes::mib(32)),
            memory_swappiness: Some(10),
            oom_kill_disable: true,
            cpu_quota: Some(CpuQuota::from(NanoCpus::ONE)),
            cpu_shares: Some(512),
            cpuset_cpus: Some("0".parse().unwrap()),
            cpuset_mems: Some("0".parse().unwrap()),
            pids: Some(10),
            blkio_weight: Some(500),
        }
    }

    #[test]
    fn what_the_kernel_cannot_do_is_discarded_and_said() {
        let mut limits = all();
        let warnings = LimitSupport::default().discard_unsupported(&mut limits);
        assert_eq!(limits, Limits::default());
        assert_eq!(warnings.len(), 9, "{warnings:#?}");
        assert!(warnings.iter().all(|warning| warning.ends_with("iscarded.")), "{warnings:#?}");

        let everything = LimitSupport {
            memory: true,
            memory_swap: true,
            memory_reservation: true,
            memory_swappiness: true,
            oom_kill_disable: true,
            cpu_quota: true,
            cpu_shares: true,
            cpuset: true,
            pids: true,
            blkio_weight: true,
            ..LimitSupport::default()
        };
        let mut limits = all();
        assert!(everything.discard_unsupported(&mut limits).is_empty());
        assert_eq!(limits, all());
        let mut unbounded = Limits { oom_kill_disable: true, ..Limits::default() };
        assert!(everything.discard_unsupported(&mut unbounded)[0].starts_with("OOM killer is disabled"));

        let mut limits = all();
        let warnings = LimitSupport::in_utility_vm(&LimitSupport::default()).discard_unsupported(&mut limits);
        assert_eq!(warnings.len(), 5, "{warnings:#?}");
        assert_eq!(limits.memory_swap, all().memory_swap);
        assert!(LimitSupport::in_utility_vm(&everything).cpuset);

        let without_swap = LimitSupport { memory_swap: false, ..everything };
        let mut limits = Limits { memory: Some(Bytes::mib(64)), ..Limits::default() };
        assert!(without_swap.discard_unsupported(&mut limits)[0].ends_with("Memory limited without swap."));
        assert_eq!(limits.memory_swap, Some(MemorySwap::Unlimited));
        assert!(without_swap.discard_unsupported(&mut limits).is_empty());
    }

    #[test]
    fn quotas_and_cpus() {
        let quota = |nanos| CpuQuota::from(NanoCpus(nanos)).quota_us;
        assert_eq!(quota(1_500_000_000), Some(150_000));
        assert_eq!(quota(10_000_000), Some(1_000));
        assert_eq!(quota(u64::MAX), Some(1_844_674_407_370_955));
        let cpus = |quota_us, period_us| CpuQuota { quota_us, period_us }.cpus();
        assert_eq!(cpus(Some(25_000), 50_000), Some(NanoCpus(500_000_000)));
        assert_eq!(cpus(None, 50_000), None);
        assert_eq!(cpus(Some(u64::MAX), 0), Some(NanoCpus(u64::MAX)));
    }
}
