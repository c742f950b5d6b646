//! A process to start in a container: its init, or an `exec`.

use crate::{Capabilities, ExecId, UserSpec};

/// Which process of a container is meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ProcessRef {
    Init,
    Exec(ExecId),
}

/// Which of a process's outputs. With a terminal there is `Stdout` only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OutputStream {
    Stdout,
    Stderr,
}

/// Rows and columns of a terminal, in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TerminalSize {
    pub rows: u16,
    pub columns: u16,
}

/// A seccomp filter, compiled.
#[derive(Clone, PartialEq, Eq)]
pub struct Seccomp {
    /// A classic BPF program for the kernel that the process will stand on,
    /// eight bytes an instruction in native byte order (`struct sock_filter`).
    pub program: Vec<u8>,
    /// The kernel logs what the filter refuses.
    pub log: bool,
    /// Speculation that a filter would have the kernel switch off stays on.
    pub allow_speculation: bool,
}

impl std::fmt::Debug for Seccomp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { program, log, allow_speculation } = self;
        let instructions = program.len() / 8;
        write!(f, "Seccomp({instructions} instructions, log: {log}, allow_speculation: {allow_speculation})")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// A resource limit; `None` is unlimited. Units are setrlimit(2)'s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rlimit {
    pub kind: RlimitKind,
    pub soft: Option<u64>,
    pub hard: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// The command and its arguments; the command is looked up in `PATH` of
    /// `env` unless it holds a slash.
    pub args: Vec<String>,
    /// `NAME=value`, in order.
    pub env: Vec<String>,
    /// Absolute, made if missing (only for an init).
    pub cwd: String,
    pub user: UserSpec,
    /// Groups beside the user's own, as names or numbers.
    pub additional_groups: Vec<String>,
    /// Run on a terminal of this size.
    pub terminal: Option<TerminalSize>,
    /// Keep standard input open for a writer; otherwise it is `/dev/null`.
    pub stdin: bool,
    pub capabilities: Capabilities,
    pub no_new_privileges: bool,
    pub seccomp: Option<Seccomp>,
    pub rlimits: Vec<Rlimit>,
    /// How readily the kernel kills it for want of memory, -1000 to 1000.
    pub oom_score_adj: i32,
}
