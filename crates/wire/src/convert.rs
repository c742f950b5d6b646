//! Between the written form ([`crate::message`]) and checked types. Every
//! conversion names every field, so that a new one does not compile until it
//! has been decided upon.

mod container;
mod network;
mod process;
mod sockets;
mod stats;

use std::path::{Path, PathBuf};

use casemate_model::{
    Bytes, Classify, ErrorClass, ExecId, ExitStatus, Exited, Failure, InvalidDeviceAccess, InvalidDeviceRule,
    InvalidId, InvalidNumberList, InvalidSysctl, InvalidTmpfs, InvalidUser, OutputStream, ParseMacError, ProcessRef,
    Signal, UnknownProtocol, UnknownSignal,
};

use crate::client::CallError;
use crate::message as written;
use crate::vocabulary::{
    Create, ExecStarted, Extent, GuestFacts, GuestPlace, HostPlace, Place, Span, Started, VmPlace,
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
    #[error(transparent)]
    Tmpfs(InvalidTmpfs),
    #[error(transparent)]
    Sysctl(InvalidSysctl),
    #[error(transparent)]
    DeviceAccess(InvalidDeviceAccess),
    #[error(transparent)]
    DeviceRule(InvalidDeviceRule),
    #[error(transparent)]
    NumberList(InvalidNumberList),
    #[error("{field} of {value} is out of range")]
    OutOfRange { field: &'static str, value: i64 },
    #[error("seccomp program is not a row of instructions in hexadecimal")]
    Seccomp,
    #[error("no command")]
    NoCommand,
    #[error("{field} holds a null byte")]
    NullByte { field: &'static str },
    #[error("malformed list of changes")]
    Change,
    #[error("the container has more changes than can be listed")]
    TooManyChanges,
    #[error(transparent)]
    Mac(ParseMacError),
    #[error(transparent)]
    Protocol(UnknownProtocol),
    #[error("{0:?} is not the name of a link")]
    LinkName(String),
    #[error("invalid address {0:?}")]
    Address(String),
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
    // Its reader would cut them, and take no answer of any length.
    let (message, hint) = (printable(&message), hint.as_deref().map(printable));
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

pub(crate) fn no_null(field: &'static str, text: String) -> Result<String, InvalidMessage> {
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

impl From<ExecStarted> for written::Response {
    fn from(started: ExecStarted) -> Self {
        let ExecStarted { id, pid } = started;
        Self::Exec { id: id.as_str().to_owned(), pid }
    }
}

impl TryFrom<written::Response> for ExecStarted {
    type Error = CallError;

    fn try_from(response: written::Response) -> Result<Self, CallError> {
        let written::Response::Exec { id, pid } = response else { return Err(CallError::Unexpected) };
        let id = id.parse().map_err(|error| CallError::Invalid(InvalidMessage::Id(error)))?;
        Ok(Self { id, pid })
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
            Place::Host(HostPlace { lowers, upper, work, reaper, network }) => Self::Host {
                lowers: texts(lowers),
                upper: text(upper),
                work: text(work),
                reaper: reaper.as_deref().map(text),
                network: network.into(),
            },
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
                network,
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
                network: network.into(),
            },
            Place::Guest(GuestPlace { layers, fresh, time_ns, entropy, cards }) => Self::Guest {
                layers: layers.iter().map(|Extent { offset, length }| (*offset, *length)).collect(),
                fresh: *fresh,
                time_ns: *time_ns,
                entropy: entropy.clone(),
                cards: cards.iter().map(Into::into).collect(),
            },
        }
    }
}

impl TryFrom<written::Place> for Place {
    type Error = InvalidMessage;

    fn try_from(place: written::Place) -> Result<Self, InvalidMessage> {
        let paths = |texts: Vec<String>| texts.into_iter().map(PathBuf::from).collect();
        Ok(match place {
            written::Place::Host { lowers, upper, work, reaper, network } => Self::Host(HostPlace {
                lowers: paths(lowers),
                upper: upper.into(),
                work: work.into(),
                reaper: reaper.map(PathBuf::from),
                network: network.try_into()?,
            }),
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
                network,
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
                network: network.try_into()?,
            }),
            written::Place::Guest { layers, fresh, time_ns, entropy, cards } => {
                let layers = layers.into_iter().map(extent).collect::<Result<_, _>>()?;
                let cards = cards.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?;
                Self::Guest(GuestPlace { layers, fresh, time_ns, entropy, cards })
            }
        })
    }
}

fn extent((offset, length): (u64, u64)) -> Result<Extent, InvalidMessage> {
    let in_sectors =
        offset.is_multiple_of(512) && length.is_multiple_of(512) && length > 0 && offset.checked_add(length).is_some();
    if in_sectors { Ok(Extent { offset, length }) } else { Err(InvalidMessage::Extent { offset, length }) }
}

#[cfg(test)]
mod tests;
