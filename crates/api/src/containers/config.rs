//! `Config` of a container, as `inspect` shows it.

use casemate_engine::Container;
use casemate_model::Signal;
use casemate_record::HealthRecord;
use serde_json::{Value, json};

pub(super) fn config(container: &Container) -> Value {
    let record = &container.record;
    let (entrypoint, command) = record.args.split_at(record.image.entrypoint_length.min(record.args.len()));
    let list = |words: &[String]| if words.is_empty() { Value::Null } else { json!(words) };
    let mut config = json!({
        "Hostname": record.hostname,
        "Domainname": record.host.domainname,
        "User": record.user,
        "AttachStdin": record.stdin_once,
        "AttachStdout": true,
        "AttachStderr": true,
        "Tty": record.tty,
        "OpenStdin": record.open_stdin,
        "StdinOnce": record.stdin_once,
        "Env": container.configured_env(),
        "Cmd": list(command),
        "Image": record.image.name,
        "Volumes": null,
        "WorkingDir": record.cwd,
        "Entrypoint": list(entrypoint),
        "OnBuild": null,
        "Labels": record.labels,
    });
    let exposed = &record.networking.exposed;
    if !exposed.is_empty() {
        config["ExposedPorts"] = exposed.iter().map(|port| (port.clone(), json!({}))).collect();
    }
    // Which everyone has who says nothing.
    if container.stop_signal != Signal::TERM {
        config["StopSignal"] = json!(container.stop_signal.to_string());
    }
    if let Some(timeout) = record.stop_timeout_s {
        config["StopTimeout"] = json!(timeout);
    }
    if let Some(HealthRecord { test, interval, timeout, start_period, start_interval, retries }) = &record.health {
        config["Healthcheck"] = json!({
            "Test": test, "Interval": interval.unwrap_or(0), "Timeout": timeout.unwrap_or(0),
            "StartPeriod": start_period.unwrap_or(0), "StartInterval": start_interval.unwrap_or(0),
            "Retries": retries.unwrap_or(0),
        });
    }
    config
}
