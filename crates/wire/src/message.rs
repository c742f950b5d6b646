//! The vocabulary as it is written: JSON, every field named, unknown ones
//! refused. [`crate::convert`] turns it into checked types and back.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    Create(Box<Create>),
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
    Processes,
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
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Response {
    Done,
    Started { pid: u32, timeline: Vec<Span> },
    Exec { id: String },
    Exited { status: ExitStatus, oom_killed: bool, reason: Option<String> },
    Processes(Vec<ContainerProcess>),
    Stats { memory_usage: u64, memory_limit: Option<u64>, cpu_ns: u64, cpu_limit: Option<u64>, pids: u64 },
    Facts { kernel_release: String, boot_id: String, memory_total: u64, cpus: u32 },
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
    },
    Guest {
        /// Offset and length, each.
        layers: Vec<(u64, u64)>,
        time_ns: u64,
        entropy: Vec<u8>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Container {
    pub id: String,
    pub hostname: String,
    pub init: Process,
    pub stdin_once: bool,
    pub read_only: bool,
    pub ephemeral: bool,
    pub hosts: String,
    pub etc_hostname: String,
    pub resolv_conf: String,
    pub memory: Option<u64>,
    pub nano_cpus: Option<u64>,
    pub pids: Option<u32>,
    pub shm_size: Option<u64>,
    pub masked_paths: Vec<String>,
    pub readonly_paths: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Process {
    pub args: Vec<String>,
    pub env: Vec<String>,
    pub cwd: String,
    pub user: String,
    /// Rows and columns.
    pub terminal: Option<(u16, u16)>,
    pub stdin: bool,
    /// A bit each, at the kernel's number.
    pub capabilities: u64,
    pub no_new_privileges: bool,
    /// Hexadecimal, 16 digits an instruction.
    pub seccomp: Option<String>,
    pub rlimits: Vec<Rlimit>,
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
pub struct ContainerProcess {
    pub pid: u32,
    pub parent: u32,
    pub uid: u32,
    pub cpu_ms: u64,
    pub started: u64,
    pub command: String,
}
