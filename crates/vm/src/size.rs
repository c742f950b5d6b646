//! How large a VM must be so that the container in it can use what it was
//! given.

use std::fs;
use std::io;

use casemate_model::{Bytes, Classify, ErrorClass, NanoCpus};

/// What a VM is given. No larger than the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VmSize {
    /// Whole MiB.
    memory: Bytes,
    overhead: Bytes,
    vcpus: u32,
}

/// What the host has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostCapacity {
    pub memory: Bytes,
    /// That this process may run on.
    pub cpus: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    #[error("a container limited to {limit} needs a virtual machine with {needed} of memory, and the host has {host}")]
    Memory { limit: Bytes, needed: Bytes, host: Bytes },
    #[error("the host has {host} of memory, too little for a virtual machine with {needed}")]
    Host { needed: Bytes, host: Bytes },
    // Docker's words.
    #[error("range of CPUs is from 0.01 to {host}.00, as there are only {host} CPUs available")]
    Cpus { asked: NanoCpus, host: u32 },
}

impl Classify for SizeError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Memory { .. } | Self::Cpus { .. } => ErrorClass::InvalidArgument,
            Self::Host { .. } => ErrorClass::ResourceExhausted,
        }
    }
}

/// What does not grow with the machine. 32 MiB are the guest's kernel; 16 its
/// reserve, and slab and page cache that no cgroup is charged with; 32 the
/// agent, in memory and in the initramfs. (The kernel raises its reserve to
/// 22–44 MiB from 1 GiB on; the agent sets it back.)
const FIXED_OVERHEAD: Bytes = Bytes::mib(32 + 16 + 32);

/// The kernel's part in a hundred of all memory, for page descriptors and the
/// like: 1.8 measured (21.0 MiB are missing from MemTotal in a VM of 256 MiB,
/// 156.6 in one of 8 GiB).
const OVERHEAD_PERCENT: u64 = 2;

/// A VM for a container without a limit. The host gives a page only when the
/// guest first touches it.
const DEFAULT_MEMORY: Bytes = Bytes(Bytes::GIB);

/// Less than this boots, and leaves nothing for the container.
const MINIMUM_MEMORY: Bytes = Bytes::mib(96);

/// For a container that asked for none. Each further processor costs the start
/// more than any other part: under TCG they are brought up one after the
/// other, about 0.1 s each.
const DEFAULT_VCPUS: u32 = 1;

/// The most that QEMU's microvm takes.
const MAXIMUM_VCPUS: u32 = 288;

impl VmSize {
    /// # Errors
    /// If the container's limits, with the guest's overhead, go beyond the host.
    pub fn for_container(memory: Option<Bytes>, cpus: Option<NanoCpus>, host: HostCapacity) -> Result<Self, SizeError> {
        let (memory, overhead) = match memory {
            Some(limit) => sized_memory(limit, host.memory)?,
            None => default_memory(host.memory)?,
        };
        let vcpus = match cpus {
            Some(asked) if asked.0 > u64::from(host.cpus).saturating_mul(NanoCpus::ONE.0) => {
                return Err(SizeError::Cpus { asked, host: host.cpus });
            }
            Some(asked) => asked.whole().min(MAXIMUM_VCPUS),
            None => DEFAULT_VCPUS,
        };
        Ok(Self { memory, overhead, vcpus })
    }

    /// All the guest's memory, in whole MiB.
    pub fn memory(self) -> Bytes {
        self.memory
    }

    /// The part of it that is reckoned for the guest's kernel and agent.
    pub fn overhead(self) -> Bytes {
        self.overhead
    }

    pub fn vcpus(self) -> u32 {
        self.vcpus
    }
}

fn sized_memory(limit: Bytes, host: Bytes) -> Result<(Bytes, Bytes), SizeError> {
    // memory = limit + fixed + percent of memory, solved for the memory.
    let parts = u128::from(limit.0) + u128::from(FIXED_OVERHEAD.0);
    let needed = (parts * 100).div_ceil(u128::from(100 - OVERHEAD_PERCENT));
    let needed = needed.next_multiple_of(u128::from(Bytes::MIB));
    let needed = u64::try_from(needed).map_or(Bytes(u64::MAX), Bytes).max(MINIMUM_MEMORY);
    if needed > host || needed.0 == u64::MAX {
        return Err(SizeError::Memory { limit, needed, host });
    }
    Ok((needed, overhead_of(needed)))
}

fn default_memory(host: Bytes) -> Result<(Bytes, Bytes), SizeError> {
    let half = Bytes(host.0 / 2 / Bytes::MIB * Bytes::MIB);
    let memory = DEFAULT_MEMORY.min(half);
    if memory < MINIMUM_MEMORY {
        return Err(SizeError::Host { needed: MINIMUM_MEMORY, host });
    }
    Ok((memory, overhead_of(memory)))
}

fn overhead_of(memory: Bytes) -> Bytes {
    Bytes(FIXED_OVERHEAD.0 + memory.0 / 100 * OVERHEAD_PERCENT)
}

impl HostCapacity {
    pub fn read() -> io::Result<Self> {
        let meminfo = fs::read_to_string("/proc/meminfo")?;
        let memory = total_memory(&meminfo)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no MemTotal in /proc/meminfo"))?;
        let cpus = u32::try_from(std::thread::available_parallelism()?.get()).unwrap_or(u32::MAX);
        Ok(Self { memory, cpus })
    }
}

fn total_memory(meminfo: &str) -> Option<Bytes> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(Bytes::KIB).map(Bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOST: HostCapacity = HostCapacity { memory: Bytes(8 * Bytes::GIB), cpus: 4 };

    fn size(memory: Option<u64>, cpus: Option<&str>) -> Result<VmSize, SizeError> {
        VmSize::for_container(memory.map(Bytes::mib), cpus.map(|text| text.parse().unwrap()), HOST)
    }

    #[test]
    fn figures() {
        let memory = |limit| size(Some(limit), None).unwrap().memory().0 / Bytes::MIB;
        assert_eq!(memory(6), 96);
        assert_eq!(memory(64), 147);
        assert_eq!(memory(512), 605);
        assert_eq!(memory(4096), 4262);
        let default = size(None, None).unwrap();
        assert_eq!((default.memory(), default.vcpus()), (Bytes(Bytes::GIB), 1));
        assert!(default.overhead() < Bytes::mib(110), "{default:?}");
    }

    #[test]
    fn processors_are_rounded_up() {
        let vcpus = |cpus| size(None, Some(cpus)).map(VmSize::vcpus);
        assert_eq!(vcpus("0.1"), Ok(1));
        assert_eq!(vcpus("1.5"), Ok(2));
        assert_eq!(vcpus("4"), Ok(4));
        let error = vcpus("4.1").unwrap_err();
        assert_eq!(error.to_string(), "range of CPUs is from 0.01 to 4.00, as there are only 4 CPUs available");
    }

    #[test]
    fn a_small_host_gives_half_or_nothing() {
        let on = |mib| VmSize::for_container(None, None, HostCapacity { memory: Bytes::mib(mib), cpus: 1 });
        assert_eq!(on(1000).unwrap().memory(), Bytes::mib(500));
        assert!(matches!(on(190), Err(SizeError::Host { .. })));
    }

    #[test]
    fn meminfo_is_in_kib() {
        assert_eq!(total_memory("MemTotal:       24684084 kB\nMemFree: 1 kB\n"), Some(Bytes(24_684_084 << 10)));
        for damaged in ["", "MemTotal: x kB", "MemTotal: 1", "MemTotal: 99999999999999999999 kB"] {
            assert_eq!(total_memory(damaged), None, "{damaged}");
        }
    }

    proptest! {
        #[test]
        fn the_container_always_fits_and_the_vm_always_fits_the_host(
            limit in any::<u64>(), host in any::<u64>(), nano in any::<u64>(), cpus in 1u32..4096,
        ) {
            let host = HostCapacity { memory: Bytes(host), cpus };
            let Ok(size) = VmSize::for_container(Some(Bytes(limit)), Some(NanoCpus(nano)), host) else { return Ok(()) };
            prop_assert!(size.memory() <= host.memory);
            prop_assert!(size.memory().0 - size.overhead().0 >= limit);
            prop_assert_eq!(size.memory().0 % Bytes::MIB, 0);
            prop_assert!(size.vcpus() >= 1 && size.vcpus() <= host.cpus);
        }

        #[test]
        fn more_for_the_container_is_never_less_for_the_vm(a in 0u64..1 << 40, b in 0u64..1 << 40) {
            let host = HostCapacity { memory: Bytes(u64::MAX), cpus: 1 };
            let memory = |limit| VmSize::for_container(Some(Bytes(limit)), None, host).unwrap().memory();
            prop_assert!(memory(a.min(b)) <= memory(a.max(b)));
        }
    }
}
