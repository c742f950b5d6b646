//! `GET /containers/{id}/json`.

use std::rc::Rc;

use casemate_engine::Container;
use casemate_engine::daemon::{Entry, HealthReport, Status};
use serde_json::{Value, json};

use super::config::config;
use super::host_config::host_config;
use super::{NEVER, networking};
use crate::reply::{self, Reply};
use crate::request::Call;

pub(crate) async fn inspect(call: &Call, id: &str) -> Reply {
    let entry = call.container(id)?;
    let container = entry.container();
    let record = &container.record;
    let casemate = {
        let container = container.as_ref().clone();
        // It reads the kernel's tables.
        tokio::task::spawn_blocking(move || casemate(&container)).await.unwrap_or_default()
    };
    let root = call.daemon.engine().layout().root();
    let mut inspected = json!({
        "Id": entry.id.as_str(),
        "Created": record.created,
        "Path": record.args.first(),
        "Args": record.args.get(1..),
        "State": state(&entry),
        "Image": record.image.id,
        "ResolvConfPath": "",
        "HostnamePath": "",
        "HostsPath": "",
        "LogPath": container.paths.log(),
        "Name": format!("/{}", container.name),
        "RestartCount": container.restart.count,
        "Driver": "overlay2",
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": match call.daemon.execs_of(&entry.id) {
            ids if ids.is_empty() => Value::Null,
            ids => json!(ids),
        },
        "HostConfig": host_config(&container),
        "GraphDriver": { "Name": "overlay2", "Data": { "Root": root } },
        "Mounts": [],
        "Config": config(&container),
        "NetworkSettings": networking::settings(&call.daemon.networks(), &container),
        "Casemate": casemate,
    });
    if call.query.flag("size") {
        let usage = super::disk_usage(call, &entry).await;
        inspected["SizeRw"] = json!(usage.written);
        inspected["SizeRootFs"] = json!(usage.root);
    }
    reply::json(&inspected)
}

fn state(entry: &Rc<Entry>) -> Value {
    let container = entry.container();
    let state = &container.state;
    let status = entry.status();
    let mut value = json!({
        "Status": status.as_str(),
        "Running": status.is_up(),
        "Paused": status == Status::Paused,
        "Restarting": status == Status::Restarting,
        "OOMKilled": state.oom_killed,
        "Dead": status == Status::Dead,
        "Pid": state.pid.unwrap_or(0),
        "ExitCode": state.exit_code.unwrap_or(0),
        "Error": state.error.as_deref().unwrap_or(""),
        "StartedAt": state.started.as_deref().unwrap_or(NEVER),
        "FinishedAt": state.finished.as_deref().unwrap_or(NEVER),
    });
    if let Some(report) = entry.health().report() {
        value["Health"] = health(&report);
    }
    value
}

fn health(report: &HealthReport) -> Value {
    let log = report.log.iter().map(|probe| {
        json!({
            "Start": probe.start.to_string(), "End": probe.end.to_string(),
            "ExitCode": probe.exit_code, "Output": probe.output,
        })
    });
    json!({
        "Status": report.status.as_str(),
        "FailingStreak": report.failing_streak,
        "Log": log.collect::<Vec<Value>>(),
    })
}

/// What is Casemate's own in `inspect`. Reads the kernel's tables.
pub fn casemate(container: &Container) -> Value {
    let state = &container.state;
    json!({
        "Vm": state.vm.as_ref().map(|vm| json!({
            "Accelerator": vm.accelerator,
            "AcceleratorReason": vm.accelerator_reason,
            "Cpus": vm.cpus,
            "Memory": vm.memory,
            "MemoryOverhead": vm.memory_overhead,
            "Uid": vm.uid,
            "KernelRelease": vm.kernel_release,
            "BootId": vm.boot_id,
        })),
        "HostProcesses": container.host_processes().iter().map(|p| json!({
            "Pid": p.pid, "Uid": p.uid, "Role": p.role.as_str(), "CpuMs": p.cpu_ms,
            "Rss": p.rss, "Pss": p.pss, "Command": p.command,
        })).collect::<Vec<Value>>(),
        "StartTimeline": state.timeline.iter().map(|span| json!({
            "Name": span.name, "StartUs": span.start_us, "DurationUs": span.duration_us, "Within": span.within,
        })).collect::<Vec<Value>>(),
    })
}
