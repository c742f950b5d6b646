//! Errors as the user sees them: one line that says what failed and why, and
//! the next step where there is one.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use casemate_client::{ClientError, ContextError};
use casemate_model::chain;

#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
    #[error(transparent)]
    Context(#[from] ContextError),
    #[error(transparent)]
    OnDemand(#[from] crate::on_demand::OnDemandError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Credentials(#[from] crate::credentials::CredentialsError),
    #[error(transparent)]
    Attachment(#[from] crate::attachment::AttachmentError),
    #[error(transparent)]
    Ipam(#[from] crate::commands::IpamError),
    /// In Docker's words.
    #[error("{0}")]
    Usage(String),
    #[error("the container ended: {0}")]
    Ended(String),
    #[error("cannot read {what}")]
    Read { what: String, source: io::Error },
    #[error(transparent)]
    Output(#[from] crate::session::OutputError),
    #[error("cannot write {what}")]
    Write { what: String, source: io::Error },
    #[error(transparent)]
    Initramfs(#[from] casemate_vm::InitramfsError),
    #[error(transparent)]
    Template(#[from] crate::template::TemplateError),
    #[error(transparent)]
    Daemon(#[from] crate::daemon::DaemonError),
    #[error(transparent)]
    Open(#[from] casemate_engine::OpenError),
    #[error("the input device is not a TTY")]
    NotATerminal,
    #[error("requested load from stdin, but stdin is a terminal; use -i FILE")]
    LoadFromTerminal,
    /// Each has been reported already.
    #[error("some failed")]
    Some,
    /// A container that was made and could not be started.
    #[error(transparent)]
    Start(Box<CliError>),
    /// What `run` fails with has Docker's exit codes, and of `create` what it is not
    /// asked for rightly.
    #[error(transparent)]
    Run(Box<CliError>),
}

impl CliError {
    /// The next step.
    fn hint(&self) -> Option<String> {
        use casemate_model::Classify;
        match self {
            Self::Run(error) => error.hint(),
            Self::Open(error) => error.hint(),
            Self::Client(ClientError::NotAllowed { .. }) => {
                Some("be root, or of the group that the daemon's --group names".to_owned())
            }
            Self::Client(error) if error.is_nobody() => Some("is a daemon running there?".to_owned()),
            Self::OnDemand(crate::on_demand::OnDemandError::NotRoot { .. }) => {
                Some("sudo casemate …, or have root start 'casemate daemon'".to_owned())
            }
            _ => None,
        }
    }

    /// The flags do not go together; nothing was asked of a daemon.
    pub(crate) fn is_misuse(&self) -> bool {
        matches!(self, Self::Attachment(_) | Self::Usage(_))
    }

    fn exit_code(&self) -> u8 {
        match self {
            // The container goes on, and this is not about it.
            Self::Run(error) if matches!(**error, Self::Output(_)) => 1,
            Self::Run(error) => match &**error {
                Self::Start(error) => code_of_start(&chain(error)),
                _ => 125,
            },
            _ => 1,
        }
    }
}

/// A daemon says why in words only, and Docker's client goes by them
/// (docker/cli `cli/command/container/run.go`).
fn code_of_start(text: &str) -> u8 {
    let says = |words: &[&str]| words.iter().any(|words| text.contains(words));
    if says(&["executable file not found", "no such file or directory"]) {
        127
    } else if says(&["permission denied", "is a directory"]) {
        126
    } else {
        125
    }
}

/// Where something is told beside a command's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Out {
    Stdout,
    Stderr,
    Nowhere,
}

impl Out {
    pub(crate) fn line(self, text: &str) {
        match self {
            Self::Stdout => println!("{text}"),
            Self::Stderr => eprintln!("{text}"),
            Self::Nowhere => {}
        }
    }
}

/// What a shell makes of SIGPIPE, which ends Docker's CLI when nobody reads what
/// it has to say.
pub(crate) fn broken_pipe() -> ExitCode {
    ExitCode::from(128 + 13)
}

/// Prints the error and returns the exit code that goes with it.
pub(crate) fn report(error: &CliError) -> ExitCode {
    let printed = if matches!(error, CliError::Some) { Ok(()) } else { try_print_error(error) };
    match printed {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => broken_pipe(),
        _ => ExitCode::from(error.exit_code()),
    }
}

pub(crate) fn print_error(error: &CliError) {
    // There is nowhere else to say it.
    let _ = try_print_error(error);
}

fn try_print_error(error: &CliError) -> io::Result<()> {
    say("1;31m", "casemate:", &chain(error), error.hint())
}

/// Tells of what did not keep the command from its work.
pub(crate) fn warn(text: &str) {
    let _ = say("1;33m", "casemate: warning:", text, None);
}

/// Tells of what was done beside what was asked for.
pub(crate) fn note(text: &str) {
    let _ = say("1m", "casemate:", text, None);
}

fn say(colour: &str, who: &str, text: &str, hint: Option<String>) -> io::Result<()> {
    let mut stderr = io::stderr().lock();
    match stderr.is_terminal() {
        true => writeln!(stderr, "\x1b[{colour}{who}\x1b[0m {text}")?,
        false => writeln!(stderr, "{who} {text}")?,
    }
    match hint {
        Some(hint) => writeln!(stderr, "  hint: {hint}"),
        None => Ok(()),
    }
}
