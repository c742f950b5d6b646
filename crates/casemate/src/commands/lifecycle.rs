//! `kill`, `stop`, `restart`, `start`, `pause`, `unpause`, `wait` and `rename`:
//! one call for each container.

use std::process::ExitCode;

use casemate_client::{Client, path};
use serde_json::Value;

use super::{Forgiving, each};
use crate::cli::{ContainersArgs, KillArgs, StopArgs};
use crate::report::CliError;

/// What is done to a container by its name alone.
pub(crate) async fn simply(client: &Client, args: &ContainersArgs, action: &str) -> Result<ExitCode, CliError> {
    each(&args.containers, Forgiving::Nothing, async |name| {
        client.post(path(&["containers", name, action])).send().await?;
        Ok(format!("{name}\n"))
    })
    .await
}

pub(crate) async fn kill(client: &Client, args: &KillArgs) -> Result<ExitCode, CliError> {
    each(&args.containers, Forgiving::Nothing, async |name| {
        client.post(path(&["containers", name, "kill"])).query("signal", &args.signal).send().await?;
        Ok(format!("{name}\n"))
    })
    .await
}

/// `stop` and `restart`.
pub(crate) async fn stop(client: &Client, args: &StopArgs, action: &str) -> Result<ExitCode, CliError> {
    each(&args.containers, Forgiving::Nothing, async |name| {
        let mut call = client.post(path(&["containers", name, action]));
        if let Some(signal) = &args.signal {
            call = call.query("signal", signal);
        }
        if let Some(seconds) = args.timeout {
            call = call.query("t", seconds);
        }
        call.send().await?;
        Ok(format!("{name}\n"))
    })
    .await
}

pub(crate) async fn wait(client: &Client, args: &ContainersArgs) -> Result<ExitCode, CliError> {
    each(&args.containers, Forgiving::Nothing, async |name| {
        let ended: Value = client.post(path(&["containers", name, "wait"])).send().await?.json().await?;
        Ok(format!("{}\n", ended["StatusCode"]))
    })
    .await
}

pub(crate) async fn rename(client: &Client, container: &str, name: &str) -> Result<(), CliError> {
    client.post(path(&["containers", container, "rename"])).query("name", name).send().await?;
    Ok(())
}
