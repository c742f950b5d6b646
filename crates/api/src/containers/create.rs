//! `POST /containers/create`.

use std::collections::BTreeMap;
use std::time::Duration;

use casemate_engine::daemon::RestartPolicy;
use casemate_engine::{CreateError, CreateRequest};
use casemate_image::Healthcheck;
use casemate_model::{Bytes, ContainerName, Isolation, NanoCpus};
use hyper::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::host_config::{HostConfig, Restart};
use super::networking::{self, NetworkingConfig};
use crate::error::ApiError;
use crate::images;
use crate::reply::{self, Reply};
use crate::request::Call;

/// What Docker's clients send; they write `null` for what they leave out.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct Body {
    hostname: Option<String>,
    domainname: Option<String>,
    user: Option<String>,
    tty: Option<bool>,
    open_stdin: Option<bool>,
    stdin_once: Option<bool>,
    env: Option<Vec<String>>,
    cmd: Option<Words>,
    entrypoint: Option<Words>,
    image: Option<String>,
    working_dir: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    stop_signal: Option<String>,
    stop_timeout: Option<i64>,
    healthcheck: Option<Health>,
    host_config: Option<HostConfig>,
    volumes: Option<BTreeMap<String, Value>>,
    exposed_ports: Option<BTreeMap<String, Value>>,
    mac_address: Option<String>,
    networking_config: Option<NetworkingConfig>,
}

/// A list of words, or one.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Words {
    Many(Vec<String>),
    One(String),
}

impl Words {
    fn into_list(self) -> Vec<String> {
        match self {
            Self::Many(words) => words,
            Self::One(word) => vec![word],
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Health {
    test: Option<Vec<String>>,
    interval: Option<i64>,
    timeout: Option<i64>,
    start_period: Option<i64>,
    start_interval: Option<i64>,
    retries: Option<i64>,
}

pub(crate) async fn create(mut call: Call) -> Reply {
    // Read first: a client that is still writing would not see the answer.
    let body: Body = call.json().await?;
    let name = match call.query.get("name") {
        Some(name) => Some(name.parse::<ContainerName>().map_err(|error| ApiError::bad_request(error.to_string()))?),
        None => None,
    };
    let mut request = request(name, body)?;
    request.platform = images::platform(&call)?;
    let entry = call.daemon.create(request).await.map_err(|error| match error {
        // Clients that see this pull the image.
        CreateError::NoImage { reference } => ApiError::not_found(format!("No such image: {reference}")),
        error => error.into(),
    })?;
    let warnings = call.daemon.engine().warnings(&entry.container());
    reply::json_with(StatusCode::CREATED, &json!({ "Id": entry.id.as_str(), "Warnings": warnings }))
}

pub(crate) fn request(name: Option<ContainerName>, body: Body) -> Result<CreateRequest, ApiError> {
    let Body {
        hostname,
        domainname,
        user,
        tty,
        open_stdin,
        stdin_once,
        env,
        cmd,
        entrypoint,
        image,
        working_dir,
        labels,
        stop_signal,
        stop_timeout,
        healthcheck,
        host_config,
        volumes,
        exposed_ports,
        mac_address,
        networking_config,
    } = body;
    if volumes.is_some_and(|volumes| !volumes.is_empty()) {
        return Err(ApiError::not_implemented("volumes (-v PATH) are not supported yet"));
    }
    let mut host = host_config.unwrap_or_default();
    let bad = |error: &dyn std::error::Error| ApiError::bad_request(error.to_string());
    let text = |value: Option<String>| value.filter(|text| !text.is_empty());
    let isolation = Isolation::parse_or_default(host.isolation.as_deref().unwrap_or_default()).map_err(|e| bad(&e))?;
    let Restart { name: policy, maximum_retry_count } = host.restart_policy.take().unwrap_or_default();
    let restart = RestartPolicy::new(policy.as_deref().unwrap_or_default(), maximum_retry_count.unwrap_or(0))
        .map_err(|e| bad(&e))?;
    let auto_remove = host.auto_remove.unwrap_or(false);
    if auto_remove && restart != RestartPolicy::No {
        return Err(ApiError::bad_request("can't create 'AutoRemove' container with restart policy"));
    }
    let networking = networking::wanted(networking_config, exposed_ports, mac_address, &mut host)?;
    Ok(CreateRequest {
        platform: None,
        networking,
        image: text(image).ok_or_else(|| ApiError::bad_request("no image specified"))?,
        name,
        isolation,
        command: cmd.map(Words::into_list).unwrap_or_default(),
        entrypoint: entrypoint.map(Words::into_list).filter(|words| !words.is_empty()),
        env: env.unwrap_or_default(),
        working_dir: text(working_dir),
        user: text(user),
        hostname: text(hostname),
        tty: tty.unwrap_or(false),
        open_stdin: open_stdin.unwrap_or(false),
        stdin_once: stdin_once.unwrap_or(false),
        read_only: host.readonly_rootfs.unwrap_or(false),
        auto_remove,
        memory: amount("memory", host.resources.memory)?.map(Bytes),
        cpus: amount("CPUs", host.resources.nano_cpus)?.map(NanoCpus),
        stop_signal: text(stop_signal)
            .map(|signal| signal.parse().map_err(|_| ApiError::bad_request(format!("Invalid signal: {signal}"))))
            .transpose()?,
        stop_timeout_s: stop_timeout,
        labels: labels.unwrap_or_default(),
        restart,
        health: healthcheck.map(health).transpose()?,
        host: host.record(domainname.unwrap_or_default())?,
    })
}

/// Zero is none.
pub(super) fn amount(what: &str, value: Option<i64>) -> Result<Option<u64>, ApiError> {
    match value.unwrap_or(0) {
        0 => Ok(None),
        value => match u64::try_from(value) {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(ApiError::bad_request(format!("invalid {what}: {value}"))),
        },
    }
}

/// Docker's least for the durations of a check is a millisecond.
fn health(health: Health) -> Result<Healthcheck, ApiError> {
    let Health { test, interval, timeout, start_period, start_interval, retries } = health;
    let duration = |name: &str, nanos: Option<i64>| match nanos.unwrap_or(0) {
        0 => Ok(None),
        1_000_000.. => Ok(nanos.and_then(|nanos| u64::try_from(nanos).ok()).map(Duration::from_nanos)),
        _ => Err(ApiError::bad_request(format!("{name} in Healthcheck cannot be less than 1ms"))),
    };
    Ok(Healthcheck {
        test: test.unwrap_or_default(),
        interval: duration("Interval", interval)?,
        timeout: duration("Timeout", timeout)?,
        start_period: duration("StartPeriod", start_period)?,
        start_interval: duration("StartInterval", start_interval)?,
        retries: match retries.unwrap_or(0) {
            0 => None,
            retries => Some(
                u32::try_from(retries)
                    .map_err(|_| ApiError::bad_request("Retries in Healthcheck cannot be negative"))?,
            ),
        },
    })
}
