//! Names given and taken: tag, remove, prune.

use casemate_image::{LabelFilter, PruneFilter, Reference, Removed};
use hyper::StatusCode;
use serde_json::{Value, json};

use super::{blocking, parse_reference};
use crate::error::ApiError;
use crate::filters::Filters;
use crate::reply::{self, Reply};
use crate::request::Call;

pub(crate) async fn tag(call: &Call, name: &str) -> Reply {
    let target =
        target(call)?.ok_or_else(|| ApiError::bad_request("repository name must have at least one component"))?;
    let (source, wanted) = (name.to_owned(), target.clone());
    let id = blocking(call, move |engine| engine.images().tag(&source, &wanted)).await?;
    call.daemon.note_image("tag", &id.to_string(), &target.or_latest().to_string());
    reply::empty(StatusCode::CREATED)
}

/// The name in `repo` and `tag`.
pub(crate) fn target(call: &Call) -> Result<Option<Reference>, ApiError> {
    let Some(repository) = call.query.get("repo") else {
        return Ok(None);
    };
    let name = parse_reference(repository)?;
    match call.query.get("tag") {
        None => Ok(Some(name)),
        Some(tag) => match name.with_tag(tag) {
            Some(name) => Ok(Some(name)),
            None => Err(ApiError::bad_request("invalid tag format")),
        },
    }
}

pub(crate) async fn remove(call: &Call, name: &str) -> Reply {
    let (asked, force) = (name.to_owned(), call.query.flag("force"));
    let removed = blocking(call, move |engine| engine.remove_image(&asked, force)).await?;
    reply::json(&Value::Array(told(call, &removed)))
}

/// The rows of an answer; the events are emitted.
fn told(call: &Call, removed: &Removed) -> Vec<Value> {
    let Removed { untagged, deleted } = removed;
    let mut rows = Vec::new();
    for name in untagged {
        let name = name.to_string();
        call.daemon.note_image("untag", deleted.as_ref().map_or(name.clone(), ToString::to_string).as_str(), &name);
        rows.push(json!({ "Untagged": name }));
    }
    if let Some(id) = deleted {
        let id = id.to_string();
        call.daemon.note_image("delete", &id, &id);
        rows.push(json!({ "Deleted": id }));
    }
    rows
}

pub(crate) async fn prune(call: &Call) -> Reply {
    let filters = Filters::of(&call.query, &["dangling", "label", "label!", "until"])?;
    let labels = |name: &str| filters.get(name).iter().map(|text| LabelFilter::parse(text)).collect();
    let filter = PruneFilter {
        dangling: filters.truth("dangling")?.unwrap_or(true),
        until: filters.until()?,
        labels: labels("label"),
        not_labels: labels("label!"),
    };
    let pruned = blocking(call, move |engine| engine.prune_images(&filter)).await?;
    let rows: Vec<Value> = pruned.removed.iter().flat_map(|removed| told(call, removed)).collect();
    reply::json(&json!({
        "ImagesDeleted": if rows.is_empty() { Value::Null } else { Value::Array(rows) },
        "SpaceReclaimed": pruned.reclaimed,
    }))
}
