//! `POST /commit`.

use casemate_engine::daemon::CommitRequest;
use hyper::StatusCode;
use serde_json::json;

use crate::images;
use crate::reply::{self, Reply};
use crate::request::Call;

/// The configuration that a body may have is what `docker` never sends: changes
/// come as instructions.
pub(crate) async fn commit(call: Call) -> Reply {
    let query = &call.query;
    let entry = call.container(query.get("container").unwrap_or_default())?;
    let text = |name: &str| query.get(name).unwrap_or_default().to_owned();
    let request = CommitRequest {
        name: images::target(&call)?,
        author: text("author"),
        comment: text("comment"),
        changes: query.all("changes"),
        pause: query.flag_or("pause", true),
    };
    let id = call.daemon.commit(&entry, request).await?;
    reply::json_with(StatusCode::CREATED, &json!({ "Id": id.to_string() }))
}
