//! `/images`.

use std::sync::Arc;

use casemate_image::ImageRow;
use hyper::StatusCode;
use serde_json::{Value, json};

use crate::body::Body;
use crate::error::ApiError;
use crate::filters::Filters;
use crate::reply::{self, Reply};
use crate::request::Call;
use crate::upload::Pieces;

fn panicked(error: tokio::task::JoinError) -> ApiError {
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
}

/// A row for each name of an image, and one for an image without any.
pub(crate) async fn rows(call: &Call) -> Result<Vec<ImageRow>, ApiError> {
    let engine = Arc::clone(call.daemon.engine());
    Ok(tokio::task::spawn_blocking(move || engine.images().images()).await.map_err(panicked)??)
}

pub(crate) async fn list(call: &Call) -> Reply {
    let filters = Filters::of(&call.query, &["dangling", "reference"])?;
    let dangling = filters.truth("dangling")?;
    let rows = rows(call).await?;
    let mut images: Vec<Value> = Vec::new();
    for image in &rows {
        let fits = dangling.is_none_or(|dangling| dangling == image.repository.is_none())
            && filters.any("reference", |wanted| {
                image.repository.as_deref() == Some(wanted) || name(image).as_deref() == Some(wanted)
            });
        if !fits {
            continue;
        }
        match images.iter_mut().find(|known| known["Id"] == json!(image.id.to_string())) {
            Some(known) => {
                if let (Some(names), Some(name)) = (known["RepoTags"].as_array_mut(), name(image)) {
                    names.push(json!(name));
                }
            }
            None => images.push(row(image)),
        }
    }
    reply::json(&Value::Array(images))
}

fn name(image: &ImageRow) -> Option<String> {
    Some(format!("{}:{}", image.repository.as_ref()?, image.tag.as_ref()?))
}

pub(crate) fn row(image: &ImageRow) -> Value {
    json!({
        "Id": image.id.to_string(),
        "ParentId": "",
        "RepoTags": name(image).into_iter().collect::<Vec<_>>(),
        "RepoDigests": [],
        "Created": image.created.map_or(0, |time| time.as_second()),
        "Size": image.size,
        "SharedSize": -1,
        "Labels": {},
        "Containers": -1,
    })
}

pub(crate) async fn inspect(call: &Call, name: &str) -> Reply {
    let (engine, asked) = (Arc::clone(call.daemon.engine()), name.to_owned());
    let image = tokio::task::spawn_blocking(move || engine.images().resolve(&asked)).await.map_err(panicked)?;
    let image = image.map_err(|error| match casemate_model::Classify::class(&error) {
        casemate_model::ErrorClass::NotFound => ApiError::not_found(format!("No such image: {name}")),
        _ => error.into(),
    })?;
    reply::json(&json!({
        "Id": image.id.to_string(),
        "RepoTags": image.names.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "RepoDigests": [],
        "Created": image.created.map(|time| time.to_string()),
        "Architecture": image.architecture,
        "Os": "linux",
        "Size": image.size,
        "Config": {
            "Env": image.config.env, "Cmd": image.config.cmd, "Entrypoint": image.config.entrypoint,
            "WorkingDir": image.config.working_dir.unwrap_or_default(),
            "User": image.config.user.unwrap_or_default(), "Labels": image.config.labels,
        },
        "RootFS": {
            "Type": "layers", "Layers": image.layers.iter().map(ToString::to_string).collect::<Vec<_>>(),
        },
    }))
}

pub(crate) async fn load(call: Call) -> Reply {
    let engine = Arc::clone(call.daemon.engine());
    let archive = Pieces::of(call.request.into_body());
    let loaded = tokio::task::spawn_blocking(move || engine.images().load(archive, &mut |_| {})).await;
    let mut text = String::new();
    for image in loaded.map_err(panicked)?? {
        let lines: Vec<String> = match image.names.as_slice() {
            [] => vec![format!("Loaded image ID: {}", image.id)],
            names => names.iter().map(|name| format!("Loaded image: {name}")).collect(),
        };
        for line in lines {
            text.push_str(&format!("{}\n", json!({ "stream": format!("{line}\n") })));
        }
    }
    reply::stream("application/json", Body::from(text.into_bytes()))
}

pub(crate) async fn remove(call: &Call, name: &str) -> Reply {
    let force = call.query.flag("force");
    let (engine, asked) = (Arc::clone(call.daemon.engine()), name.to_owned());
    let removed = tokio::task::spawn_blocking(move || engine.remove_image(&asked, force)).await.map_err(panicked)??;
    let mut rows: Vec<Value> = removed.untagged.iter().map(|name| json!({ "Untagged": name.to_string() })).collect();
    rows.extend(removed.deleted.map(|id| json!({ "Deleted": id.to_string() })));
    reply::json(&Value::Array(rows))
}
