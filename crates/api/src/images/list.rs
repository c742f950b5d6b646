//! `GET /images/json`.

use std::collections::BTreeMap;

use casemate_image::{ImageSummary, LabelFilter, ListFilter};
use serde_json::{Value, json};

use super::{blocking, strings};
use crate::error::ApiError;
use crate::filters::Filters;
use crate::reply::{self, Reply};
use crate::request::{Call, Version};

pub(crate) async fn summaries(call: &Call, filter: ListFilter) -> Result<Vec<ImageSummary>, ApiError> {
    blocking(call, move |engine| engine.images().list(&filter)).await
}

/// Bytes of the files of all layers, each counted once.
pub(crate) async fn layers_size(call: &Call) -> Result<u64, ApiError> {
    let sizes = blocking(call, |engine| engine.images().layer_sizes()).await?;
    Ok(sizes.values().sum())
}

pub(crate) async fn list(call: &Call) -> Reply {
    let filters = Filters::of(&call.query, &["before", "dangling", "label", "reference", "since", "until"])?;
    let filter = ListFilter {
        all: call.query.flag("all"),
        dangling: filters.truth("dangling")?,
        labels: filters.get("label").iter().map(|text| LabelFilter::parse(text)).collect(),
        before: filters.get("before").to_vec(),
        since: filters.get("since").to_vec(),
        until: filters.until()?,
        references: filters.get("reference").to_vec(),
    };
    let shared = call.query.flag("shared-size");
    let rows: Vec<Value> = summaries(call, filter)
        .await?
        .iter()
        .map(|image| {
            let mut row = row(image, call.version);
            if shared {
                row["SharedSize"] = json!(image.shared_size);
            }
            row
        })
        .collect();
    reply::json(&Value::Array(rows))
}

/// Sizes and uses that cost a look at everything are -1 until somebody has looked.
pub(crate) fn row(image: &ImageSummary, version: Version) -> Value {
    let labels: &BTreeMap<String, String> = &image.labels;
    let mut row = json!({
        "Id": image.id.to_string(),
        "ParentId": image.parent.as_ref().map(ToString::to_string).unwrap_or_default(),
        "RepoTags": strings(&image.names),
        "RepoDigests": strings(&image.digests),
        "Created": image.created.map_or(0, |time| time.as_second()),
        "Size": image.size,
        "SharedSize": -1,
        "Labels": labels,
        "Containers": -1,
    });
    if version < Version(1, 44) {
        row["VirtualSize"] = json!(image.size);
    }
    row
}
