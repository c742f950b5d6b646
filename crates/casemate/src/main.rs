//! `casemate`: the command line, and the keeper's program.
//!
//! Only here is anything printed, read from the environment, or turned into
//! an exit code.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is the program that talks to the user")]

mod attachment;
mod cli;
mod commands;
mod connect;
mod credentials;
mod daemon;
mod filters;
mod human;
mod listing;
mod natural;
mod on_demand;
mod ports;
mod report;
mod session;
mod table;
mod template;
mod terminal;

use std::process::ExitCode;

use clap::error::{ContextKind, ErrorKind};
use tracing_subscriber::EnvFilter;

use cli::{Cli, Command};
use report::CliError;

fn main() -> ExitCode {
    let cli = match Cli::read() {
        Ok(cli) => cli,
        Err(mut error) => {
            // That an option could be a value, said of what is no option here, misleads.
            error.remove(ContextKind::Suggested);
            let _ = error.print();
            return ExitCode::from(misused(&error));
        }
    };
    if let Command::Keeper(args) = cli.command {
        return commands::keeper::run(args);
    }
    if let Command::Daemon(args) = &cli.command {
        // Its log is as it is configured.
        daemon::claim_sockets();
        if args.on_demand {
            daemon::close_inherited();
        }
    } else {
        let filter = log_filter().unwrap_or_else(|| EnvFilter::new("warn"));
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).without_time().init();
    }
    let result = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => {
            let result = tokio::task::LocalSet::new().block_on(&runtime, commands::dispatch(cli));
            // A read of standard input may still be waiting in its thread.
            runtime.shutdown_background();
            result
        }
        Err(error) => Err(CliError::Runtime(error)),
    };
    match result {
        Ok(code) => code,
        Err(error) => report::report(&error),
    }
}

/// What the environment wants logged: `CASEMATE_LOG`, or else `RUST_LOG`.
fn log_filter() -> Option<EnvFilter> {
    ["CASEMATE_LOG", "RUST_LOG"].into_iter().find_map(|name| EnvFilter::try_from_env(name).ok())
}

/// Docker's CLI: help is no error, for the want of a command either, what is missing
/// or not there is 1, what is wrong of the options 125.
fn misused(error: &clap::Error) -> u8 {
    match error.kind() {
        _ if !error.use_stderr() => 0,
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => 0,
        ErrorKind::InvalidSubcommand | ErrorKind::MissingRequiredArgument | ErrorKind::MissingSubcommand => 1,
        _ => 125,
    }
}
