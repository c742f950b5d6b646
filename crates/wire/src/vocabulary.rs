//! What is said on the wire, in checked types.

use std::path::PathBuf;

use casemate_model::{Bytes, Container, NanoCpus};

/// A container to make, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Create {
    pub container: Container,
    pub place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Asked of a keeper: process isolation.
    Host(HostPlace),
    /// Asked of a keeper: hyperv isolation.
    Vm(VmPlace),
    /// Asked of an agent, by the keeper of its VM.
    Guest(GuestPlace),
}

/// Where a process-isolated container's root comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPlace {
    /// Layer directories, topmost first.
    pub lowers: Vec<PathBuf>,
    pub upper: PathBuf,
    pub work: PathBuf,
}

/// What a utility VM is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmPlace {
    /// QEMU's program; the first of its name on the system path if absent.
    pub qemu: Option<PathBuf>,
    pub kernel: PathBuf,
    pub initrd: PathBuf,
    /// EROFS images, lowest first.
    pub layers: Vec<PathBuf>,
    /// The container's writable disk, made if missing.
    pub scratch: PathBuf,
    pub scratch_size: Bytes,
    /// Where prepared empty disks are kept.
    pub scratch_cache: PathBuf,
    /// The user the VM process runs as: a number that nothing else has.
    pub uid: u32,
    /// `auto`, `kvm` or `tcg`.
    pub accelerator: String,
    /// How long the VM may take to come up, in milliseconds.
    pub boot_timeout_ms: u64,
}

/// What an agent finds in its VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestPlace {
    /// Where the layers' images lie on the layer disk, lowest first.
    pub layers: Vec<Extent>,
    /// The wall clock to set, in nanoseconds since 1970.
    pub time_ns: u64,
    /// Fresh random bytes for the guest's own generator.
    pub entropy: Vec<u8>,
}

/// A stretch of a disk, in bytes; both are multiples of 512.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    pub offset: u64,
    pub length: u64,
}

/// One step of a start: when it began, counted from the request, and how long
/// it took, in microseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    pub name: String,
    pub start_us: u64,
    pub duration_us: u64,
}

/// A container that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// Its init's pid on the kernel that the answering side stands on; for a
    /// VM that of the VM process.
    pub pid: u32,
    pub timeline: Vec<Span>,
}

/// What a guest says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestFacts {
    pub kernel_release: String,
    pub boot_id: String,
    pub memory_total: Bytes,
    pub cpus: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    pub memory_usage: Bytes,
    pub memory_limit: Option<Bytes>,
    pub cpu_ns: u64,
    pub cpu_limit: Option<NanoCpus>,
    pub pids: u64,
}

/// A line of `top`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerProcess {
    /// On the kernel that runs the container.
    pub pid: u32,
    pub parent: u32,
    pub uid: u32,
    /// Processor time used, in milliseconds.
    pub cpu_ms: u64,
    /// Seconds since 1970.
    pub started: u64,
    pub command: String,
}
