//! Errors as the user sees them: one line that says what failed and why, and
//! the next step where there is one.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use casemate_engine as engine;
use casemate_model::{Classify, ErrorClass, Failure, chain};

#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
    #[error(transparent)]
    Open(#[from] engine::OpenError),
    #[error(transparent)]
    Find(#[from] engine::FindError),
    #[error(transparent)]
    Create(#[from] engine::CreateError),
    #[error(transparent)]
    Start(#[from] engine::StartError),
    #[error(transparent)]
    Remove(#[from] engine::RemoveError),
    #[error(transparent)]
    Engine(#[from] engine::EngineError),
    #[error("{doing}")]
    Refused { doing: String, source: Failure },
    #[error("cannot read {what}")]
    Read { what: String, source: io::Error },
    #[error(transparent)]
    Output(#[from] crate::attach::OutputError),
    #[error("cannot write {what}")]
    Write { what: String, source: io::Error },
    #[error(transparent)]
    Load(#[from] casemate_image::LoadError),
    #[error(transparent)]
    Records(#[from] casemate_image::RecordsError),
    #[error(transparent)]
    RemoveImage(#[from] engine::RemoveImageError),
    #[error(transparent)]
    Initramfs(#[from] casemate_vm::InitramfsError),
    #[error(transparent)]
    Template(#[from] crate::template::TemplateError),
    #[error(transparent)]
    Daemon(#[from] crate::daemon::DaemonError),
    #[error("the input device is not a TTY")]
    NotATerminal,
    #[error("requested load from stdin, but stdin is a terminal; use -i FILE")]
    LoadFromTerminal,
    #[error("invalid number of lines: {0:?}")]
    Tail(String),
    /// Each has been reported already.
    #[error("some failed")]
    Some,
    /// What `run` fails with has Docker's exit codes.
    #[error(transparent)]
    Run(Box<CliError>),
    /// So has `exec`: those of a command that cannot be executed, or 1.
    #[error(transparent)]
    Exec(Box<CliError>),
}

impl CliError {
    fn classified(&self) -> Option<&dyn Classify> {
        Some(match self {
            Self::Open(error) => error,
            Self::Find(error) => error,
            Self::Create(error) => error,
            Self::Start(error) => error,
            Self::Remove(error) => error,
            Self::Engine(error) => error,
            Self::Refused { source, .. } => source,
            Self::Load(error) => error,
            Self::Records(error) => error,
            Self::RemoveImage(error) => error,
            Self::Run(error) | Self::Exec(error) => return error.classified(),
            _ => return None,
        })
    }

    fn exit_code(&self) -> u8 {
        let of_class = |error: &CliError| error.classified().map_or(ErrorClass::Internal, Classify::class).exit_code();
        match self {
            // The container goes on, and this is not about it.
            Self::Run(error) if matches!(**error, Self::Output(_)) => 1,
            Self::Run(error) => of_class(error),
            Self::Exec(error) => match (of_class(error), &**error) {
                // Docker's for whatever kept it from starting.
                (125, Self::Refused { source, .. }) if source.class != ErrorClass::Conflict => 126,
                (125, _) => 1,
                (code, _) => code,
            },
            _ => 1,
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
    say("1;31m", "casemate:", &chain(error), error.classified().and_then(Classify::hint))
}

/// Tells of what did not keep the command from its work.
pub(crate) fn warn<E: Classify>(error: &E) {
    let _ = say("1;33m", "casemate: warning:", &chain(error), error.hint());
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
