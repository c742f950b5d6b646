//! `casemate network`: one file for each of its commands; those that are one call
//! each share one.

mod create;
mod endpoint;
mod ipam;
mod ls;
mod prune;

use std::process::ExitCode;

use casemate_client::{Client, path};

use super::{Forgiving, done, each, inspect, print};
use crate::cli::{InspectNetworkArgs, NetworkCommand, RmNetworkArgs};
use crate::report::CliError;

pub(crate) use ipam::IpamError;

pub(crate) async fn run(client: &Client, command: NetworkCommand) -> Result<ExitCode, CliError> {
    match command {
        NetworkCommand::Connect(args) => done(endpoint::connect(client, args).await),
        NetworkCommand::Create(args) => done(create::run(client, &args).await),
        NetworkCommand::Disconnect(args) => done(endpoint::disconnect(client, &args).await),
        NetworkCommand::Inspect(args) => show(client, &args).await,
        NetworkCommand::Ls(args) => done(ls::run(client, &args).await),
        NetworkCommand::Prune(args) => done(prune::run(client, &args).await),
        NetworkCommand::Rm(args) => rm(client, &args).await,
    }
}

async fn show(client: &Client, args: &InspectNetworkArgs) -> Result<ExitCode, CliError> {
    inspect::show(&args.networks, args.format.as_deref(), async |name| {
        let call = client.get(path(&["networks", name]));
        if args.verbose { call.query("verbose", true) } else { call }.send().await?.json().await
    })
    .await
}

/// With `--force`, of a network that is not there nothing is said at all.
async fn rm(client: &Client, args: &RmNetworkArgs) -> Result<ExitCode, CliError> {
    each(&args.networks, Forgiving::Nothing, async |name| match client.delete(path(&["networks", name])).send().await {
        Ok(_) => Ok(format!("{name}\n")),
        Err(error) if args.force && error.refusal().is_some_and(|refusal| refusal.is_not_found()) => Ok(String::new()),
        Err(error) => Err(error.into()),
    })
    .await
}
