//! Who holds a container in a VM to which of its limits: the guest's kernel to
//! those of its processes, the host's to what the VM takes from others.

use casemate_model::{Bytes, CpuQuota, ErrorClass, Failure, Limits, NanoCpus};
use casemate_vm::VmSize;

/// What the VM process itself may use beside the guest's memory: QEMU's code,
/// its translation buffers and its disk buffers.
const PROCESS_OVERHEAD: Bytes = Bytes::mib(512);

/// Processor time for device emulation beside what the guest's processors get.
const DEVICE_CPUS: NanoCpus = NanoCpus(500_000_000);

/// How many of the host's processors are to be used: as many as the quota is
/// worth, and no more than there are to run on.
pub(super) fn cpus(limits: &Limits) -> Option<NanoCpus> {
    let quota = limits.cpu_quota.and_then(CpuQuota::cpus);
    let set = limits.cpuset_cpus.as_ref().map(|set| NanoCpus(u64::from(set.count()) * NanoCpus::ONE.0));
    match (quota, set) {
        (Some(quota), Some(set)) => Some(quota.min(set)),
        (quota, set) => quota.or(set),
    }
}

/// For the guest's kernel.
pub(super) fn of_guest(limits: &Limits) -> Limits {
    // Its processors, memory nodes and disks are not the host's, and nobody is
    // beside the container in there.
    Limits { cpu_shares: None, cpuset_cpus: None, cpuset_mems: None, blkio_weight: None, ..limits.clone() }
}

/// For the VM process, also should the guest get out of hand.
pub(super) fn of_process(limits: &Limits, size: VmSize) -> Limits {
    let quota = limits.cpu_quota.and_then(CpuQuota::cpus);
    Limits {
        memory: Some(Bytes(size.memory().0 + PROCESS_OVERHEAD.0)),
        cpu_quota: quota.map(|cpus| CpuQuota::from(NanoCpus(cpus.0.saturating_add(DEVICE_CPUS.0)))),
        cpu_shares: limits.cpu_shares,
        cpuset_cpus: limits.cpuset_cpus.clone(),
        cpuset_mems: limits.cpuset_mems.clone(),
        blkio_weight: limits.blkio_weight,
        ..Limits::default()
    }
}

/// Whether a VM of this size can hold the container to these limits.
pub(super) fn check(limits: &Limits, size: VmSize) -> Result<(), Failure> {
    let room = Bytes(size.memory().0.saturating_sub(size.overhead().0));
    if let Some(memory) = limits.memory.filter(|memory| *memory > room) {
        return Err(Failure {
            class: ErrorClass::InvalidArgument,
            message: format!("the container's utility VM was made with room for {room}, which is less than {memory}"),
            hint: Some("a VM is as large as the limits it is started with: start the container again".to_owned()),
        });
    }
    let vcpus = NanoCpus(u64::from(size.vcpus()) * NanoCpus::ONE.0);
    if let Some(cpus) = limits.cpu_quota.and_then(CpuQuota::cpus).filter(|cpus| *cpus > vcpus) {
        return Err(Failure {
            class: ErrorClass::InvalidArgument,
            message: format!(
                "the container's utility VM was made with {} CPUs, which is less than {cpus}",
                size.vcpus()
            ),
            hint: Some("a VM is as large as the limits it is started with: start the container again".to_owned()),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use casemate_vm::HostCapacity;

    fn limits() -> Limits {
        Limits {
            memory: Some(Bytes::mib(64)),
            cpu_quota: Some(CpuQuota { quota_us: Some(75_000), period_us: 50_000 }),
            cpu_shares: Some(512),
            cpuset_cpus: Some("0-2".parse().unwrap()),
            pids: Some(9),
            blkio_weight: Some(100),
            ..Limits::default()
        }
    }

    fn size() -> VmSize {
        let host = HostCapacity { memory: Bytes(Bytes::GIB), cpus: 4 };
        VmSize::for_container(Some(Bytes::mib(64)), cpus(&limits()), host).unwrap()
    }

    #[test]
    fn each_kernel_has_its_part() {
        let guest = of_guest(&limits());
        assert_eq!((guest.memory, guest.pids), (Some(Bytes::mib(64)), Some(9)));
        assert_eq!((guest.cpu_shares, guest.cpuset_cpus, guest.blkio_weight), (None, None, None));
        let process = of_process(&limits(), size());
        assert_eq!(process.memory, Some(Bytes(size().memory().0 + PROCESS_OVERHEAD.0)));
        assert_eq!(process.cpu_quota, Some(CpuQuota::from(NanoCpus(2_000_000_000))));
        assert_eq!((process.cpu_shares, process.pids), (Some(512), None));
        assert_eq!(process.cpuset_cpus, limits().cpuset_cpus);
        let unbounded = of_process(&Limits::default(), size());
        assert_eq!((unbounded.cpu_quota, unbounded.cpu_shares), (None, None));
    }

    #[test]
    fn processors_by_quota_and_by_set() {
        let of = |quota: Option<u64>, set: Option<&str>| {
            let cpu_quota = quota.map(|n| CpuQuota::from(NanoCpus(n)));
            cpus(&Limits { cpu_quota, cpuset_cpus: set.map(|s| s.parse().unwrap()), ..Limits::default() })
        };
        assert_eq!(of(None, None), None);
        assert_eq!(of(Some(1_500_000_000), None), Some(NanoCpus(1_500_000_000)));
        assert_eq!(of(None, Some("0,2")), Some(NanoCpus(2_000_000_000)));
        assert_eq!(of(Some(1_500_000_000), Some("3")), Some(NanoCpus::ONE));
    }

    #[test]
    fn a_vm_cannot_grow() {
        assert_eq!(size().vcpus(), 2);
        assert_eq!(check(&limits(), size()), Ok(()));
        let more = Limits { memory: Some(Bytes::mib(512)), ..limits() };
        assert!(check(&more, size()).unwrap_err().message.ends_with("less than 512MiB"));
        let faster = Limits { cpu_quota: Some(CpuQuota::from(NanoCpus(2_500_000_000))), ..limits() };
        let message = check(&faster, size()).unwrap_err().message;
        assert_eq!(message, "the container's utility VM was made with 2 CPUs, which is less than 2.5");
    }
}
