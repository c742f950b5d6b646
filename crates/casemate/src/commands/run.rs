//! `casemate run`.

use std::collections::BTreeMap;
use std::process::ExitCode;

use casemate_engine::daemon::RestartPolicy;
use casemate_engine::{CreateRequest, Engine};
use casemate_model::{Exited, Failure, ProcessRef};
use casemate_record::HostRecord;

use crate::attach::{Attachment, Detached};
use crate::cli::{OrDefault, RunArgs};
use crate::report::CliError;
use crate::terminal;

pub(crate) async fn run(engine: &Engine, args: RunArgs) -> Result<ExitCode, CliError> {
    if args.tty && args.interactive && !args.detach && !terminal::stdin_is_terminal() {
        return Err(CliError::NotATerminal);
    }
    let (detach, interactive, tty) = (args.detach, args.interactive, args.tty);
    let (id, lock) = engine.create_by_records(&request(args))?;
    let container = engine.container(&id)?;
    let size = if tty { terminal::size() } else { None };
    let client = engine.start_keeper(&container, engine.ready_with(&container, lock, size)?).await?;

    let attachment = if detach {
        None
    } else {
        Some(Attachment::open(client.clone(), ProcessRef::Init, tty, interactive).await.map_err(refused)?)
    };
    if let Err(error) = client.start().await {
        // It clears up; what is left of the container is as `ps -a` shows it.
        client.lost().await;
        return Err(refused(error.into()));
    }
    let Some(attachment) = attachment else {
        super::print(&format!("{}\n", container.id))?;
        return Ok(ExitCode::SUCCESS);
    };
    match attachment
        .run()
        .await
        .map_err(|failure| CliError::Refused { doing: "lost the container".into(), source: failure })?
    {
        Detached::ByKeys => Ok(ExitCode::SUCCESS),
        Detached::ByOutput(error) => Err(error.into()),
        Detached::Exited(exited) => {
            // All is cleared up when its keeper has gone.
            client.lost().await;
            Ok(end(&exited))
        }
    }
}

/// The container's exit code; what it could not say itself goes to stderr.
fn end(exited: &Exited) -> ExitCode {
    if let Some(reason) = &exited.reason {
        crate::report::print_error(&CliError::Refused {
            doing: "the container ended".into(),
            source: Failure::new(casemate_model::ErrorClass::Unavailable, reason.clone()),
        });
    }
    ExitCode::from(exited.status.code())
}

fn refused(failure: Failure) -> CliError {
    CliError::Refused { doing: "failed to create task for container".into(), source: failure }
}

fn request(args: RunArgs) -> CreateRequest {
    let mut image_and_command = args.image_and_command.into_iter();
    CreateRequest {
        // The grammar has one at least.
        image: image_and_command.next().unwrap_or_default(),
        name: args.name,
        isolation: args.isolation.and_then(|OrDefault(isolation)| isolation),
        command: image_and_command.collect(),
        entrypoint: args.entrypoint.map(|word| vec![word]),
        env: args.env.into_iter().filter_map(from_here).collect(),
        working_dir: args.workdir,
        user: args.user,
        hostname: args.hostname,
        tty: args.tty,
        open_stdin: args.interactive,
        stdin_once: args.interactive && !args.detach,
        read_only: args.read_only,
        auto_remove: args.rm,
        memory: args.memory,
        cpus: args.cpus,
        stop_signal: args.stop_signal,
        stop_timeout_s: args.stop_timeout,
        labels: BTreeMap::new(),
        restart: RestartPolicy::No,
        health: None,
        host: HostRecord::default(),
    }
}

/// `-e NAME` takes the value that the variable has here; without one, Docker
/// leaves it out.
pub(crate) fn from_here(entry: String) -> Option<String> {
    if entry.contains('=') {
        return Some(entry);
    }
    let value = std::env::var(&entry).ok()?;
    Some(format!("{entry}={value}"))
}
