//! `GET /containers/{id}/stats`.

use std::rc::Rc;
use std::time::Duration;

use casemate_engine::daemon::Entry;
use casemate_wire::{BlkioStats, CpuStats, MemoryStats, PidsStats, Stats, VmCost};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::NEVER;
use crate::body::Body;
use crate::reply::{self, Reply};
use crate::request::Call;

/// How often dockerd looks.
const INTERVAL: Duration = Duration::from_secs(1);

/// What was seen when.
struct Sample {
    stats: Stats,
    at: Timestamp,
}

pub(crate) fn stats(call: &Call, id: &str) -> Reply {
    let entry = call.container(id)?;
    let stream = call.query.flag_or("stream", true);
    let one_shot = call.query.flag("one-shot");
    let (sender, body) = if stream { Body::endless() } else { Body::stream() };
    tokio::task::spawn_local(async move {
        let mut before: Option<Sample> = None;
        loop {
            let now = sample(&entry).await;
            // A processor's share is a difference: one look says nothing.
            let tells = stream || one_shot || before.is_some() || now.is_none();
            if tells {
                let line = format!("{}\n", describe(&entry, now.as_ref(), before.as_ref()));
                if sender.send(line.into()).await.is_err() || !stream {
                    return;
                }
            }
            before = now;
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {}
                () = sender.closed() => return,
                () = removed(&entry) => return,
            }
        }
    });
    reply::stream("application/json", body)
}

async fn removed(entry: &Entry) {
    let _ = entry.watch().wait_for(|life| life.removed).await;
}

/// None of one that does not run: dockerd shows zeros.
async fn sample(entry: &Rc<Entry>) -> Option<Sample> {
    let stats = entry.stats().await.ok()?;
    Some(Sample { stats, at: Timestamp::now() })
}

fn describe(entry: &Entry, now: Option<&Sample>, before: Option<&Sample>) -> Value {
    let time = |sample: Option<&Sample>| sample.map_or_else(|| NEVER.to_owned(), |sample| sample.at.to_string());
    let mut value = json!({
        "id": entry.id.as_str(),
        "name": format!("/{}", entry.name()),
        "os_type": "linux",
        "read": time(now),
        "preread": time(before),
        "num_procs": 0,
        "storage_stats": {},
        "cpu_stats": now.map_or_else(|| json!({}), |sample| cpu(&sample.stats.cpu)),
        "precpu_stats": before.map_or_else(|| json!({}), |sample| cpu(&sample.stats.cpu)),
        "memory_stats": now.map_or_else(|| json!({}), |sample| memory(&sample.stats.memory)),
        "blkio_stats": blkio(now.map_or(&[], |sample| &sample.stats.blkio[..])),
        "pids_stats": now.map_or_else(|| json!({}), |sample| pids(&sample.stats.pids)),
    });
    // What all this costs the host.
    if let Some(VmCost { cpu_ns, memory }) = now.and_then(|sample| sample.stats.vm) {
        value["casemate"] = json!({ "vm": { "cpu_usage": cpu_ns, "memory_usage": memory.0 } });
    }
    value
}

fn cpu(stats: &CpuStats) -> Value {
    let CpuStats { total_ns, user_ns, system_ns, periods, throttled_periods, throttled_ns, machine_ns, online_cpus } =
        stats;
    json!({
        "cpu_usage": { "total_usage": total_ns, "usage_in_usermode": user_ns, "usage_in_kernelmode": system_ns },
        "system_cpu_usage": machine_ns,
        "online_cpus": online_cpus,
        "throttling_data": {
            "periods": periods, "throttled_periods": throttled_periods, "throttled_time": throttled_ns,
        },
    })
}

fn memory(stats: &MemoryStats) -> Value {
    let MemoryStats { usage, max_usage, limit, failures, detail } = stats;
    let detail: Map<String, Value> = detail.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    let mut value = json!({ "usage": usage.0, "limit": limit.0, "failcnt": failures, "stats": detail });
    if let Some(most) = max_usage {
        value["max_usage"] = json!(most.0);
    }
    value
}

fn blkio(disks: &[BlkioStats]) -> Value {
    let rows = |of: fn(&BlkioStats) -> [(&'static str, u64); 2]| -> Vec<Value> {
        let rows = disks.iter().flat_map(|disk| of(disk).map(|(op, value)| (disk, op, value)));
        rows.map(|(disk, op, value)| json!({ "major": disk.major, "minor": disk.minor, "op": op, "value": value }))
            .collect()
    };
    json!({
        "io_service_bytes_recursive": rows(|disk| [("read", disk.read_bytes), ("write", disk.write_bytes)]),
        "io_serviced_recursive": rows(|disk| [("read", disk.reads), ("write", disk.writes)]),
        "io_queue_recursive": null, "io_service_time_recursive": null, "io_wait_time_recursive": null,
        "io_merged_recursive": null, "io_time_recursive": null, "sectors_recursive": null,
    })
}

fn pids(stats: &PidsStats) -> Value {
    let PidsStats { current, limit } = stats;
    let mut value = json!({ "current": current });
    if let Some(limit) = limit {
        value["limit"] = json!(limit);
    }
    value
}
