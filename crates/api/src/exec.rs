//! `/exec`: further processes in a running container.

use casemate_engine::daemon::{ExecRequest, ExecState};
use casemate_model::{Classify, TerminalSize, chain};
use hyper::StatusCode;
use serde::Deserialize;
use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::containers;
use crate::error::ApiError;
use crate::hijack::{self, Parted, Wanted};
use crate::reply::{self, Reply};
use crate::request::Call;

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct CreateBody {
    attach_stdin: Option<bool>,
    attach_stdout: Option<bool>,
    attach_stderr: Option<bool>,
    detach_keys: Option<String>,
    tty: Option<bool>,
    env: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    privileged: Option<bool>,
    user: Option<String>,
    working_dir: Option<String>,
}

pub(crate) async fn create(mut call: Call, id: &str) -> Reply {
    let body: CreateBody = call.json().await?;
    let entry = call.container(id)?;
    let exec = call.daemon.create_exec(&entry, request(body)?).await?;
    reply::json_with(StatusCode::CREATED, &json!({ "Id": exec.id.as_str() }))
}

pub(crate) fn request(body: CreateBody) -> Result<ExecRequest, ApiError> {
    let CreateBody {
        attach_stdin,
        attach_stdout,
        attach_stderr,
        detach_keys,
        tty,
        env,
        cmd,
        privileged,
        user,
        working_dir,
    } = body;
    let text = |value: Option<String>| value.filter(|text| !text.is_empty());
    let user = text(user)
        .map(|user| user.parse().map_err(|error: casemate_model::InvalidUser| ApiError::bad_request(error.to_string())))
        .transpose()?;
    let detach_keys = text(detach_keys);
    hijack::detach_keys(detach_keys.as_deref())?;
    let (command, env) = (cmd.unwrap_or_default(), env.unwrap_or_default());
    let working_dir = text(working_dir);
    // A process's words end with their first null byte.
    if let Some(word) = command.iter().chain(&env).chain(&working_dir).find(|word| word.contains('\0')) {
        return Err(ApiError::bad_request(format!("invalid exec: {word:?} contains a null byte")));
    }
    Ok(ExecRequest {
        command,
        env,
        working_dir,
        user,
        tty: tty.unwrap_or(false),
        attach_stdin: attach_stdin.unwrap_or(false),
        attach_stdout: attach_stdout.unwrap_or(false),
        attach_stderr: attach_stderr.unwrap_or(false),
        privileged: privileged.unwrap_or(false),
        detach_keys,
    })
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct StartBody {
    detach: Option<bool>,
    tty: Option<bool>,
    /// Rows and columns.
    console_size: Option<[u16; 2]>,
}

pub(crate) async fn start(mut call: Call, id: &str) -> Reply {
    let body: StartBody = call.optional_json().await?.unwrap_or_default();
    let exec = call.daemon.exec(id)?;
    let size = body.console_size.map(|[rows, columns]| TerminalSize { rows, columns });
    if body.detach.unwrap_or(false) {
        call.daemon.start_detached_exec(&exec, size).await?;
        return reply::empty(StatusCode::OK);
    }
    let terminal = exec.request.tty;
    if let Some(asked) = body.tty
        && asked != terminal
    {
        return Err(ApiError::bad_request(format!(
            "the exec was created {} a terminal and started {}",
            if terminal { "with" } else { "without" },
            if asked { "with one" } else { "without" },
        )));
    }
    if exec.state() != ExecState::Created {
        // Says which it is.
        call.daemon.start_exec(&exec, size).await?;
    }
    let keys = hijack::detach_keys(exec.request.detach_keys.as_deref())?;
    let (response, upgrade) = hijack::upgrade(&call, terminal);
    let daemon = call.daemon;
    tokio::task::spawn_local(async move {
        let Ok(mut connection) = upgrade.await else {
            return;
        };
        let mut streams = match daemon.start_exec(&exec, size).await {
            Ok(streams) => streams,
            Err(error) => {
                // Too late for a status: dockerd says it on the output too.
                tracing::debug!(class = error.class().name(), error = chain(&error), "exec not started");
                let text = format!("{}\r\n", chain(&error));
                let _ = connection.writer.write_all(&hijack::framed(false, text.as_bytes(), terminal)).await;
                let _ = connection.writer.shutdown().await;
                return;
            }
        };
        let wanted = Wanted {
            stdin: exec.request.attach_stdin,
            stdout: exec.request.attach_stdout,
            stderr: exec.request.attach_stderr,
            stdin_once: true,
        };
        if hijack::join(connection, &mut streams, wanted, &keys, async { true }, exec.ended()).await == Parted::Left {
            // It goes on without a reader, as in Docker.
            streams.discard().await;
        }
    });
    Ok(response)
}

pub(crate) async fn resize(call: &Call, id: &str) -> Reply {
    let exec = call.daemon.exec(id)?;
    exec.resize(containers::size(call)?).await?;
    reply::empty(StatusCode::OK)
}

pub(crate) fn inspect(call: &Call, id: &str) -> Reply {
    let exec = call.daemon.exec(id)?;
    let request = &exec.request;
    let state = exec.state();
    let exit_code = match state {
        ExecState::Created | ExecState::Running => None,
        ExecState::Ended { code } | ExecState::Failed { code } => Some(code),
    };
    let (program, arguments) = match request.command.split_first() {
        Some((program, arguments)) => (program.as_str(), arguments),
        None => ("", &[][..]),
    };
    reply::json(&json!({
        "ID": exec.id.as_str(),
        "Running": state == ExecState::Running,
        "ExitCode": exit_code,
        "ProcessConfig": {
            "tty": request.tty,
            "entrypoint": program,
            "arguments": arguments,
            "privileged": request.privileged,
            "user": request.user.as_ref().map(ToString::to_string).unwrap_or_default(),
        },
        "OpenStdin": request.attach_stdin,
        "OpenStderr": request.attach_stderr,
        "OpenStdout": request.attach_stdout,
        "CanRemove": exit_code.is_some(),
        "ContainerID": exec.container.as_str(),
        "DetachKeys": request.detach_keys.as_deref().unwrap_or_default(),
        "Pid": exec.pid(),
    }))
}
