//! A container as a launcher needs it: checked, resolved, and the same
//! whether the launcher stands on the host or in a utility VM.

use crate::{Bytes, ContainerId, NanoCpus, Process};

/// Paths hidden from a container, as Docker hides them
/// (moby `oci/defaults.go`, `DefaultLinuxSpec`).
pub const MASKED_PATHS: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Paths a container can read and not write, as in Docker.
pub const READONLY_PATHS: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    pub id: ContainerId,
    pub hostname: String,
    pub init: Process,
    /// The init's input ends with the first client that ends it, not only with
    /// the container.
    pub stdin_once: bool,
    /// The root filesystem cannot be written.
    pub read_only: bool,
    /// Nothing that it writes is looked at when it is gone, so that nothing
    /// need reach a disk.
    pub ephemeral: bool,
    pub etc: EtcFiles,
    pub limits: Limits,
    pub masked_paths: Vec<String>,
    pub readonly_paths: Vec<String>,
}

/// The files of `/etc` that the engine writes, not the image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EtcFiles {
    pub hosts: String,
    pub hostname: String,
    pub resolv_conf: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Memory of all the container's processes and their page cache.
    pub memory: Option<Bytes>,
    pub cpus: Option<NanoCpus>,
    /// Number of tasks.
    pub pids: Option<u32>,
    /// Size of `/dev/shm`; Docker's default is 64 MiB.
    pub shm_size: Option<Bytes>,
}
