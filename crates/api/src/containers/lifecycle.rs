//! Starting, stopping, renaming, removing.

use casemate_engine::daemon::Status;
use casemate_engine::{EngineError, FindError};
use casemate_model::{ContainerName, Signal, TerminalSize};
use hyper::StatusCode;
use serde_json::json;

use super::disk_usage;
use crate::error::ApiError;
use crate::filters::Filters;
use crate::reply::{self, Reply};
use crate::request::Call;

pub(crate) async fn start(call: &Call, id: &str) -> Reply {
    let entry = call.container(id)?;
    if entry.status() == Status::Paused {
        return Err(ApiError::conflict("cannot start a paused container, try unpause instead"));
    }
    call.daemon.start(&entry).await?;
    reply::no_content()
}

pub(crate) async fn stop(call: &Call, id: &str) -> Reply {
    let entry = call.container(id)?;
    match call.daemon.stop(&entry, signal(call)?, call.query.number("t")?).await {
        Ok(()) => reply::no_content(),
        // Stopping what stands still is no error.
        Err(EngineError::NotRunning { .. }) => reply::empty(StatusCode::NOT_MODIFIED),
        Err(error) => Err(error.into()),
    }
}

pub(crate) async fn restart(call: &Call, id: &str) -> Reply {
    let entry = call.container(id)?;
    call.daemon.restart(&entry, signal(call)?, call.query.number("t")?).await?;
    reply::no_content()
}

pub(crate) async fn kill(call: &Call, id: &str) -> Reply {
    let entry = call.container(id)?;
    let signal = signal(call)?.unwrap_or(Signal::KILL);
    call.daemon.kill(&entry, signal).await.map_err(|error| {
        let error = ApiError::from(error);
        ApiError::new(error.status, format!("cannot kill container: {id}: {}", error.message))
    })?;
    reply::no_content()
}

fn signal(call: &Call) -> Result<Option<Signal>, ApiError> {
    let parse = |text: &str| text.parse().map_err(|_| ApiError::bad_request(format!("Invalid signal: {text}")));
    call.query.get("signal").map(parse).transpose()
}

pub(crate) async fn rename(call: &Call, id: &str) -> Reply {
    let entry = call.container(id)?;
    let name = call.query.get("name").ok_or_else(|| ApiError::bad_request("Neither old nor new names may be empty"))?;
    let name: ContainerName = name.parse().map_err(|_| {
        // Docker has it with its slash here, and without when it creates one.
        let invalid = casemate_model::InvalidName(format!("/{}", name.trim_start_matches('/')));
        ApiError::bad_request(format!("Error when allocating new name: {invalid}"))
    })?;
    call.daemon.rename(&entry, name).await?;
    reply::no_content()
}

pub(crate) async fn resize(call: &Call, id: &str) -> Reply {
    let entry = call.container(id)?;
    entry.resize(size(call)?).await?;
    reply::empty(StatusCode::OK)
}

/// `h` and `w`, both needed.
pub(crate) fn size(call: &Call) -> Result<TerminalSize, ApiError> {
    let side = |name: &str| {
        let number = call.query.number(name)?.unwrap_or(0);
        u16::try_from(number).map_err(|_| ApiError::bad_request(format!("invalid resize {name}: {number}")))
    };
    Ok(TerminalSize { rows: side("h")?, columns: side("w")? })
}

pub(crate) async fn remove(call: &Call, id: &str) -> Reply {
    if call.query.flag("link") {
        return Err(ApiError::bad_request("links cannot be removed: there are none"));
    }
    let force = call.query.flag("force");
    match call.daemon.find(id) {
        Err(FindError::NotFound { .. }) if force => call.daemon.remove_damaged(id).await?,
        entry => call.daemon.remove(&entry?, force).await?,
    }
    reply::no_content()
}

pub(crate) async fn prune(call: &Call) -> Reply {
    let filters = Filters::of(&call.query, &["label", "label!", "until"])?;
    let until = filters.until()?;
    let (mut deleted, mut reclaimed) = (Vec::new(), 0);
    for entry in call.daemon.entries() {
        let container = entry.container();
        let rests = matches!(entry.status(), Status::Created | Status::Exited | Status::Dead);
        let old =
            until.is_none_or(|until| container.record.created.parse().is_ok_and(|made: jiff::Timestamp| made < until));
        if !rests || !old || !filters.labels(&container.record.labels) {
            continue;
        }
        let written = disk_usage(call, &entry).await.written;
        match call.daemon.remove(&entry, false).await {
            Ok(()) => {
                deleted.push(entry.id.to_string());
                reclaimed += written;
            }
            Err(error) => {
                tracing::warn!(container = %entry.id.short(), error = casemate_model::chain(&error), "not pruned")
            }
        }
    }
    reply::json(&json!({ "ContainersDeleted": deleted, "SpaceReclaimed": reclaimed }))
}
