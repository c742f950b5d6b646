//! `GET /containers/json`.

use std::cell::Ref;
use std::rc::Rc;
use std::sync::Arc;

use casemate_engine::daemon::{Entry, HealthStatus, Status};
use casemate_engine::networks::Networks;
use casemate_engine::paced::Threads;
use casemate_engine::{Container, DiskUsage};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::networking;
use crate::error::ApiError;
use crate::filters::Filters;
use crate::human;
use crate::reply::{self, Reply};
use crate::request::Call;

const FILTERS: [&str; 16] = [
    "ancestor",
    "before",
    "expose",
    "exited",
    "health",
    "id",
    "is-task",
    "isolation",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
    "label!",
];

pub(crate) async fn list(call: &Call) -> Reply {
    let filters = Filters::of(&call.query, &FILTERS)?;
    let limit = call.query.number("limit")?.and_then(|limit| usize::try_from(limit).ok()).filter(|limit| *limit > 0);
    // Those that do not run are asked for by any of these.
    let all = call.query.flag("all")
        || limit.is_some()
        || filters.has("status")
        || filters.has("exited")
        || filters.has("before")
        || filters.has("since");
    let wanted = Wanted::new(call, &filters)?;
    let entries = call.daemon.entries();
    let chosen = entries
        .iter()
        .filter(|entry| (all || entry.status().is_up() || entry.status() == Status::Restarting) && wanted.fits(entry));
    let chosen: Vec<_> = chosen.take(limit.unwrap_or(usize::MAX)).cloned().collect();
    drop(wanted);
    let rows = match call.query.flag("size") {
        true => rows_with_size(call, chosen.iter()).await,
        false => chosen.iter().map(|entry| row(call, entry)).collect(),
    };
    reply::json(&Value::Array(rows))
}

struct Wanted<'a> {
    filters: &'a Filters,
    networks: Ref<'a, Networks>,
    exited: Vec<i32>,
    before: Option<String>,
    since: Option<String>,
}

impl<'a> Wanted<'a> {
    fn new(call: &'a Call, filters: &'a Filters) -> Result<Self, ApiError> {
        let invalid = |name: &str, value: &str| ApiError::bad_request(format!("invalid filter '{name}={value}'"));
        for value in filters.get("status") {
            const KNOWN: [&str; 7] = ["created", "running", "paused", "restarting", "removing", "exited", "dead"];
            if !KNOWN.contains(&value.as_str()) {
                return Err(invalid("status", value));
            }
        }
        for value in filters.get("health") {
            if !["starting", "healthy", "unhealthy", "none"].contains(&value.as_str()) {
                return Err(invalid("health", value));
            }
        }
        let exited = filters
            .get("exited")
            .iter()
            .map(|code| code.parse().map_err(|_| invalid("exited", code)))
            .collect::<Result<_, _>>()?;
        let created = |name: &str| match filters.get(name) {
            [] => Ok(None),
            [id] => call.container(id).map(|entry| Some(entry.container().record.created.clone())),
            _ => Err(ApiError::bad_request(format!("invalid filter '{name}': one is allowed"))),
        };
        Ok(Self {
            filters,
            networks: call.daemon.networks(),
            exited,
            before: created("before")?,
            since: created("since")?,
        })
    }

    fn has_port(&self, container: &Container, filter: &str, which: &str) -> bool {
        let rows = networking::port_rows(&self.networks, container);
        rows.as_array().into_iter().flatten().any(|row| {
            let number = row[which].as_u64().and_then(|number| u16::try_from(number).ok());
            number.is_some_and(|number| networking::port_fits(filter, number, row["Type"].as_str().unwrap_or_default()))
        })
    }

    fn fits(&self, entry: &Rc<Entry>) -> bool {
        let container = entry.container();
        let record = &container.record;
        let name = container.name.as_str();
        let filters = self.filters;
        let health = entry.health().report().map_or("none", |report| report.status.as_str());
        let image = |wanted: &str| {
            let id = record.image.id.trim_start_matches("sha256:");
            let wanted_id = wanted.trim_start_matches("sha256:");
            record.image.name == wanted
                || record.image.name == format!("{wanted}:latest")
                || format!("{}:latest", record.image.name) == wanted
                || (wanted_id.len() >= 4 && id.starts_with(wanted_id))
        };
        filters.labels(&record.labels)
            && filters.any("id", |id| entry.id.as_str().starts_with(id))
            && filters.any("name", |wanted| matches_name(name, wanted))
            && filters.any("status", |status| entry.status().as_str() == status)
            && filters.any("health", |wanted| wanted == health)
            && filters.any("isolation", |isolation| {
                let wanted = isolation.to_ascii_lowercase();
                wanted == container.isolation.as_str()
            })
            && filters.any("ancestor", image)
            && filters.any("network", |network| networking::is_on(&self.networks, &container, network))
            && filters.any("publish", |port| self.has_port(&container, port, "PublicPort"))
            && filters.any("expose", |port| self.has_port(&container, port, "PrivatePort"))
            // There are none of these yet, and never a swarm's tasks.
            && !filters.has("volume")
            && filters.any("is-task", |value| matches!(value, "false" | "0"))
            && (self.exited.is_empty()
                || entry.status() == Status::Exited && self.exited.contains(&container.state.exit_code.unwrap_or(0)))
            && self.before.as_ref().is_none_or(|time| record.created < *time)
            && self.since.as_ref().is_none_or(|time| record.created > *time)
    }
}

/// Docker takes a regular expression and tries it on `/name` and `name`; what
/// people write is a part of a name, with `^` and `$` at its ends.
fn matches_name(name: &str, wanted: &str) -> bool {
    let (from_start, wanted) = match wanted.strip_prefix('^') {
        Some(rest) => (true, rest.strip_prefix('/').unwrap_or(rest)),
        None => (false, wanted.strip_prefix('/').unwrap_or(wanted)),
    };
    let (to_end, wanted) = match wanted.strip_suffix('$') {
        Some(rest) => (true, rest),
        None => (false, wanted),
    };
    match (from_start, to_end) {
        (true, true) => name == wanted,
        (true, false) => name.starts_with(wanted),
        (false, true) => name.ends_with(wanted),
        (false, false) => name.contains(wanted),
    }
}

/// With what each takes on the disk, which takes a while.
pub(crate) async fn rows_with_size(call: &Call, entries: impl Iterator<Item = &Rc<Entry>>) -> Vec<Value> {
    let mut rows = Vec::new();
    for entry in entries {
        let mut row = row(call, entry);
        let usage = disk_usage(call, entry).await;
        row["SizeRw"] = json!(usage.written);
        row["SizeRootFs"] = json!(usage.root);
        rows.push(row);
    }
    rows
}

/// At once. A walk takes as long as a container has files, and goes on when nobody
/// waits for it any more.
static WALKS: Threads = Threads::new(4);

pub(super) async fn disk_usage(call: &Call, entry: &Entry) -> DiskUsage {
    let (engine, container) = (Arc::clone(call.daemon.engine()), entry.container().as_ref().clone());
    WALKS.spawn(move || engine.disk_usage(&container)).await.await.unwrap_or_default()
}

fn row(call: &Call, entry: &Rc<Entry>) -> Value {
    let networks = call.daemon.networks();
    let container = entry.container();
    let record = &container.record;
    let created: i64 = record.created.parse().map_or(0, |time: Timestamp| time.as_second());
    json!({
        "Id": entry.id.as_str(),
        "Names": [format!("/{}", container.name)],
        "Image": record.image.name,
        "ImageID": record.image.id,
        "Command": record.args.join(" "),
        "Created": created,
        "Ports": networking::port_rows(&networks, &container),
        "Labels": record.labels,
        "State": entry.status().as_str(),
        "Status": status(entry),
        "HostConfig": { "NetworkMode": record.host.network_mode, "Annotations": { "isolation": container.isolation.as_str() } },
        "NetworkSettings": { "Networks": networking::endpoints(&networks, &container) },
        "Mounts": [],
    })
}

/// `Up 3 seconds (healthy)`, `Exited (0) 2 minutes ago` (moby `State.String`).
pub(crate) fn status(entry: &Entry) -> String {
    let container = entry.container();
    let state = &container.state;
    let up = || format!("Up {}", human::since(state.started.as_deref().unwrap_or_default()));
    let since_end = || human::since(state.finished.as_deref().unwrap_or_default());
    let code = state.exit_code.unwrap_or(0);
    match entry.status() {
        Status::Created => "Created".to_owned(),
        Status::Paused => format!("{} (Paused)", up()),
        Status::Running => match entry.health().report().map(|report| report.status) {
            None => up(),
            Some(HealthStatus::Starting) => format!("{} (health: starting)", up()),
            Some(health) => format!("{} ({})", up(), health.as_str()),
        },
        Status::Restarting => format!("Restarting ({code}) {} ago", since_end()),
        Status::Removing => "Removal In Progress".to_owned(),
        Status::Exited => format!("Exited ({code}) {} ago", since_end()),
        Status::Dead => "Dead".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_in_part_or_whole() {
        assert!(matches_name("web-1", "web") && matches_name("web-1", "b-1") && matches_name("web-1", "/web"));
        assert!(matches_name("web", "^web$") && matches_name("web", "^/web$") && !matches_name("web-1", "^web$"));
        assert!(!matches_name("web", "^eb") && matches_name("web", "eb$"));
    }
}
