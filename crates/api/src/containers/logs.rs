//! `GET /containers/{id}/logs`.

use std::collections::BTreeMap;

use casemate_engine::daemon::LogRequest;
use hyper::StatusCode;

use crate::body::Body;
use crate::error::ApiError;
use crate::hijack::{content_type, framed};
use crate::reply::Reply;
use crate::request::Call;

pub(crate) async fn logs(call: &Call, id: &str) -> Reply {
    let entry = call.container(id)?;
    let query = &call.query;
    let (timestamps, details, follow) = (query.flag("timestamps"), query.flag("details"), query.flag("follow"));
    let request = LogRequest {
        stdout: query.flag("stdout"),
        stderr: query.flag("stderr"),
        follow,
        // A number that cannot be read is all, as in dockerd.
        tail: query.get("tail").and_then(|tail| tail.parse().ok()),
        since: query.time("since")?,
        until: query.time("until")?,
    };
    if !request.stdout && !request.stderr {
        return Err(ApiError::bad_request("Bad parameters: you must choose at least one stream"));
    }
    let container = entry.container();
    if container.record.host.log.driver == "none" {
        return Err(ApiError::new(StatusCode::NOT_IMPLEMENTED, "configured logging driver does not support reading"));
    }
    let terminal = container.record.tty;
    let mut items = entry.logs(request).await.map_err(|error| {
        ApiError::from(casemate_model::Failure::new(
            casemate_model::ErrorClass::Internal,
            format!("cannot read the log of container {}: {error}", entry.id),
        ))
    })?;
    let (sender, body) = if follow { Body::endless() } else { Body::stream() };
    tokio::task::spawn_local(async move {
        loop {
            let item = tokio::select! {
                item = items.recv() => item,
                () = sender.closed() => return,
            };
            let Some(item) = item else {
                return;
            };
            let mut text = String::new();
            if timestamps {
                text = item.time + " ";
            }
            if details {
                text += &(attributes(&item.attrs) + " ");
            }
            let text = [text.as_bytes(), &item.text].concat();
            if sender.send(framed(item.stderr, &text, terminal).into()).await.is_err() {
                return;
            }
        }
    });
    let mut response = hyper::Response::new(body);
    response.headers_mut().insert("content-type", content_type(call.version, terminal));
    Ok(response)
}

/// `name=value,name=value`, each escaped as in a query (moby `attrsByteSlice`).
fn attributes(attrs: &BTreeMap<String, String>) -> String {
    let escape = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pairs: Vec<String> = attrs.iter().map(|(name, value)| format!("{}={}", escape(name), escape(value))).collect();
    pairs.join(",")
}
