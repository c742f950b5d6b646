//! Between the written form ([`crate::message`]) and checked types. Every
//! conversion names every field, so that a new one does not compile until it
//! has been decided upon.

use std::path::{Path, PathBuf};

use casemate_model::{
    Bytes, Capabilities, Classify, Container, ErrorClass, EtcFiles, ExecId, ExitStatus, Exited, Failure, InvalidId,
    InvalidUser, Limits, NanoCpus, OutputStream, Process, ProcessRef, Rlimit, RlimitKind, Seccomp, Signal,
    TerminalSize, UnknownSignal,
};

use crate::client::CallError;
use crate::message as written;
use crate::vocabulary::{
    ContainerProcess, Create, Extent, GuestFacts, GuestPlace, HostPlace, Place, Span, Started, Stats, VmPlace,
};

/// Words from the other side are cut to this many characters: they end up in
/// records, logs and terminals.
const MAX_WORDS: usize = 4096;

/// A message whose form is right and whose content is not.
#[derive(Debug, thiserror::Error)]
pub enum InvalidMessage {
    #[error(transparent)]
    Id(InvalidId),
    #[error(transparent)]
    User(InvalidUser),
    #[error(transparent)]
    Signal(UnknownSignal),
    #[error("seccomp program is not a row of instructions in hexadecimal")]
    Seccomp,
    #[error("no command")]
    NoCommand,
    #[error("{field} holds a null byte")]
    NullByte { field: &'static str },
    #[error("layer at {offset} of {length} bytes: not made of whole sectors")]
    Extent { offset: u64, length: u64 },
}

impl Classify for InvalidMessage {
    fn class(&self) -> ErrorClass {
        ErrorClass::InvalidArgument
    }
}

impl From<InvalidMessage> for Failure {
    fn from(error: InvalidMessage) -> Self {
        Failure::from_error(&error)
    }
}

pub(crate) fn signal(number: u8) -> Result<Signal, InvalidMessage> {
    Signal::from_number(number.into()).map_err(InvalidMessage::Signal)
}

pub(crate) fn failed(failure: Failure) -> written::Response {
    let Failure { class, message, hint } = failure;
    written::Response::Failed { class: class.name().to_owned(), message, hint }
}

pub(crate) fn failure(class: &str, message: String, hint: Option<String>) -> Failure {
    const CLASSES: [ErrorClass; 11] = [
        ErrorClass::InvalidArgument,
        ErrorClass::NotFound,
        ErrorClass::Conflict,
        ErrorClass::NotModified,
        ErrorClass::CommandNotFound,
        ErrorClass::CommandNotExecutable,
        ErrorClass::Unavailable,
        ErrorClass::ResourceExhausted,
        ErrorClass::Timeout,
        ErrorClass::Protocol,
        ErrorClass::Internal,
    ];
    let class = CLASSES.into_iter().find(|c| c.name() == class).unwrap_or(ErrorClass::Internal);
    Failure { class, message: printable(&message), hint: hint.as_deref().map(printable) }
}

/// The text without what would move a terminal's cursor, cut to a length.
fn printable(text: &str) -> String {
    let safe = |c: char| if c.is_control() && c != '\n' { '\u{fffd}' } else { c };
    text.chars().take(MAX_WORDS).map(safe).collect()
}

fn no_null(field: &'static str, text: String) -> Result<String, InvalidMessage> {
    if text.contains('\0') { Err(InvalidMessage::NullByte { field }) } else { Ok(text) }
}

fn no_nulls(field: &'static str, texts: Vec<String>) -> Result<Vec<String>, InvalidMessage> {
    texts.into_iter().map(|text| no_null(field, text)).collect()
}

/// Paths on the wire are text: the engine refuses a state directory whose name
/// is not UTF-8.
fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn texts(paths: &[PathBuf]) -> Vec<String> {
    paths.iter().map(|path| text(path)).collect()
}

impl From<&ProcessRef> for written::ProcessRef {
    fn from(process: &ProcessRef) -> Self {
        match process {
            ProcessRef::Init => Self::Init,
            ProcessRef::Exec(id) => Self::Exec(id.as_str().to_owned()),
        }
    }
}

impl From<written::ProcessRef> for Result<ProcessRef, Failure> {
    fn from(process: written::ProcessRef) -> Self {
        match process {
            written::ProcessRef::Init => Ok(ProcessRef::Init),
            written::ProcessRef::Exec(id) => {
                let id: ExecId = id.parse().map_err(InvalidMessage::Id)?;
                Ok(ProcessRef::Exec(id))
            }
        }
    }
}

impl From<OutputStream> for written::OutputStream {
    fn from(stream: OutputStream) -> Self {
        match stream {
            OutputStream::Stdout => Self::Stdout,
            OutputStream::Stderr => Self::Stderr,
        }
    }
}

impl From<written::OutputStream> for OutputStream {
    fn from(stream: written::OutputStream) -> Self {
        match stream {
            written::OutputStream::Stdout => Self::Stdout,
            written::OutputStream::Stderr => Self::Stderr,
        }
    }
}

impl TryFrom<written::ExitStatus> for ExitStatus {
    type Error = InvalidMessage;

    fn try_from(status: written::ExitStatus) -> Result<Self, InvalidMessage> {
        Ok(match status {
            written::ExitStatus::Code(code) => Self::Code(code),
            written::ExitStatus::Signal(number) => Self::Signal(signal(number)?),
        })
    }
}

impl From<Exited> for written::Response {
    fn from(exited: Exited) -> Self {
        let Exited { status, oom_killed, reason } = exited;
        let status = match status {
            ExitStatus::Code(code) => written::ExitStatus::Code(code),
            ExitStatus::Signal(signal) => written::ExitStatus::Signal(signal.number()),
        };
        Self::Exited { status, oom_killed, reason }
    }
}

impl TryFrom<written::Response> for Exited {
    type Error = CallError;

    fn try_from(response: written::Response) -> Result<Self, CallError> {
        let written::Response::Exited { status, oom_killed, reason } = response else {
            return Err(CallError::Unexpected);
        };
        let status = status.try_into().map_err(CallError::Invalid)?;
        Ok(Self { status, oom_killed, reason: reason.as_deref().map(printable) })
    }
}

impl From<Span> for written::Span {
    fn from(span: Span) -> Self {
        let Span { name, start_us, duration_us } = span;
        Self { name, start_us, duration_us }
    }
}

impl From<written::Span> for Span {
    fn from(span: written::Span) -> Self {
        let written::Span { name, start_us, duration_us } = span;
        Self { name: printable(&name), start_us, duration_us }
    }
}

impl From<Started> for written::Response {
    fn from(started: Started) -> Self {
        let Started { pid, timeline } = started;
        Self::Started { pid, timeline: timeline.into_iter().map(Into::into).collect() }
    }
}

impl From<Stats> for written::Response {
    fn from(stats: Stats) -> Self {
        let Stats { memory_usage, memory_limit, cpu_ns, cpu_limit, pids } = stats;
        Self::Stats {
            memory_usage: memory_usage.0,
            memory_limit: memory_limit.map(|b| b.0),
            cpu_ns,
            cpu_limit: cpu_limit.map(|c| c.0),
            pids,
        }
    }
}

impl TryFrom<written::Response> for Stats {
    type Error = CallError;

    fn try_from(response: written::Response) -> Result<Self, CallError> {
        let written::Response::Stats { memory_usage, memory_limit, cpu_ns, cpu_limit, pids } = response else {
            return Err(CallError::Unexpected);
        };
        Ok(Self {
            memory_usage: Bytes(memory_usage),
            memory_limit: memory_limit.map(Bytes),
            cpu_ns,
            cpu_limit: cpu_limit.map(NanoCpus),
            pids,
        })
    }
}

impl From<GuestFacts> for written::Response {
    fn from(facts: GuestFacts) -> Self {
        let GuestFacts { kernel_release, boot_id, memory_total, cpus } = facts;
        Self::Facts { kernel_release, boot_id, memory_total: memory_total.0, cpus }
    }
}

impl TryFrom<written::Response> for GuestFacts {
    type Error = CallError;

    fn try_from(response: written::Response) -> Result<Self, CallError> {
        let written::Response::Facts { kernel_release, boot_id, memory_total, cpus } = response else {
            return Err(CallError::Unexpected);
        };
        Ok(Self {
            kernel_release: printable(&kernel_release),
            boot_id: printable(&boot_id),
            memory_total: Bytes(memory_total),
            cpus,
        })
    }
}

impl From<ContainerProcess> for written::ContainerProcess {
    fn from(process: ContainerProcess) -> Self {
        let ContainerProcess { pid, parent, uid, cpu_ms, started, command } = process;
        Self { pid, parent, uid, cpu_ms, started, command }
    }
}

impl From<written::ContainerProcess> for ContainerProcess {
    fn from(process: written::ContainerProcess) -> Self {
        let written::ContainerProcess { pid, parent, uid, cpu_ms, started, command } = process;
        Self { pid, parent, uid, cpu_ms, started, command: printable(&command) }
    }
}

impl From<&Create> for written::Create {
    fn from(create: &Create) -> Self {
        let Create { container, place } = create;
        Self { container: container.into(), place: place.into() }
    }
}

impl TryFrom<written::Create> for Create {
    type Error = InvalidMessage;

    fn try_from(create: written::Create) -> Result<Self, InvalidMessage> {
        let written::Create { container, place } = create;
        Ok(Self { container: container.try_into()?, place: place.try_into()? })
    }
}

impl From<&Place> for written::Place {
    fn from(place: &Place) -> Self {
        match place {
            Place::Host(HostPlace { lowers, upper, work }) => {
                Self::Host { lowers: texts(lowers), upper: text(upper), work: text(work) }
            }
            Place::Vm(VmPlace {
                qemu,
                kernel,
                initrd,
                layers,
                scratch,
                scratch_size,
                scratch_cache,
                uid,
                accelerator,
                boot_timeout_ms,
            }) => Self::Vm {
                qemu: qemu.as_deref().map(text),
                kernel: text(kernel),
                initrd: text(initrd),
                layers: texts(layers),
                scratch: text(scratch),
                scratch_size: scratch_size.0,
                scratch_cache: text(scratch_cache),
                uid: *uid,
                accelerator: accelerator.clone(),
                boot_timeout_ms: *boot_timeout_ms,
            },
            Place::Guest(GuestPlace { layers, time_ns, entropy }) => Self::Guest {
                layers: layers.iter().map(|Extent { offset, length }| (*offset, *length)).collect(),
                time_ns: *time_ns,
                entropy: entropy.clone(),
            },
        }
    }
}

impl TryFrom<written::Place> for Place {
    type Error = InvalidMessage;

    fn try_from(place: written::Place) -> Result<Self, InvalidMessage> {
        let paths = |texts: Vec<String>| texts.into_iter().map(PathBuf::from).collect();
        Ok(match place {
            written::Place::Host { lowers, upper, work } => {
                Self::Host(HostPlace { lowers: paths(lowers), upper: upper.into(), work: work.into() })
            }
            written::Place::Vm {
                qemu,
                kernel,
                initrd,
                layers,
                scratch,
                scratch_size,
                scratch_cache,
                uid,
                accelerator,
                boot_timeout_ms,
            } => Self::Vm(VmPlace {
                qemu: qemu.map(PathBuf::from),
                kernel: kernel.into(),
                initrd: initrd.into(),
                layers: paths(layers),
                scratch: scratch.into(),
                scratch_size: Bytes(scratch_size),
                scratch_cache: scratch_cache.into(),
                uid,
                accelerator,
                boot_timeout_ms,
            }),
            written::Place::Guest { layers, time_ns, entropy } => {
                let layers = layers.into_iter().map(extent).collect::<Result<_, _>>()?;
                Self::Guest(GuestPlace { layers, time_ns, entropy })
            }
        })
    }
}

fn extent((offset, length): (u64, u64)) -> Result<Extent, InvalidMessage> {
    let in_sectors =
        offset.is_multiple_of(512) && length.is_multiple_of(512) && length > 0 && offset.checked_add(length).is_some();
    if in_sectors { Ok(Extent { offset, length }) } else { Err(InvalidMessage::Extent { offset, length }) }
}

impl From<&Container> for written::Container {
    fn from(container: &Container) -> Self {
        let Container {
            id,
            hostname,
            init,
            stdin_once,
            read_only,
            ephemeral,
            etc,
            limits,
            masked_paths,
            readonly_paths,
        } = container;
        let EtcFiles { hosts, hostname: etc_hostname, resolv_conf } = etc;
        let Limits { memory, cpus, pids, shm_size } = limits;
        Self {
            id: id.as_str().to_owned(),
            hostname: hostname.clone(),
            init: init.into(),
            stdin_once: *stdin_once,
            read_only: *read_only,
            ephemeral: *ephemeral,
            hosts: hosts.clone(),
            etc_hostname: etc_hostname.clone(),
            resolv_conf: resolv_conf.clone(),
            memory: memory.map(|b| b.0),
            nano_cpus: cpus.map(|c| c.0),
            pids: *pids,
            shm_size: shm_size.map(|b| b.0),
            masked_paths: masked_paths.clone(),
            readonly_paths: readonly_paths.clone(),
        }
    }
}

impl TryFrom<written::Container> for Container {
    type Error = InvalidMessage;

    fn try_from(container: written::Container) -> Result<Self, InvalidMessage> {
        let written::Container {
            id,
            hostname,
            init,
            stdin_once,
            read_only,
            ephemeral,
            hosts,
            etc_hostname,
            resolv_conf,
            memory,
            nano_cpus,
            pids,
            shm_size,
            masked_paths,
            readonly_paths,
        } = container;
        Ok(Self {
            id: id.parse().map_err(InvalidMessage::Id)?,
            hostname: no_null("hostname", hostname)?,
            init: init.try_into()?,
            stdin_once,
            read_only,
            ephemeral,
            etc: EtcFiles { hosts, hostname: etc_hostname, resolv_conf },
            limits: Limits {
                memory: memory.map(Bytes),
                cpus: nano_cpus.map(NanoCpus),
                pids,
                shm_size: shm_size.map(Bytes),
            },
            masked_paths: no_nulls("masked path", masked_paths)?,
            readonly_paths: no_nulls("read-only path", readonly_paths)?,
        })
    }
}

impl From<&Process> for written::Process {
    fn from(process: &Process) -> Self {
        let Process { args, env, cwd, user, terminal, stdin, capabilities, no_new_privileges, seccomp, rlimits } =
            process;
        Self {
            args: args.clone(),
            env: env.clone(),
            cwd: cwd.clone(),
            user: user.to_string(),
            terminal: terminal.map(|TerminalSize { rows, columns }| (rows, columns)),
            stdin: *stdin,
            capabilities: capabilities.bits(),
            no_new_privileges: *no_new_privileges,
            seccomp: seccomp.as_ref().map(|Seccomp(program)| to_hex(program)),
            rlimits: rlimits.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<written::Process> for Process {
    type Error = InvalidMessage;

    fn try_from(process: written::Process) -> Result<Self, InvalidMessage> {
        let written::Process {
            args,
            env,
            cwd,
            user,
            terminal,
            stdin,
            capabilities,
            no_new_privileges,
            seccomp,
            rlimits,
        } = process;
        if args.is_empty() {
            return Err(InvalidMessage::NoCommand);
        }
        Ok(Self {
            args: no_nulls("argument", args)?,
            env: no_nulls("environment", env)?,
            cwd: no_null("working directory", cwd)?,
            user: no_null("user", user)?.parse().map_err(InvalidMessage::User)?,
            terminal: terminal.map(|(rows, columns)| TerminalSize { rows, columns }),
            stdin,
            capabilities: Capabilities::from_bits(capabilities),
            no_new_privileges,
            seccomp: seccomp.map(|program| from_hex(&program)).transpose()?.map(Seccomp),
            rlimits: rlimits.into_iter().map(Into::into).collect(),
        })
    }
}

impl From<&Rlimit> for written::Rlimit {
    fn from(limit: &Rlimit) -> Self {
        let Rlimit { kind, soft, hard } = *limit;
        Self { kind: kind.into(), soft, hard }
    }
}

impl From<written::Rlimit> for Rlimit {
    fn from(limit: written::Rlimit) -> Self {
        let written::Rlimit { kind, soft, hard } = limit;
        Self { kind: kind.into(), soft, hard }
    }
}

/// The two enums have the same variants; the compiler checks both directions.
macro_rules! same_variants {
    ($($variant:ident),* $(,)?) => {
        impl From<RlimitKind> for written::RlimitKind {
            fn from(kind: RlimitKind) -> Self {
                match kind { $(RlimitKind::$variant => Self::$variant),* }
            }
        }

        impl From<written::RlimitKind> for RlimitKind {
            fn from(kind: written::RlimitKind) -> Self {
                match kind { $(written::RlimitKind::$variant => Self::$variant),* }
            }
        }
    };
}

same_variants!(
    As, Core, Cpu, Data, Fsize, Locks, Memlock, Msgqueue, Nice, Nofile, Nproc, Rss, Rtprio, Rttime, Sigpending, Stack
);

fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |n: u8| char::from(DIGITS[usize::from(n)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// A whole number of eight-byte instructions, at most the kernel's 4096.
fn from_hex(text: &str) -> Result<Vec<u8>, InvalidMessage> {
    let bytes = text.as_bytes();
    if !bytes.len().is_multiple_of(16) || bytes.len() > 4096 * 16 {
        return Err(InvalidMessage::Seccomp);
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|n| n as u8).ok_or(InvalidMessage::Seccomp);
    bytes.chunks_exact(2).map(|pair| Ok(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

#[cfg(test)]
mod tests;
