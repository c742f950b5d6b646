//! What is said on the wire, in checked types.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use casemate_model::{Bytes, Card, Container, Egress, ExecId, Interface, Protocol, Publication};

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
    /// The program that goes before the container's own where it asked for
    /// that (`--init`).
    pub reaper: Option<PathBuf>,
    pub network: Network,
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
    /// Its namespace is the VM's own.
    pub network: Network,
}

/// What an agent finds in its VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestPlace {
    /// Where the layers' images lie on the layer disk, lowest first.
    pub layers: Vec<Extent>,
    /// Nobody has used the scratch disk before.
    pub fresh: bool,
    /// The wall clock to set, in nanoseconds since 1970.
    pub time_ns: u64,
    /// Fresh random bytes for the guest's own generator.
    pub entropy: Vec<u8>,
    pub cards: Vec<Card>,
}

/// What a container has of networks beside its loopback.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    pub namespace: NetworkNamespace,
    pub links: Vec<Link>,
    /// Held on the host, and served where the firewall leads nobody.
    pub publications: Vec<Publication>,
    pub resolver: Option<Resolver>,
}

/// What a container that runs is to have of networks from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewired {
    pub network: Network,
    /// Its `/etc/hosts` and `/etc/resolv.conf`. What was changed in there by
    /// somebody else stays.
    pub hosts: String,
    pub resolv_conf: String,
}

/// The same, as it is said to the agent of a VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reconfigured {
    /// All of them.
    pub cards: Vec<Card>,
    pub hosts: String,
    pub resolv_conf: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NetworkNamespace {
    #[default]
    Own,
    /// The one that the keeper is in.
    Host,
    /// One that exists, by its file.
    At(PathBuf),
}

/// A container's link to a bridge of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Name of its end on the host.
    pub port: String,
    pub bridge: String,
    /// The bridge passes nothing between isolated ports.
    pub isolated: bool,
    pub interface: Interface,
}

/// What answers at 127.0.0.11 inside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolver {
    /// Files with the names of its networks' containers, each network's in one.
    pub networks: Vec<PathBuf>,
    /// Further names of containers, for this one alone: each with the
    /// container's id.
    pub links: Vec<(String, String)>,
    /// Who is asked for the rest, from the keeper's own network.
    pub upstreams: Vec<IpAddr>,
    /// Where answers may point to; anywhere if absent.
    pub answers: Option<Egress>,
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

/// A further process that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecStarted {
    pub id: ExecId,
    /// On the kernel that runs the container.
    pub pid: u32,
}

/// What a guest says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestFacts {
    pub kernel_release: String,
    pub boot_id: String,
    pub memory_total: Bytes,
    pub cpus: u32,
}

/// What a container uses, as the kernel that runs it counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    pub cpu: CpuStats,
    pub memory: MemoryStats,
    pub blkio: Vec<BlkioStats>,
    pub pids: PidsStats,
    /// Under hyperv isolation, what all this costs the host.
    pub vm: Option<VmCost>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuStats {
    pub total_ns: u64,
    pub user_ns: u64,
    pub system_ns: u64,
    /// Periods of a quota that have passed, and those in which it was used up.
    pub periods: u64,
    pub throttled_periods: u64,
    pub throttled_ns: u64,
    /// Time of all processors of the kernel since it booted, idle or not.
    pub machine_ns: u64,
    pub online_cpus: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryStats {
    /// With the page cache.
    pub usage: Bytes,
    /// The most there ever was, where the kernel remembers.
    pub max_usage: Option<Bytes>,
    /// The container's own, or all that there is.
    pub limit: Bytes,
    /// How often it was at its limit and nothing could be reclaimed.
    pub failures: u64,
    /// The kernel's `memory.stat`, line by line: names differ between versions
    /// of control groups.
    pub detail: Vec<(String, u64)>,
}

/// What went from and to one disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlkioStats {
    pub major: u32,
    pub minor: u32,
    pub read_bytes: u64,
    pub write_bytes: u64,
    pub reads: u64,
    pub writes: u64,
}

/// Tasks, that is processes and threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PidsStats {
    pub current: u64,
    pub limit: Option<u64>,
}

/// A VM as the host sees it, all its guest's memory and processors included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VmCost {
    pub cpu_ns: u64,
    pub memory: Bytes,
}

/// A line of `top`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerProcess {
    /// On the kernel that runs the container.
    pub pid: u32,
    pub parent: u32,
    pub uid: u32,
    /// The number of its terminal in the container.
    pub tty: Option<u32>,
    /// The kernel's letter, as `R` or `S`.
    pub state: char,
    /// Processor time used, in milliseconds.
    pub cpu_ms: u64,
    /// The same as a part of the time it has lived, in a hundred.
    pub cpu_percent: u32,
    /// Seconds since 1970.
    pub started: u64,
    pub virtual_memory: Bytes,
    pub resident_memory: Bytes,
    pub command: String,
}

/// Sockets that are looked at: some hundred bytes each, as they are written, and
/// who reads the list does not read more.
pub const MAX_SOCKETS: usize = 4096;

/// TCP's and UDP's in the network that a container is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sockets {
    /// At most [`MAX_SOCKETS`].
    pub sockets: Vec<Socket>,
    /// Whether there are others beside those.
    pub more: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket {
    pub protocol: Protocol,
    pub local: SocketAddr,
    /// `None` of one that hears whoever speaks to it.
    pub peer: Option<SocketAddr>,
    /// One of the container's processes that has it, if one has and was found.
    pub owner: Option<SocketOwner>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketOwner {
    /// On the kernel that runs the container.
    pub pid: u32,
    /// The kernel's short name of it.
    pub name: String,
}
