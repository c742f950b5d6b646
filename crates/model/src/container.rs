//! A container as a launcher needs it: checked, resolved, and the same
//! whether the launcher stands on the host or in a utility VM.

use crate::{Bytes, ContainerId, Device, DeviceRule, Limits, Process, Sysctl, Tmpfs};

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
    /// The NIS domain; empty for none.
    pub domainname: String,
    pub init: Process,
    /// The init's input ends with the first client that ends it, not only with
    /// the container.
    pub stdin_once: bool,
    /// `--init`: a process of the engine's stands before `init`, takes care of
    /// orphans and passes signals on.
    pub reaper: bool,
    /// The root filesystem cannot be written.
    pub read_only: bool,
    /// Nothing that it writes is looked at when it is gone, so that nothing
    /// need reach a disk.
    pub ephemeral: bool,
    pub etc: EtcFiles,
    pub limits: Limits,
    /// Size of `/dev/shm`; Docker's default is 64 MiB.
    pub shm_size: Option<Bytes>,
    pub tmpfs: Vec<Tmpfs>,
    pub sysctls: Vec<Sysctl>,
    pub namespaces: Namespaces,
    /// All devices of the kernel it stands on, and its kernel filesystems
    /// writable. Capabilities, seccomp and hidden paths are said elsewhere.
    pub privileged: bool,
    pub devices: Vec<Device>,
    /// What it may use beside the harmless devices and `devices`.
    pub device_rules: Vec<DeviceRule>,
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

/// Which namespaces a container shares with the kernel it stands on. Others it
/// always has of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Namespaces {
    pub pid: Namespace,
    pub ipc: Ipc,
    pub uts: Namespace,
    pub cgroup: Namespace,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Namespace {
    #[default]
    Own,
    Host,
}

/// Shared memory, semaphores and message queues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ipc {
    #[default]
    Own,
    /// Of its own, and no `/dev/shm`.
    None,
    Host,
}

impl Namespaces {
    /// By Docker's options, those that are the host's.
    pub fn shared(self) -> impl Iterator<Item = &'static str> {
        let Self { pid, ipc, uts, cgroup } = self;
        let shared = [
            ("--pid host", pid == Namespace::Host),
            ("--ipc host", ipc == Ipc::Host),
            ("--uts host", uts == Namespace::Host),
            ("--cgroupns host", cgroup == Namespace::Host),
        ];
        shared.into_iter().filter(|(_, is)| *is).map(|(name, _)| name)
    }
}
