//! Networks.

mod create;
mod inspect;

use hyper::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::containers::EndpointSettings;
use crate::error::ApiError;
use crate::filters::Filters;
use crate::reply::{self, Reply};
use crate::request::Call;

pub(crate) use create::create;
pub(crate) use inspect::{inspect, list};

pub(crate) async fn remove(call: &Call, name: &str) -> Reply {
    call.daemon.remove_network(name).await?;
    reply::no_content()
}

/// Those that nobody has an end of, but for the built-in ones.
pub(crate) async fn prune(call: &Call) -> Reply {
    let filters = Filters::of(&call.query, &["label", "label!", "until"])?;
    let until = filters.until()?;
    let unused: Vec<String> = {
        let networks = call.daemon.networks();
        let is_older = |created: &str| {
            until.is_none_or(|until| created.parse().is_ok_and(|created: jiff::Timestamp| created < until))
        };
        let unused = networks.all().filter(|known| {
            !known.is_builtin()
                && networks.members(&known.record.id).next().is_none()
                && filters.labels(&known.record.labels)
                && is_older(&known.record.created)
        });
        unused.map(|known| known.record.id.clone()).collect()
    };
    let mut removed = Vec::new();
    for id in unused {
        // Somebody may have come meanwhile.
        match call.daemon.remove_network(&id).await {
            Ok(record) => removed.push(record.name),
            Err(error) => tracing::info!(error = casemate_model::chain(&error), "network not pruned"),
        }
    }
    reply::json(&json!({ "NetworksDeleted": if removed.is_empty() { Value::Null } else { json!(removed) } }))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Connect {
    container: Option<String>,
    endpoint_config: Option<EndpointSettings>,
}

pub(crate) async fn connect(mut call: Call, network: &str) -> Reply {
    let Connect { container, endpoint_config } = call.json().await?;
    let entry = call.container(&named(container)?)?;
    let wanted = endpoint_config.unwrap_or_default().wanted()?;
    call.daemon.connect(&entry, network, wanted).await?;
    reply::empty(StatusCode::OK)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Disconnect {
    container: Option<String>,
}

/// `Force` is for containers of other hosts, of which there are none.
pub(crate) async fn disconnect(mut call: Call, network: &str) -> Reply {
    let Disconnect { container } = call.json().await?;
    let entry = call.container(&named(container)?)?;
    call.daemon.disconnect(&entry, network).await?;
    reply::empty(StatusCode::OK)
}

fn named(container: Option<String>) -> Result<String, ApiError> {
    container.filter(|name| !name.is_empty()).ok_or_else(|| ApiError::bad_request("container name or id is missing"))
}
