//! What Docker's API has no place for, under `/casemate`.
//!
//! Fields are added to these documents; they do not change, and do not go.

mod firewall;
mod ports;

use std::rc::Rc;

use casemate_engine::daemon::Entry;
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::request::Call;

pub(crate) use firewall::firewall;
pub(crate) use ports::ports;

/// The one that is asked for, or all that run.
fn asked(call: &Call) -> Result<Vec<Rc<Entry>>, ApiError> {
    match call.query.get("container") {
        Some(name) => Ok(vec![call.container(name)?]),
        None => Ok(call.daemon.entries().into_iter().filter(|entry| entry.status().is_up()).collect()),
    }
}

/// Which it is.
fn head(entry: &Entry) -> Value {
    let container = entry.container();
    json!({
        "Id": entry.id.as_str(),
        "Name": container.name.as_str(),
        "Isolation": container.isolation.as_str(),
        "NetworkMode": container.record.host.network_mode,
    })
}
