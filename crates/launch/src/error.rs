//! Why a container or a process in it could not be started or looked after.

use std::fmt;
use std::io;
use std::path::PathBuf;

use casemate_model::{Classify, ErrorClass};
use rustix::io::Errno;

use crate::cgroup::CgroupError;
use crate::report::StepError;

/// A kernel's refusal in its own words, as Go programs and so Docker print
/// them: lower case, without the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelError(pub i32);

impl fmt::Display for KernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = io::Error::from_raw_os_error(self.0).to_string();
        let words = text.split(" (os error").next().unwrap_or(&text);
        let mut characters = words.chars();
        match characters.next() {
            Some(first) => write!(f, "{}{}", first.to_ascii_lowercase(), characters.as_str()),
            None => write!(f, "errno {}", self.0),
        }
    }
}

impl std::error::Error for KernelError {}

impl From<Errno> for KernelError {
    fn from(errno: Errno) -> Self {
        Self(errno.raw_os_error())
    }
}

#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    #[error("a container can be started only from a process with one thread, this one has {count}")]
    Threads { count: u64 },
    #[error("the running program could be overwritten from inside a container")]
    ProgramWritable,
    #[error("cannot {operation}")]
    Host { operation: &'static str, source: KernelError },
    #[error("cannot {operation} {}", path.display())]
    File { operation: &'static str, path: PathBuf, source: io::Error },
    #[error("{what} holds a NUL byte")]
    NulByte { what: String },
    #[error("no command specified")]
    NoCommand,
    #[error("the working directory '{directory}' is invalid, it needs to be an absolute path")]
    WorkingDirectory { directory: String },
    #[error("an image of {count} layers cannot be mounted, it needs to have 1 to 128")]
    LayerCount { count: usize },
    #[error("a seccomp filter of {bytes} bytes is not a program")]
    SeccompProgram { bytes: usize },
    // Docker's words (moby `oci.DevicesFromPath`).
    #[error("error gathering device information while adding custom device {path:?}")]
    Device { path: String, source: KernelError },
    #[error("error gathering device information while adding custom device {path:?}: not a device node")]
    NoDevice { path: String },
    // Those of runc (libcontainer `validate`).
    #[error("sysctl {name:?} is not allowed in the hosts ipc namespace")]
    HostIpcParameter { name: String },
    #[error("sysctl {name:?} is not in a separate kernel namespace")]
    HostParameter { name: String },
    #[error("there is no init program to put before the container's command")]
    NoReaper,
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    #[error("the container has been started before")]
    AlreadyStarted,
    #[error("the container is not running")]
    NotRunning,
    #[error("cannot {step} {subject}")]
    Setup { step: SetupStep, subject: String, source: KernelError },
    #[error("unable to find user {user}: no matching entries in passwd file")]
    UnknownUser { user: String },
    #[error("unable to find group {group}: no matching entries in group file")]
    UnknownGroup { group: String },
    #[error("uids and gids must be in range 0-2147483647: {id}")]
    IdRange { id: String },
    #[error("chdir to cwd ({directory:?}) failed")]
    ChangeDirectory { directory: String, source: KernelError },
    #[error("exec: {command:?}: executable file not found in $PATH")]
    CommandNotInPath { command: String },
    #[error("exec: {command:?}: stat {command}")]
    CommandMissing { command: String, source: KernelError },
    #[error("exec: {command:?}")]
    CommandDenied { command: String, source: KernelError },
    #[error("exec {path}")]
    Execute { path: String, source: KernelError },
    #[error("the container's process died while it was being set up")]
    DiedInSetup,
    #[error("the container's process reported {length} bytes that mean nothing")]
    GarbledReport { length: usize },
    #[error("{}", several(failures))]
    Several { failures: Vec<LaunchError> },
}

fn several(failures: &[LaunchError]) -> String {
    let texts: Vec<String> = failures.iter().map(|failure| casemate_model::chain(failure)).collect();
    texts.join("; ")
}

impl LaunchError {
    /// Nothing, one failure as it is, or several as one.
    pub(crate) fn all(mut failures: Vec<LaunchError>) -> Result<(), LaunchError> {
        match failures.len() {
            0 => Ok(()),
            1 => Err(failures.remove(0)),
            _ => Err(Self::Several { failures }),
        }
    }

    pub(crate) fn host(operation: &'static str) -> impl FnOnce(Errno) -> Self {
        move |errno| Self::Host { operation, source: errno.into() }
    }
}

impl From<StepError> for LaunchError {
    fn from(StepError { step, subject, errno }: StepError) -> Self {
        let source = KernelError::from(errno);
        match step {
            SetupStep::FindUser => Self::UnknownUser { user: subject },
            SetupStep::FindGroup => Self::UnknownGroup { group: subject },
            SetupStep::CheckId => Self::IdRange { id: subject },
            SetupStep::ChangeDirectory => Self::ChangeDirectory { directory: subject, source },
            SetupStep::SearchPath => Self::CommandNotInPath { command: subject },
            SetupStep::FindCommand if matches!(errno, Errno::NOENT | Errno::NOTDIR) => {
                Self::CommandMissing { command: subject, source }
            }
            SetupStep::FindCommand => Self::CommandDenied { command: subject, source },
            SetupStep::Execute => Self::Execute { path: subject, source },
            SetupStep::JoinContainer if errno == Errno::SRCH => Self::NotRunning,
            _ => Self::Setup { step, subject, source },
        }
    }
}

impl Classify for LaunchError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::NulByte { .. }
            | Self::NoCommand
            | Self::WorkingDirectory { .. }
            | Self::LayerCount { .. }
            | Self::SeccompProgram { .. }
            | Self::Device { .. }
            | Self::NoDevice { .. }
            | Self::HostIpcParameter { .. }
            | Self::HostParameter { .. }
            | Self::UnknownUser { .. }
            | Self::UnknownGroup { .. }
            | Self::IdRange { .. } => ErrorClass::InvalidArgument,
            Self::Cgroup(error) => error.class(),
            Self::AlreadyStarted | Self::NotRunning => ErrorClass::Conflict,
            Self::CommandNotInPath { .. } | Self::CommandMissing { .. } => ErrorClass::CommandNotFound,
            // As runc's callers see them: by what is not there, whatever it was.
            Self::Execute { source: KernelError(libc::ENOENT), .. }
            | Self::ChangeDirectory { source: KernelError(libc::ENOENT), .. } => ErrorClass::CommandNotFound,
            Self::CommandDenied { .. } | Self::Execute { .. } | Self::ChangeDirectory { .. } => {
                ErrorClass::CommandNotExecutable
            }
            Self::Setup { source, .. } | Self::Host { source, .. } => class_of(source.0),
            Self::File { source, .. } => source.raw_os_error().map_or(ErrorClass::Internal, class_of),
            Self::Several { failures } => failures.first().map_or(ErrorClass::Internal, Classify::class),
            Self::NoReaper | Self::Threads { .. } | Self::ProgramWritable | Self::DiedInSetup => ErrorClass::Internal,
            Self::GarbledReport { .. } => ErrorClass::Protocol,
        }
    }
}

fn class_of(errno: i32) -> ErrorClass {
    match errno {
        libc::ENOSPC | libc::EDQUOT | libc::ENOMEM | libc::EMFILE | libc::ENFILE | libc::EAGAIN => {
            ErrorClass::ResourceExhausted
        }
        _ => ErrorClass::Internal,
    }
}

macro_rules! setup_steps {
    ($($name:ident = $text:literal,)*) => {
        /// What a child was doing when it failed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum SetupStep { $($name,)* }

        impl SetupStep {
            const ALL: &[Self] = &[$(Self::$name,)*];

            pub(crate) fn from_number(number: u8) -> Option<Self> {
                Self::ALL.get(usize::from(number)).copied()
            }
        }

        impl fmt::Display for SetupStep {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$name => $text,)* })
            }
        }
    };
}

setup_steps! {
    Prepare = "prepare",
    WatchParent = "stay bound to the life of",
    JoinCgroup = "join control group",
    EnterNamespace = "enter a new namespace:",
    JoinContainer = "join the namespaces of",
    OpenLayer = "open layer",
    Mount = "mount",
    MakeDirectory = "make directory",
    MakeFile = "make file",
    MakeDevice = "make device",
    PivotRoot = "change the root to",
    SetHostname = "set the host name to",
    SetDomainname = "set the domain name to",
    SetParameter = "set kernel parameter",
    BringUp = "bring up network interface",
    HidePath = "hide",
    ProtectPath = "protect",
    OpenTerminal = "open a terminal:",
    ConnectStreams = "connect the standard streams:",
    ReadUsers = "read",
    FindUser = "find user",
    FindGroup = "find group",
    CheckId = "use id",
    SetLimit = "set resource limit",
    AdjustOomScore = "set the OOM score adjustment to",
    DropPrivileges = "drop privileges:",
    ChangeDirectory = "change directory to",
    InstallFilter = "install",
    SearchPath = "search the path for",
    FindCommand = "find command",
    Execute = "execute",
}

#[cfg(test)]
mod tests {
    use super::*;
    use casemate_model::chain;

    fn error(step: SetupStep, subject: &str, errno: Errno) -> LaunchError {
        StepError::new(step, subject, errno).into()
    }

    #[test]
    fn dockers_words_and_exit_codes() {
        for (error, text, code) in [
            (
                error(SetupStep::SearchPath, "foo", Errno::NOENT),
                r#"exec: "foo": executable file not found in $PATH"#,
                127,
            ),
            (
                error(SetupStep::FindCommand, "/nope", Errno::NOENT),
                r#"exec: "/nope": stat /nope: no such file or directory"#,
                127,
            ),
            (
                error(SetupStep::FindCommand, "/etc/passwd", Errno::ACCESS),
                r#"exec: "/etc/passwd": permission denied"#,
                126,
            ),
            (error(SetupStep::FindCommand, "/etc", Errno::ISDIR), r#"exec: "/etc": is a directory"#, 126),
            (error(SetupStep::Execute, "/x", Errno::NOEXEC), "exec /x: exec format error", 126),
            (
                error(SetupStep::FindUser, "foo", Errno::NOENT),
                "unable to find user foo: no matching entries in passwd file",
                125,
            ),
        ] {
            assert_eq!(chain(&error), text);
            assert_eq!(error.class().exit_code(), code, "{text}");
        }
    }

    #[test]
    fn steps_survive_their_number() {
        for step in SetupStep::ALL {
            assert_eq!(SetupStep::from_number(*step as u8), Some(*step));
        }
    }
}
