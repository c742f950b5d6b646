//! Pausing, and changing limits.

use casemate_engine::daemon::{RestartPolicy, UpdateRequest};
use serde::Deserialize;
use serde_json::json;

use super::create::amount;
use super::host_config::{Resources, Restart};
use crate::error::ApiError;
use crate::reply::{self, Reply};
use crate::request::Call;

pub(crate) async fn pause(call: &Call, id: &str) -> Reply {
    call.daemon.pause(&call.container(id)?).await?;
    reply::no_content()
}

pub(crate) async fn unpause(call: &Call, id: &str) -> Reply {
    call.daemon.unpause(&call.container(id)?).await?;
    reply::no_content()
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Body {
    #[serde(flatten)]
    resources: Resources,
    restart_policy: Option<Restart>,
}

pub(crate) async fn update(mut call: Call, id: &str) -> Reply {
    let body: Body = call.json().await?;
    let entry = call.container(id)?;
    let restart = match body.restart_policy {
        Some(Restart { name: Some(name), maximum_retry_count }) if !name.is_empty() => Some(
            RestartPolicy::new(&name, maximum_retry_count.unwrap_or(0))
                .map_err(|error| ApiError::bad_request(error.to_string()))?,
        ),
        _ => None,
    };
    let request = UpdateRequest {
        memory: amount("memory", body.resources.memory)?,
        nano_cpus: amount("CPUs", body.resources.nano_cpus)?,
        limits: body.resources.limits(),
        restart,
    };
    let warnings = call.daemon.update(&entry, request).await?;
    reply::json(&json!({ "Warnings": warnings }))
}
