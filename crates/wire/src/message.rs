//! The vocabulary as it is written: JSON, every field named, unknown ones
//! refused. [`crate::convert`] turns it into checked types and back.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    Create(Box<Create>),
    /// Prepare a container for requests about its files.
    OpenFiles(Box<Create>),
    Start,
    Exec(Box<Process>),
    Signal {
        process: ProcessRef,
        signal: u8,
    },
    Resize {
        process: ProcessRef,
        rows: u16,
        columns: u16,
    },
    Wait {
        process: ProcessRef,
    },
    /// Signal, then kill after a while; `timeout_ms` absent: never.
    Stop {
        signal: u8,
        timeout_ms: Option<u64>,
    },
    /// Let nothing in the container run, and again.
    Pause,
    Unpause,
    Update(Box<Limits>),
    /// Have this of networks instead of what it had. Its namespace stays.
    Rewire(Box<Rewired>),
    Processes,
    Sockets,
    Stats,
    Facts,
    /// Take the container's remains away and end the other side.
    Shutdown,
    /// The rest of the stream is the process's input.
    Stdin {
        process: ProcessRef,
    },
    /// The rest of the stream is the process's output.
    Output {
        process: ProcessRef,
        stream: OutputStream,
    },
    /// The same of a guest's network cards.
    Reconfigure(Box<Reconfigured>),
    /// Open the embedded resolver's sockets: the rest of the stream is what is
    /// asked there, and the answers, see [`crate::dns_messages`].
    Resolve,
    Files(FilesRequest),
}

/// About a container's files. All but the first have more to their stream, see
/// [`crate::bulk`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum FilesRequest {
    StatPath { path: String },
    CopyOut { path: String },
    CopyIn { path: String, no_overwrite_dir_non_dir: bool, copy_uid_gid: bool },
    Changes,
    Export,
    Layer,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Response {
    Done,
    Started { pid: u32, timeline: Vec<Span> },
    Exec { id: String, pid: u32 },
    Exited { status: ExitStatus, oom_killed: bool, reason: Option<String> },
    Processes(Vec<ContainerProcess>),
    Sockets { sockets: Vec<Socket>, more: bool },
    Stats(Box<Stats>),
    Facts { kernel_release: String, boot_id: String, memory_total: u64, cpus: u32 },
    PathStat { name: String, size: u64, mode: u32, mtime_s: i64, mtime_ns: u32, link_target: String },
    Failed { class: String, message: String, hint: Option<String> },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum ProcessRef {
    Init,
    Exec(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutputStream {
    Stdout,
    Stderr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum ExitStatus {
    Code(u8),
    Signal(u8),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Span {
    pub name: String,
    pub start_us: u64,
    pub duration_us: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Create {
    pub container: Container,
    pub place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Place {
    Host {
        lowers: Vec<String>,
        upper: String,
        work: String,
        reaper: Option<String>,
        network: Network,
    },
    Vm {
        qemu: Option<String>,
        kernel: String,
        initrd: String,
        layers: Vec<String>,
        scratch: String,
        scratch_size: u64,
        scratch_cache: String,
        uid: u32,
        accelerator: String,
        boot_timeout_ms: u64,
        network: Network,
    },
    Guest {
        /// Offset and length, each.
        layers: Vec<(u64, u64)>,
        fresh: bool,
        time_ns: u64,
        entropy: Vec<u8>,
        cards: Vec<Card>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    pub namespace: NetworkNamespace,
    pub links: Vec<Link>,
    pub publications: Vec<Publication>,
    pub resolver: Option<Resolver>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    pub mac: String,
    pub interface: Option<Interface>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reconfigured {
    pub cards: Vec<Card>,
    pub hosts: String,
    pub resolv_conf: String,
}

/// A container's networks, and the files of its `/etc` that speak of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rewired {
    pub network: Network,
    pub hosts: String,
    pub resolv_conf: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum NetworkNamespace {
    Own,
    Host,
    At(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    pub port: String,
    pub bridge: String,
    pub isolated: bool,
    pub interface: Interface,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interface {
    pub name: String,
    pub mac: String,
    pub mtu: Option<u32>,
    /// With the length of their prefix.
    pub addresses: Vec<String>,
    pub gateways: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Publication {
    pub protocol: String,
    pub host: String,
    pub to: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resolver {
    pub networks: Vec<String>,
    /// Name and id of a container, each.
    pub links: Vec<(String, String)>,
    pub upstreams: Vec<String>,
    pub answers: Option<Egress>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Egress {
    pub public: bool,
    pub ranges: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Container {
    pub id: String,
    pub hostname: String,
    pub domainname: String,
    pub init: Process,
    pub stdin_once: bool,
    pub reaper: bool,
    pub read_only: bool,
    pub ephemeral: bool,
    pub hosts: String,
    pub etc_hostname: String,
    pub resolv_conf: String,
    pub limits: Limits,
    pub shm_size: Option<u64>,
    /// Path and options, each.
    pub tmpfs: Vec<(String, String)>,
    /// Name and value, each.
    pub sysctls: Vec<(String, String)>,
    pub host_pid: bool,
    pub ipc: Ipc,
    pub host_uts: bool,
    pub host_cgroup: bool,
    pub privileged: bool,
    pub devices: Vec<Device>,
    pub device_rules: Vec<String>,
    pub masked_paths: Vec<String>,
    pub readonly_paths: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ipc {
    Own,
    None,
    Host,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    pub host_path: String,
    pub path: String,
    pub access: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    pub memory: Option<u64>,
    pub memory_swap: Option<MemorySwap>,
    pub memory_reservation: Option<u64>,
    pub memory_swappiness: Option<u8>,
    pub oom_kill_disable: bool,
    pub cpu_quota: Option<CpuQuota>,
    pub cpu_shares: Option<u64>,
    pub cpuset_cpus: Option<String>,
    pub cpuset_mems: Option<String>,
    pub pids: Option<u32>,
    pub blkio_weight: Option<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum MemorySwap {
    Unlimited,
    Total(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CpuQuota {
    pub quota_us: Option<u64>,
    pub period_us: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Process {
    pub args: Vec<String>,
    pub env: Vec<String>,
    pub cwd: String,
    pub user: String,
    pub additional_groups: Vec<String>,
    /// Rows and columns.
    pub terminal: Option<(u16, u16)>,
    pub stdin: bool,
    /// A bit each, at the kernel's number.
    pub capabilities: u64,
    pub no_new_privileges: bool,
    pub seccomp: Option<Seccomp>,
    pub rlimits: Vec<Rlimit>,
    pub oom_score_adj: i32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seccomp {
    /// Hexadecimal, 16 digits an instruction.
    pub program: String,
    pub log: bool,
    pub allow_speculation: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rlimit {
    pub kind: RlimitKind,
    pub soft: Option<u64>,
    pub hard: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RlimitKind {
    As,
    Core,
    Cpu,
    Data,
    Fsize,
    Locks,
    Memlock,
    Msgqueue,
    Nice,
    Nofile,
    Nproc,
    Rss,
    Rtprio,
    Rttime,
    Sigpending,
    Stack,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stats {
    pub cpu: CpuStats,
    pub memory: MemoryStats,
    pub blkio: Vec<BlkioStats>,
    pub pids: PidsStats,
    pub vm: Option<VmCost>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CpuStats {
    pub total_ns: u64,
    pub user_ns: u64,
    pub system_ns: u64,
    pub periods: u64,
    pub throttled_periods: u64,
    pub throttled_ns: u64,
    pub machine_ns: u64,
    pub online_cpus: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryStats {
    pub usage: u64,
    pub max_usage: Option<u64>,
    pub limit: u64,
    pub failures: u64,
    pub detail: Vec<(String, u64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlkioStats {
    pub major: u32,
    pub minor: u32,
    pub read_bytes: u64,
    pub write_bytes: u64,
    pub reads: u64,
    pub writes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PidsStats {
    pub current: u64,
    pub limit: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VmCost {
    pub cpu_ns: u64,
    pub memory: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContainerProcess {
    pub pid: u32,
    pub parent: u32,
    pub uid: u32,
    pub tty: Option<u32>,
    pub state: char,
    pub cpu_ms: u64,
    pub cpu_percent: u32,
    pub started: u64,
    pub virtual_memory: u64,
    pub resident_memory: u64,
    pub command: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Socket {
    pub protocol: String,
    /// With its port.
    pub local: String,
    /// Absent of one that hears whoever speaks to it.
    pub peer: Option<String>,
    pub owner: Option<SocketOwner>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SocketOwner {
    pub pid: u32,
    pub name: String,
}
