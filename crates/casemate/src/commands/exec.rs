//! `casemate exec`.

use std::process::ExitCode;

use casemate_client::{Client, path};
use casemate_model::TerminalSize;
use serde_json::{Value, json};

use super::create::{check_terminal, env};
use crate::cli::ExecArgs;
use crate::report::{CliError, broken_pipe};
use crate::session::{self, Beside, Parted, Session};
use crate::terminal;

pub(crate) async fn run(client: &Client, args: ExecArgs) -> Result<ExitCode, CliError> {
    if !args.detach {
        check_terminal(args.tty, args.interactive)?;
    }
    let (container, command) = args.container_and_command.split_first().unzip();
    let size = args.tty.then(terminal::size).flatten();
    let body = json!({
        "AttachStdin": args.interactive && !args.detach,
        "AttachStdout": !args.detach,
        "AttachStderr": !args.detach,
        "Tty": args.tty,
        "Env": env(&args.env)?,
        "WorkingDir": args.workdir,
        "User": args.user,
        "Cmd": command,
    });
    // The grammar has two at least.
    let create = path(&["containers", container.map_or("", String::as_str), "exec"]);
    let created: Value = client.post(create).json(&body).send().await?.json().await?;
    let id = created["Id"].as_str().unwrap_or_default();
    let mut start = json!({ "Detach": args.detach, "Tty": args.tty });
    if let Some(TerminalSize { rows, columns }) = size {
        start["ConsoleSize"] = json!([rows, columns]);
    }
    let start = client.post(path(&["exec", id, "start"])).json(&start);
    if args.detach {
        start.send().await?;
        return Ok(ExitCode::SUCCESS);
    }
    let streams = start.hijack().await?;
    let of = path(&["exec", id]);
    let beside = if args.tty { session::follow_size(client, &of) } else { Beside::new() };
    let parted = Session::new(streams, args.tty, args.interactive, args.detach_keys).run().await?;
    drop(beside);
    match parted {
        Parted::ByKeys => Ok(ExitCode::SUCCESS),
        // Here Docker's CLI does not handle SIGPIPE; with `run` it does.
        Parted::ByOutput(error) if error.is_broken_pipe() => Ok(broken_pipe()),
        Parted::ByOutput(error) => Err(error.into()),
        Parted::Ended => {
            let exec: Value = client.get(path(&["exec", id, "json"])).send().await?.json().await?;
            Ok(ExitCode::from(exec["ExitCode"].as_i64().unwrap_or(0) as u8))
        }
    }
}
