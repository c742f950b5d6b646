//! `casemate exec`.

use std::process::ExitCode;

use casemate_engine::Engine;
use casemate_model::{Failure, Process, ProcessRef, TerminalSize};

use super::run::from_here;
use crate::attach::{Attachment, Detached};
use crate::cli::ExecArgs;
use crate::report::{CliError, broken_pipe};
use crate::terminal;

pub(crate) async fn run(engine: &Engine, args: ExecArgs) -> Result<ExitCode, CliError> {
    if args.tty && args.interactive && !terminal::stdin_is_terminal() {
        return Err(CliError::NotATerminal);
    }
    let mut container_and_command = args.container_and_command.into_iter();
    // The grammar has two at least.
    let container = engine.find(&container_and_command.next().unwrap_or_default())?;
    let keeper = container.keeper().await?;
    let size = args.tty.then(|| terminal::size().unwrap_or(TerminalSize { rows: 0, columns: 0 }));
    let mut process: Process = engine.process(&container, container_and_command.collect(), size)?;
    process.stdin = args.interactive;
    process.env.extend(args.env.into_iter().filter_map(from_here));
    if args.tty {
        process.env.push("TERM=xterm".to_owned());
    }
    if let Some(dir) = args.workdir {
        process.cwd = dir;
    }
    if let Some(user) = args.user {
        process.user = user.parse().map_err(|error| {
            refused(Failure::new(
                casemate_model::ErrorClass::InvalidArgument,
                casemate_model::chain(&error as &casemate_model::InvalidUser),
            ))
        })?;
    }
    let exec = ProcessRef::Exec(keeper.client.exec(&process).await.map_err(|error| refused(error.into()))?.id);
    let attachment =
        Attachment::open(keeper.client.clone(), exec, args.tty, args.interactive).await.map_err(refused)?;
    match attachment.run().await.map_err(refused)? {
        Detached::ByKeys => Ok(ExitCode::SUCCESS),
        // Here Docker's CLI does not handle SIGPIPE; with `run` it does.
        Detached::ByOutput(error) if error.is_broken_pipe() => Ok(broken_pipe()),
        Detached::ByOutput(error) => Err(error.into()),
        Detached::Exited(exited) => Ok(ExitCode::from(exited.status.code())),
    }
}

fn refused(failure: Failure) -> CliError {
    CliError::Refused { doing: "exec failed".into(), source: failure }
}
