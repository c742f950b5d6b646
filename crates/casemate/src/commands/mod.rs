//! One file for each command.

pub(crate) mod doctor;
mod exec;
mod images;
mod info;
mod inspect;
pub(crate) mod keeper;
mod kill;
mod load;
mod logs;
mod ps;
mod rm;
mod rmi;
mod run;
mod stop;
mod top;

use std::path::Path;
use std::process::ExitCode;

use casemate_engine::Engine;

use crate::cli::{Cli, Command};
use crate::daemon;
use crate::report::{CliError, print_error};

pub(crate) async fn dispatch(cli: Cli) -> Result<ExitCode, CliError> {
    let Cli { global, command, given } = cli;
    let command = match command {
        Command::Daemon(args) => return daemon::run(daemon::Sources::new(global, *args, given)).await,
        command => command,
    };
    let settings =
        global.settings().map_err(|source| CliError::Read { what: "the program's own path".into(), source })?;
    match command {
        Command::Completion { shell } => {
            clap_complete::generate(shell, &mut Cli::grammar(), "casemate", &mut std::io::stdout());
            return Ok(ExitCode::SUCCESS);
        }
        Command::Man { dir } => return man(&dir),
        Command::Initramfs { agent, docker_init, out } => {
            casemate_vm::write_initramfs(&agent, Some(&docker_init), &out)?;
            return Ok(ExitCode::SUCCESS);
        }
        // What is wrong with the host is theirs to say, so they open no engine.
        Command::Info(args) => return info::run(&settings, &args),
        Command::Doctor(args) => return doctor::run(&settings, &args),
        _ => {}
    }
    let engine = Engine::open(settings).map_err(|error| match &command {
        Command::Run(_) => CliError::Run(Box::new(error.into())),
        _ => error.into(),
    })?;
    match command {
        Command::Run(args) => run::run(&engine, *args).await.map_err(|error| CliError::Run(Box::new(error))),
        Command::Exec(args) => exec::run(&engine, args).await.map_err(|error| CliError::Exec(Box::new(error))),
        Command::Ps(args) => ps::run(&engine, &args),
        Command::Kill(args) => kill::run(&engine, &args).await,
        Command::Stop(args) => stop::run(&engine, &args).await,
        Command::Rm(args) => rm::run(&engine, &args).await,
        Command::Logs(args) => logs::run(&engine, &args).await,
        Command::Inspect(args) => inspect::run(&engine, &args),
        Command::Top(args) => top::run(&engine, &args).await,
        Command::Load(args) => load::run(&engine, &args),
        Command::Images(args) => images::run(&engine, &args),
        Command::Rmi(args) => rmi::run(&engine, &args),
        Command::Completion { .. }
        | Command::Man { .. }
        | Command::Initramfs { .. }
        | Command::Daemon(_)
        | Command::Info(_)
        | Command::Doctor(_)
        | Command::Keeper(_) => unreachable!("answered above"),
    }
}

/// Does something to each of several containers; one that fails does not keep
/// the others from their turn.
async fn each<F>(names: &[String], mut action: impl FnMut(String) -> F) -> Result<ExitCode, CliError>
where
    F: Future<Output = Result<(), CliError>>,
{
    let mut failed = false;
    for name in names {
        match action(name.clone()).await {
            Ok(()) => println!("{name}"),
            Err(error) => {
                print_error(&error);
                failed = true;
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
fn print(text: &str) -> Result<(), CliError> {
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
