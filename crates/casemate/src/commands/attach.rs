//! `casemate attach`.

use std::process::ExitCode;

use casemate_client::{Client, path};
use serde_json::Value;
use tokio::task::spawn_local;

use super::create::check_terminal;
use super::run;
use crate::cli::AttachArgs;
use crate::report::CliError;
use crate::session::{self, Parted, Session};

pub(crate) async fn run(client: &Client, args: AttachArgs) -> Result<ExitCode, CliError> {
    let container: Value = client.get(path(&["containers", &args.container, "json"])).send().await?.json().await?;
    let (state, config) = (&container["State"], &container["Config"]);
    for (is, refusal) in [
        (state["Running"] != true, "cannot attach to a stopped container, start it first"),
        (state["Paused"] == true, "cannot attach to a paused container, unpause it first"),
        (state["Restarting"] == true, "cannot attach to a restarting container, wait until it is running"),
    ] {
        if is {
            return Err(CliError::Usage(refusal.to_owned()));
        }
    }
    let (tty, stdin) = (config["Tty"] == true, config["OpenStdin"] == true && !args.no_stdin);
    check_terminal(tty, stdin)?;
    let id = container["Id"].as_str().unwrap_or_default();
    let wait = client.post(path(&["containers", id, "wait"])).send().await?;
    let streams = run::attach(client, id, stdin).await?;
    let ended = spawn_local(run::exit(wait));
    let of = path(&["containers", id]);
    let beside = if tty { session::follow_size(client, &of) } else { session::pass_signals_on(client, id) };
    let parted = Session::new(streams, tty, stdin, args.detach_keys).run().await?;
    drop(beside);
    match parted {
        Parted::ByKeys => Ok(ExitCode::SUCCESS),
        Parted::ByOutput(error) => Err(error.into()),
        Parted::Ended => run::code(ended).await,
    }
}
