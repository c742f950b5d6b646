//! `GET /images/{name}/json` and `/history`.

use casemate_image::{Healthcheck, Image, ImageConfig};
use serde_json::{Map, Value, json};

use super::{blocking, strings};
use crate::reply::{self, Reply};
use crate::request::{Call, Version};

pub(crate) async fn inspect(call: &Call, name: &str) -> Reply {
    let asked = name.to_owned();
    let image = blocking(call, move |engine| engine.images().resolve(&asked)).await?;
    reply::json(&describe(&image, call.version))
}

fn describe(image: &Image, version: Version) -> Value {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let mut value = json!({
        "Id": image.id.to_string(),
        "RepoTags": strings(&image.names),
        "RepoDigests": strings(&image.digests),
        "Parent": image.parent.as_ref().map(ToString::to_string).unwrap_or_default(),
        "Comment": text(&image.comment),
        "Created": image.created.map(|time| time.to_string()),
        "DockerVersion": "",
        "Author": text(&image.author),
        "Config": config(&image.config),
        "Architecture": image.architecture,
        "Os": image.os,
        "Size": image.size,
        "GraphDriver": { "Data": null, "Name": "overlay2" },
        "RootFS": { "Type": "layers", "Layers": strings(&image.layers) },
        "Metadata": { "LastTagTime": image.tagged.map_or_else(|| crate::containers::NEVER.to_owned(), |time| time.to_string()) },
    });
    if let Some(variant) = &image.variant {
        value["Variant"] = json!(variant);
    }
    if version < Version(1, 44) {
        value["VirtualSize"] = json!(image.size);
    }
    value
}

/// What is not set is left out, but for what every image is asked for.
fn config(config: &ImageConfig) -> Value {
    let ImageConfig {
        env,
        cmd,
        entrypoint,
        working_dir,
        user,
        stop_signal,
        exposed_ports,
        volumes,
        labels,
        healthcheck,
        shell,
        on_build,
        args_escaped,
    } = config;
    let list = |values: &Vec<String>| if values.is_empty() { Value::Null } else { json!(values) };
    let mut value = json!({
        "Env": list(env),
        "Cmd": list(cmd),
        "Entrypoint": list(entrypoint),
        "WorkingDir": working_dir.clone().unwrap_or_default(),
        "User": user.clone().unwrap_or_default(),
        "Labels": if labels.is_empty() { Value::Null } else { json!(labels) },
        "OnBuild": list(on_build),
        "Volumes": if volumes.is_empty() { Value::Null } else { set(volumes) },
    });
    let mut add = |name: &str, given: bool, field: Value| {
        if given {
            value[name] = field;
        }
    };
    add("ExposedPorts", !exposed_ports.is_empty(), set(exposed_ports));
    add("Shell", !shell.is_empty(), json!(shell));
    add("ArgsEscaped", *args_escaped, json!(true));
    if let Some(signal) = stop_signal {
        add("StopSignal", true, json!(signal));
    }
    if let Some(check) = healthcheck {
        add("Healthcheck", true, health(check));
    }
    value
}

/// As Go writes a set: a map to nothing.
fn set(names: &[String]) -> Value {
    Value::Object(names.iter().map(|name| (name.clone(), json!({}))).collect())
}

fn health(check: &Healthcheck) -> Value {
    let Healthcheck { test, interval, timeout, start_period, start_interval, retries } = check;
    let mut value = Map::new();
    value.insert("Test".to_owned(), json!(test));
    let times = [
        ("Interval", interval),
        ("Timeout", timeout),
        ("StartPeriod", start_period),
        ("StartInterval", start_interval),
    ];
    for (name, time) in times {
        if let Some(time) = time {
            value.insert(name.to_owned(), json!(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)));
        }
    }
    if let Some(retries) = retries {
        value.insert("Retries".to_owned(), json!(retries));
    }
    Value::Object(value)
}

pub(crate) async fn history(call: &Call, name: &str) -> Reply {
    let asked = name.to_owned();
    let rows = blocking(call, move |engine| engine.images().history(&asked)).await?;
    let rows: Vec<Value> = rows
        .iter()
        .map(|row| {
            json!({
                "Id": row.id.as_ref().map_or_else(|| "<missing>".to_owned(), ToString::to_string),
                "Created": row.created.map_or(0, |time| time.as_second()),
                "CreatedBy": row.created_by,
                "Tags": if row.tags.is_empty() { Value::Null } else { json!(strings(&row.tags)) },
                "Size": row.size,
                "Comment": row.comment,
            })
        })
        .collect();
    reply::json(&Value::Array(rows))
}
