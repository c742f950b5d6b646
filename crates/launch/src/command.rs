//! A process to start, checked and in the form the kernel wants it: what can
//! be refused is refused before anything is made.

use std::ffi::CString;

use casemate_model::{Capabilities, Process, Rlimit, RlimitKind, Seccomp, TerminalSize, UserSpec};

use crate::error::LaunchError;
use crate::sys::FilterInstruction;

/// `BPF_MAXINSNS` of linux/bpf_common.h.
const LONGEST_FILTER: usize = 4096;

#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) name: String,
    pub(crate) argv: Vec<CString>,
    pub(crate) env: Vec<CString>,
    pub(crate) has_home: bool,
    /// Directories in which a name without a slash is looked up.
    pub(crate) search: Vec<String>,
    pub(crate) directory: String,
    pub(crate) user: UserSpec,
    pub(crate) additional_groups: Vec<String>,
    pub(crate) terminal: Option<TerminalSize>,
    pub(crate) stdin: bool,
    pub(crate) capabilities: Capabilities,
    pub(crate) no_new_privileges: bool,
    pub(crate) filter: Option<Filter>,
    pub(crate) limits: Vec<Limit>,
    pub(crate) oom_score_adj: i32,
}

/// `setrlimit`'s arguments, and the limit's name.
#[derive(Debug)]
pub(crate) struct Limit {
    pub(crate) resource: u32,
    pub(crate) soft: u64,
    pub(crate) hard: u64,
    pub(crate) name: &'static str,
}

#[derive(Clone)]
pub(crate) struct Filter {
    pub(crate) instructions: Vec<FilterInstruction>,
    /// `SECCOMP_FILTER_FLAG_*`.
    pub(crate) flags: u32,
}

/// Where the engine's own first process is found in a container that has one,
/// as in Docker.
pub(crate) const REAPER: &str = "/sbin/docker-init";

impl std::fmt::Debug for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Filter({} instructions, flags {:#x})", self.instructions.len(), self.flags)
    }
}

impl Command {
    pub(crate) fn check(process: &Process) -> Result<Self, LaunchError> {
        // Each field is decided here.
        let Process {
            args,
            env,
            cwd,
            user,
            additional_groups,
            terminal,
            stdin,
            capabilities,
            no_new_privileges,
            seccomp,
            rlimits,
            oom_score_adj,
        } = process;
        let name = args.first().ok_or(LaunchError::NoCommand)?.clone();
        if name.is_empty() {
            return Err(LaunchError::CommandNotInPath { command: name });
        }
        if !cwd.starts_with('/') {
            return Err(LaunchError::WorkingDirectory { directory: cwd.clone() });
        }
        if cwd.contains('\0') {
            return Err(LaunchError::NulByte { what: "the working directory".to_owned() });
        }
        Ok(Self {
            name,
            argv: c_strings(args, "an argument")?,
            env: c_strings(env, "the environment")?,
            has_home: last_value(env, "HOME").is_some_and(|home| !home.is_empty()),
            search: search_path(last_value(env, "PATH").unwrap_or_default()),
            directory: cwd.clone(),
            user: user.clone(),
            additional_groups: additional_groups.clone(),
            terminal: *terminal,
            stdin: *stdin,
            capabilities: *capabilities,
            no_new_privileges: *no_new_privileges,
            filter: seccomp.as_ref().map(filter).transpose()?,
            limits: rlimits.iter().map(limit).collect(),
            oom_score_adj: *oom_score_adj,
        })
    }

    /// The same command behind the engine's own first process, which starts it.
    pub(crate) fn behind_reaper(mut self) -> Self {
        self.name = REAPER.to_owned();
        self.argv.splice(0..0, [c"/sbin/docker-init".to_owned(), c"--".to_owned()]);
        self
    }
}

fn c_strings(strings: &[String], what: &str) -> Result<Vec<CString>, LaunchError> {
    let convert = |s: &String| CString::new(s.as_bytes()).map_err(|_| LaunchError::NulByte { what: what.to_owned() });
    strings.iter().map(convert).collect()
}

/// Where a name is given twice, the later one counts.
fn last_value<'a>(env: &'a [String], name: &str) -> Option<&'a str> {
    env.iter().rev().find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='))
}

/// Absolute directories only: Go's `exec.LookPath`, which runc uses, refuses
/// what it finds through others too.
fn search_path(path: &str) -> Vec<String> {
    path.split(':').filter(|directory| directory.starts_with('/')).map(str::to_owned).collect()
}

fn filter(seccomp: &Seccomp) -> Result<Filter, LaunchError> {
    let Seccomp { program, log, allow_speculation } = seccomp;
    let chunks = program.chunks_exact(8);
    if !chunks.remainder().is_empty() || !(1..=LONGEST_FILTER).contains(&chunks.len()) {
        return Err(LaunchError::SeccompProgram { bytes: program.len() });
    }
    let flag = |is: bool, flag: libc::c_ulong| if is { flag as u32 } else { 0 };
    let flags =
        flag(*log, libc::SECCOMP_FILTER_FLAG_LOG) | flag(*allow_speculation, libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW);
    let instruction = |c: &[u8]| FilterInstruction {
        code: u16::from_ne_bytes([c[0], c[1]]),
        jt: c[2],
        jf: c[3],
        k: u32::from_ne_bytes([c[4], c[5], c[6], c[7]]),
    };
    Ok(Filter { instructions: chunks.map(instruction).collect(), flags })
}

fn limit(limit: &Rlimit) -> Limit {
    let (resource, name) = match limit.kind {
        RlimitKind::As => (libc::RLIMIT_AS, "as"),
        RlimitKind::Core => (libc::RLIMIT_CORE, "core"),
        RlimitKind::Cpu => (libc::RLIMIT_CPU, "cpu"),
        RlimitKind::Data => (libc::RLIMIT_DATA, "data"),
        RlimitKind::Fsize => (libc::RLIMIT_FSIZE, "fsize"),
        RlimitKind::Locks => (libc::RLIMIT_LOCKS, "locks"),
        RlimitKind::Memlock => (libc::RLIMIT_MEMLOCK, "memlock"),
        RlimitKind::Msgqueue => (libc::RLIMIT_MSGQUEUE, "msgqueue"),
        RlimitKind::Nice => (libc::RLIMIT_NICE, "nice"),
        RlimitKind::Nofile => (libc::RLIMIT_NOFILE, "nofile"),
        RlimitKind::Nproc => (libc::RLIMIT_NPROC, "nproc"),
        RlimitKind::Rss => (libc::RLIMIT_RSS, "rss"),
        RlimitKind::Rtprio => (libc::RLIMIT_RTPRIO, "rtprio"),
        RlimitKind::Rttime => (libc::RLIMIT_RTTIME, "rttime"),
        RlimitKind::Sigpending => (libc::RLIMIT_SIGPENDING, "sigpending"),
        RlimitKind::Stack => (libc::RLIMIT_STACK, "stack"),
    };
    let value = |v: Option<u64>| v.unwrap_or(libc::RLIM64_INFINITY);
    Limit { resource, soft: value(limit.soft), hard: value(limit.hard), name }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process() -> Process {
        Process {
            args: vec!["sh".to_owned()],
            env: vec!["PATH=/bin".to_owned()],
            cwd: "/".to_owned(),
            user: UserSpec::default(),
            additional_groups: Vec::new(),
            terminal: None,
            stdin: false,
            capabilities: Capabilities::NONE,
            no_new_privileges: false,
            seccomp: None,
            rlimits: Vec::new(),
            oom_score_adj: 0,
        }
    }

    fn seccomp(length: usize) -> Option<Seccomp> {
        Some(Seccomp { program: vec![0; length], log: false, allow_speculation: false })
    }

    #[test]
    fn what_no_kernel_takes_is_refused_first() {
        assert!(Command::check(&process()).is_ok());
        for (change, expected) in [
            (Box::new(|p: &mut Process| p.args.clear()) as Box<dyn Fn(&mut Process)>, "no command specified"),
            (Box::new(|p| p.args[0].clear()), "exec: \"\": executable file not found in $PATH"),
            (Box::new(|p| p.args.push("a\0b".to_owned())), "an argument holds a NUL byte"),
            (Box::new(|p| p.env.push("a=\0".to_owned())), "the environment holds a NUL byte"),
            (
                Box::new(|p| p.cwd = "tmp".to_owned()),
                "the working directory 'tmp' is invalid, it needs to be an absolute path",
            ),
            (Box::new(|p| p.seccomp = seccomp(9)), "a seccomp filter of 9 bytes is not a program"),
            (Box::new(|p| p.seccomp = seccomp(0)), "a seccomp filter of 0 bytes is not a program"),
        ] {
            let mut process = process();
            change(&mut process);
            assert_eq!(Command::check(&process).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn the_last_value_of_a_variable_counts() {
        let mut process = process();
        process.env = ["PATH=/a", "HOME=/x", "PATH=/b::rel:/c", "HOME="].map(str::to_owned).to_vec();
        let command = Command::check(&process).unwrap();
        assert_eq!(command.search, ["/b", "/c"]);
        assert!(!command.has_home);
    }

    #[test]
    fn the_reaper_goes_before_the_command() {
        let command = Command::check(&process()).unwrap().behind_reaper();
        assert_eq!(command.name, REAPER);
        assert_eq!(command.argv[0].to_str(), Ok(REAPER));
        assert_eq!(command.argv[1..], [c"--".to_owned(), c"sh".to_owned()]);
    }
}
