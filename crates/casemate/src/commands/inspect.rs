//! `casemate inspect`: Docker's shape, with what is Casemate's own under
//! `Casemate`.

use std::process::ExitCode;

use casemate_engine::{Container, Engine};
use serde_json::{Value, json};

use crate::cli::InspectArgs;
use crate::report::{CliError, print_error};
use crate::template;

/// Go's zero time, which Docker shows for what has not happened.
const NEVER: &str = "0001-01-01T00:00:00Z";

pub(crate) fn run(engine: &Engine, args: &InspectArgs) -> Result<ExitCode, CliError> {
    let mut found = Vec::new();
    let mut failed = false;
    for name in &args.containers {
        match engine.find(name) {
            Ok(container) => found.push(describe(&container)),
            Err(error) => {
                print_error(&error.into());
                failed = true;
            }
        }
    }
    let text = match &args.format {
        Some(format) => found
            .iter()
            .map(|value| Ok(template::render(format, value)? + "\n"))
            .collect::<Result<String, CliError>>()?,
        None => format!("{:#}\n", Value::Array(found)),
    };
    super::print(&text)?;
    if failed { Err(CliError::Some) } else { Ok(ExitCode::SUCCESS) }
}

fn describe(container: &Container) -> Value {
    let (record, state) = (&container.record, &container.state);
    let (entrypoint, command) = record.args.split_at(record.image.entrypoint_length.min(record.args.len()));
    json!({
        "Id": container.id.as_str(),
        "Created": record.created,
        "Path": record.args.first(),
        "Args": record.args.get(1..),
        "State": {
            "Status": state.status,
            "Running": state.is_running(),
            "Paused": false,
            "Restarting": false,
            "OOMKilled": state.oom_killed,
            "Dead": false,
            "Pid": state.pid.unwrap_or(0),
            "ExitCode": state.exit_code.unwrap_or(0),
            "Error": state.error.as_deref().unwrap_or(""),
            "StartedAt": state.started.as_deref().unwrap_or(NEVER),
            "FinishedAt": state.finished.as_deref().unwrap_or(NEVER),
        },
        "Image": record.image.id,
        "LogPath": container.paths.log(),
        "Name": format!("/{}", container.name),
        "Platform": "linux",
        "HostConfig": {
            "Isolation": container.isolation.as_str(),
            "AutoRemove": record.auto_remove,
            "Memory": record.memory.unwrap_or(0),
            "NanoCpus": record.nano_cpus.unwrap_or(0),
            "ReadonlyRootfs": record.read_only,
            "NetworkMode": "none",
        },
        "Config": {
            "Hostname": record.hostname,
            "User": record.user,
            "Tty": record.tty,
            "OpenStdin": record.open_stdin,
            "StdinOnce": record.open_stdin,
            "Env": record.env,
            "Cmd": command,
            "Entrypoint": entrypoint,
            "Image": record.image.name,
            "WorkingDir": record.cwd,
            "Labels": record.labels,
            "StopSignal": casemate_model::Signal::from_number(record.stop_signal.into())
                .map_or_else(|_| record.stop_signal.to_string(), |signal| signal.to_string()),
            "StopTimeout": record.stop_timeout_s,
        },
        "Casemate": casemate_api::casemate(container),
    })
}
