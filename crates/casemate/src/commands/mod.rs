//! One file for each command; those that are one call each share one.

mod attach;
mod create;
pub(crate) mod doctor;
mod exec;
mod firewall;
mod images;
mod info;
mod inspect;
pub(crate) mod keeper;
mod lifecycle;
mod load;
mod logs;
mod network;
mod port;
mod ports;
mod ps;
mod pull;
mod rm;
mod rmi;
mod run;
mod top;

use std::path::Path;
use std::process::ExitCode;

use casemate_client::{Client, Refusal, path};
use serde_json::Value;

use crate::cli::{Cli, Command, SeeArgs};
use crate::connect::connect;
use crate::daemon;
use crate::report::{CliError, print_error};

pub(crate) use network::IpamError;

pub(crate) async fn dispatch(cli: Cli) -> Result<ExitCode, CliError> {
    match cli.command {
        Command::Daemon(args) => daemon::run(daemon::Sources::new(cli.global, *args, cli.given)).await,
        Command::Completion { shell } => {
            clap_complete::generate(shell, &mut Cli::grammar(), "casemate", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
        Command::Man { dir } => man(&dir),
        Command::Initramfs { agent, docker_init, out } => {
            casemate_vm::write_initramfs(&agent, Some(&docker_init), &out)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Doctor(args) => {
            let settings = cli.global.settings();
            let settings =
                settings.map_err(|source| CliError::Read { what: "the program's own path".into(), source })?;
            doctor::run(&settings, &args)
        }
        Command::Run(_) => asked(cli).await.map_err(|error| CliError::Run(Box::new(error))),
        Command::Create(_) => asked(cli).await.map_err(|error| match error.is_misuse() {
            true => CliError::Run(Box::new(error)),
            false => error,
        }),
        _ => asked(cli).await,
    }
}

/// What a daemon is asked for.
async fn asked(cli: Cli) -> Result<ExitCode, CliError> {
    let client = &connect(&cli).await?;
    match cli.command {
        Command::Run(args) => run::run(client, *args).await,
        Command::Create(args) => done(create::run(client, &args).await),
        Command::Start(args) => lifecycle::simply(client, &args, "start").await,
        Command::Attach(args) => attach::run(client, args).await,
        Command::Exec(args) => exec::run(client, args).await,
        Command::Ps(args) => done(ps::run(client, &args).await),
        Command::Kill(args) => lifecycle::kill(client, &args).await,
        Command::Stop(args) => lifecycle::stop(client, &args, "stop").await,
        Command::Restart(args) => lifecycle::stop(client, &args, "restart").await,
        Command::Pause(args) => lifecycle::simply(client, &args, "pause").await,
        Command::Unpause(args) => lifecycle::simply(client, &args, "unpause").await,
        Command::Wait(args) => lifecycle::wait(client, &args).await,
        Command::Rename { container, name } => done(lifecycle::rename(client, &container, &name).await),
        Command::Rm(args) => rm::run(client, &args).await,
        Command::Logs(args) => done(logs::run(client, &args).await),
        Command::Inspect(args) => inspect::run(client, &args).await,
        Command::Top(args) => done(top::run(client, &args).await),
        Command::Port(args) => done(port::run(client, &args).await),
        Command::Ports(args) => done(ports::run(client, &args).await),
        Command::Firewall(args) => done(firewall::run(client, &args).await),
        Command::Network(command) => network::run(client, command).await,
        Command::Pull(args) => done(pull::run(client, &args).await),
        Command::Load(args) => done(load::run(client, &args).await),
        Command::Images(args) => done(images::run(client, &args).await),
        Command::Rmi(args) => rmi::run(client, &args).await,
        Command::Info(args) => done(info::run(client, &args).await),
        Command::Version(args) => done(info::version(client, &args).await),
        Command::Daemon(_)
        | Command::Doctor(_)
        | Command::Completion { .. }
        | Command::Man { .. }
        | Command::Initramfs { .. }
        | Command::Keeper(_) => unreachable!("no daemon is asked for it"),
    }
}

/// What Casemate's own part of the API has of this name.
async fn see(client: &Client, what: &str, args: &SeeArgs) -> Result<Value, CliError> {
    let call = client.get(path(&["casemate", what]));
    let call = match &args.container {
        Some(container) => call.query("container", container),
        None => call,
    };
    Ok(call.send().await?.json().await?)
}

fn done(result: Result<(), CliError>) -> Result<ExitCode, CliError> {
    result.map(|()| ExitCode::SUCCESS)
}

/// What is told, and is no failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Forgiving {
    Nothing,
    /// Docker's client with `--force`: it is as it should be.
    WhatIsNotThere,
}

/// Does something to each of several, and prints what comes of it; one that
/// fails does not keep the others from their turn.
async fn each(
    names: &[String],
    forgiving: Forgiving,
    mut action: impl AsyncFnMut(&str) -> Result<String, CliError>,
) -> Result<ExitCode, CliError> {
    let mut failed = false;
    for name in names {
        match action(name).await {
            Ok(text) => print(&text)?,
            Err(error) => {
                let refusal = if let CliError::Client(error) = &error { error.refusal() } else { None };
                let is_missing = refusal.is_some_and(Refusal::is_not_found);
                failed |= !(is_missing && forgiving == Forgiving::WhatIsNotThere);
                print_error(&error);
            }
        }
    }
    if failed { Err(CliError::Some) } else { Ok(ExitCode::SUCCESS) }
}

fn man(dir: &Path) -> Result<ExitCode, CliError> {
    let failed = |source| CliError::Write { what: dir.display().to_string(), source };
    std::fs::create_dir_all(dir).map_err(failed)?;
    clap_mangen::generate_to(Cli::grammar(), dir).map_err(failed)?;
    Ok(ExitCode::SUCCESS)
}

/// Writes to standard output; a reader that has gone is not an error.
pub(crate) fn print(text: &str) -> Result<(), CliError> {
    use std::io::Write;
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(source) if source.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(CliError::Write { what: "standard output".into(), source })
        }
        _ => Ok(()),
    }
}

fn print_table(headings: &[&str], rows: &[Vec<String>]) -> Result<(), CliError> {
    crate::table::print(headings, rows).map_err(|source| CliError::Write { what: "standard output".into(), source })
}
