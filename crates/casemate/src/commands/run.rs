//! `casemate run`: created, attached to, waited for, and started, in this order.

use std::process::ExitCode;

use casemate_client::{Answer, Client, ClientError, path};
use serde_json::Value;
use tokio::task::{JoinHandle, spawn_local};

use super::create::{Attached, check_terminal, create};
use crate::cli::RunArgs;
use crate::report::{self, CliError};
use crate::session::{self, Beside, Parted, Session};

pub(crate) async fn run(client: &Client, args: RunArgs) -> Result<ExitCode, CliError> {
    let RunArgs { detach, detach_keys, create: args } = args;
    if !detach {
        check_terminal(args.tty, args.interactive)?;
    }
    let id = create(client, &args, Attached { stdin: args.interactive && !detach }).await?;
    if detach {
        start(client, &id).await?;
        super::print(&format!("{id}\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let streams = attach(client, &id, args.interactive).await?;
    let condition = if args.rm { "removed" } else { "next-exit" };
    let wait = client.post(path(&["containers", &id, "wait"])).query("condition", condition).send().await?;
    let ended = spawn_local(exit(wait));
    let session = Session::new(streams, args.tty, args.interactive, detach_keys);
    let signals = if args.tty { Beside::new() } else { session::pass_signals_on(client, &id) };
    if let Err(error) = start(client, &id).await {
        if args.rm {
            // It is gone when this command is.
            let _ = ended.await;
        }
        return Err(error);
    }
    let size = if args.tty { session::follow_size(client, &path(&["containers", &id])) } else { Beside::new() };
    let parted = session.run().await?;
    drop((signals, size));
    match parted {
        Parted::ByKeys => Ok(ExitCode::SUCCESS),
        Parted::ByOutput(error) => Err(error.into()),
        Parted::Ended => code(ended).await,
    }
}

pub(crate) async fn attach(client: &Client, id: &str, stdin: bool) -> Result<casemate_client::Hijacked, ClientError> {
    let call = client.post(path(&["containers", id, "attach"]));
    let call = call.query("stream", 1).query("stdout", 1).query("stderr", 1);
    if stdin { call.query("stdin", 1) } else { call }.hijack().await
}

async fn start(client: &Client, id: &str) -> Result<(), CliError> {
    let started = client.post(path(&["containers", id, "start"])).send().await;
    started.map(drop).map_err(|error| CliError::Start(Box::new(error.into())))
}

/// How a container ended.
pub(crate) struct Exit {
    code: u8,
    /// What it could not say itself.
    reason: Option<String>,
}

pub(crate) async fn exit(wait: Answer) -> Result<Exit, ClientError> {
    let answer: Value = wait.json().await?;
    let reason = answer["Error"]["Message"].as_str().map(str::to_owned);
    Ok(Exit { code: answer["StatusCode"].as_i64().unwrap_or(125) as u8, reason })
}

/// The container's exit code; what it could not say itself goes to stderr.
pub(crate) async fn code(ended: JoinHandle<Result<Exit, ClientError>>) -> Result<ExitCode, CliError> {
    let Exit { code, reason } = match ended.await {
        Ok(ended) => ended?,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    };
    if let Some(reason) = reason {
        report::print_error(&CliError::Ended(reason));
    }
    Ok(ExitCode::from(code))
}
