//! `/_ping`, `/version`, `/info`, `/events`, `/system/df`.

use std::collections::BTreeMap;

use casemate_engine::Settings;
use casemate_engine::daemon::{Event, Status, Subject};
use casemate_image::ListFilter;
use hyper::Response;
use hyper::header::HeaderValue;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;

use crate::body::Body;
use crate::filters::Filters;
use crate::reply::{self, Reply};
use crate::request::Call;
use crate::server::HostFacts;
use crate::{API_VERSION, MIN_API_VERSION, images};

const LOGS: [&str; 3] = ["json-file", "local", "none"];

pub(crate) fn ping() -> Reply {
    let mut response = Response::new(Body::from(b"OK".to_vec()));
    let headers = response.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert("cache-control", HeaderValue::from_static("no-cache, no-store, must-revalidate"));
    headers.insert("pragma", HeaderValue::from_static("no-cache"));
    headers.insert("swarm", HeaderValue::from_static("inactive"));
    Ok(response)
}

pub(crate) fn version(facts: &HostFacts) -> Reply {
    let version = env!("CARGO_PKG_VERSION");
    reply::json(&json!({
        "Platform": { "Name": "Casemate" },
        "Components": [{
            "Name": "Engine",
            "Version": version,
            "Details": {
                "ApiVersion": API_VERSION,
                "MinAPIVersion": MIN_API_VERSION,
                "Os": "linux",
                "Arch": architecture(),
                "KernelVersion": facts.kernel,
                "Accelerator": facts.accelerator,
                "Qemu": facts.qemu,
            },
        }],
        "Version": version,
        "ApiVersion": API_VERSION,
        "MinAPIVersion": MIN_API_VERSION,
        "GitCommit": "",
        "GoVersion": "",
        "Os": "linux",
        "Arch": architecture(),
        "KernelVersion": facts.kernel,
        "BuildTime": "",
    }))
}

/// In Go's spelling, as everywhere in the API.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

pub(crate) async fn info(call: &Call) -> Reply {
    let entries = call.daemon.entries();
    let count = |fits: fn(Status) -> bool| entries.iter().filter(|entry| fits(entry.status())).count();
    let images = images::summaries(call, ListFilter::default()).await?;
    let settings = call.daemon.engine().settings();
    let limits = call.daemon.engine().limit_support();
    let facts = &call.facts;
    let isolation = call.daemon.engine().default_isolation().as_str();
    reply::json(&json!({
        "ID": facts.machine_id,
        "Containers": entries.len(),
        "ContainersRunning": count(|status| status == Status::Running),
        "ContainersPaused": count(|status| status == Status::Paused),
        "ContainersStopped": count(|status| !status.is_up()),
        "Images": images.len(),
        "Driver": "overlay2",
        "DriverStatus": [["Guest format", "erofs"]],
        "DockerRootDir": settings.root,
        "Plugins": { "Volume": [], "Network": ["null"], "Authorization": null, "Log": LOGS },
        "MemoryLimit": limits.memory,
        "SwapLimit": limits.memory_swap,
        "CpuCfsPeriod": limits.cpu_quota,
        "CpuCfsQuota": limits.cpu_quota,
        "CPUShares": limits.cpu_shares,
        "CPUSet": limits.cpuset,
        "PidsLimit": limits.pids,
        "OomKillDisable": limits.oom_kill_disable,
        "IPv4Forwarding": false,
        "Debug": facts.debug.get(),
        "NFd": 0,
        "NGoroutines": 0,
        "SystemTime": Timestamp::now().to_string(),
        "LoggingDriver": settings.log.driver_name(),
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": facts.cgroup_version,
        "NEventsListener": call.daemon.events().watchers(),
        "KernelVersion": facts.kernel,
        "OperatingSystem": facts.operating_system,
        "OSVersion": "",
        "OSType": "linux",
        "Architecture": std::env::consts::ARCH,
        "IndexServerAddress": "https://index.docker.io/v1/",
        "RegistryConfig": registries(settings),
        "NCPU": facts.cpus,
        "MemTotal": facts.memory,
        "GenericResources": null,
        "HttpProxy": "",
        "HttpsProxy": "",
        "NoProxy": "",
        "Name": facts.host_name,
        "Labels": [format!("isolation={isolation}")],
        "ExperimentalBuild": false,
        "ServerVersion": env!("CARGO_PKG_VERSION"),
        "Runtimes": { "casemate": { "path": settings.program } },
        "DefaultRuntime": "casemate",
        "Swarm": { "NodeID": "", "NodeAddr": "", "LocalNodeState": "inactive", "ControlAvailable": false, "Error": "",
                   "RemoteManagers": null },
        "LiveRestoreEnabled": true,
        "Isolation": isolation,
        "InitBinary": "docker-init",
        "ContainerdCommit": { "ID": "" },
        "RuncCommit": { "ID": "" },
        "InitCommit": { "ID": "" },
        // The stock client prints these on Linux, and not `Isolation`.
        "SecurityOptions": ["name=seccomp,profile=builtin", format!("name=isolation,profile={isolation}")],
        "ProductLicense": "Apache-2.0",
        "Warnings": facts.warnings,
        "Casemate": {
            "Accelerator": facts.accelerator,
            "AcceleratorReason": facts.accelerator_reason,
            "Qemu": facts.qemu,
            "GuestKernel": settings.lib.join("vmlinux"),
            "RunDir": settings.run,
        },
    }))
}

/// As dockerd tells how it reaches registries.
fn registries(settings: &Settings) -> Value {
    let casemate_registry::Settings { insecure, mirrors, .. } = &settings.registries;
    let mirrors: Vec<String> = mirrors.iter().map(ToString::to_string).collect();
    let index = |name: &str, mirrors: &[String], secure: bool, official: bool| json!({ "Name": name, "Mirrors": mirrors, "Secure": secure, "Official": official });
    let mut indexes = BTreeMap::from([("docker.io".to_owned(), index("docker.io", &mirrors, true, true))]);
    for host in insecure.hosts() {
        indexes.insert(host.to_owned(), index(host, &[], false, false));
    }
    json!({ "InsecureRegistryCIDRs": insecure.networks(), "IndexConfigs": indexes, "Mirrors": mirrors })
}

pub(crate) fn events(call: &Call) -> Reply {
    const FILTERS: [&str; 8] = ["container", "daemon", "event", "image", "label", "network", "type", "volume"];
    let filters = Filters::of(&call.query, &FILTERS)?;
    let (since, until) = (call.query.time("since")?, call.query.time("until")?);
    let (past, mut coming) = call.daemon.events().watch();
    let (sender, body) = Body::endless();
    tokio::task::spawn_local(async move {
        let fits = |event: &Event| {
            since.is_none_or(|since| event.time >= since)
                && until.is_none_or(|until| event.time <= until)
                && wanted(&filters, event)
        };
        // The past is told only to those who ask for it.
        let past = if since.is_some() || until.is_some() { past } else { Vec::new() };
        for event in past.iter().filter(|event| fits(event)) {
            if sender.send(line(event).into()).await.is_err() {
                return;
            }
        }
        let over = async {
            match until.map(|until| until.duration_since(Timestamp::now()).unsigned_abs()) {
                Some(_) if until.is_some_and(|until| until <= Timestamp::now()) => {}
                Some(rest) => tokio::time::sleep(rest).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(over);
        loop {
            let event = tokio::select! {
                event = coming.recv() => event,
                () = sender.closed() => return,
                () = &mut over => return,
            };
            match event {
                Ok(event) if fits(&event) => {
                    if sender.send(line(&event).into()).await.is_err() {
                        return;
                    }
                }
                Ok(_) => {}
                Err(RecvError::Lagged(missed)) => tracing::warn!(missed, "an events client is too slow"),
                Err(RecvError::Closed) => return,
            }
        }
    });
    reply::stream("application/json", body)
}

fn wanted(filters: &Filters, event: &Event) -> bool {
    let action = event.action.as_str();
    // `exec_create: sh` is asked for as `exec_create`.
    let short = action.split(':').next().unwrap_or(action);
    let names = |name: &str, subject: Subject| {
        filters.any(name, |wanted| {
            event.subject == subject
                && (event.id == wanted
                    || event.id.starts_with(wanted) && wanted.len() >= 12
                    || event.attribute("name").is_some_and(|name| name == wanted.trim_start_matches('/'))
                    || subject == Subject::Image && image_named(event, wanted))
        })
    };
    filters.any("type", |kind| kind == event.subject.as_str())
        && filters.any("event", |wanted| wanted == action || wanted == short)
        && filters.labels_by(|name| event.attribute(name))
        && names("container", Subject::Container)
        // Of containers too, by their image.
        && filters.any("image", |wanted| match event.subject {
            Subject::Image => event.id == wanted || image_named(event, wanted),
            _ => event.attribute("image").is_some_and(|image| image == wanted),
        })
        && names("daemon", Subject::Daemon)
        && !filters.has("network") && !filters.has("volume")
}

fn image_named(event: &Event, wanted: &str) -> bool {
    event.attribute("name").is_some_and(|name| name == wanted || name.split(':').next() == Some(wanted))
}

fn line(event: &Event) -> String {
    let Event { subject, action, id, time, .. } = event;
    let mut value = json!({
        "Type": subject.as_str(),
        "Action": action,
        "Actor": { "ID": id, "Attributes": event.attributes() },
        "scope": "local",
        "time": time.as_second(),
        "timeNano": i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX),
    });
    if *subject != Subject::Daemon {
        // The form before 1.22, which dockerd still sends beside.
        value["status"] = json!(action);
        value["id"] = json!(id);
        if let Some(image) = event.attribute("image") {
            value["from"] = json!(image);
        }
    }
    format!("{value}\n")
}

pub(crate) async fn df(call: &Call) -> Reply {
    let images = images::summaries(call, ListFilter { all: true, ..ListFilter::default() }).await?;
    let entries = call.daemon.entries();
    let mut in_use: BTreeMap<String, i64> = BTreeMap::new();
    for entry in &entries {
        *in_use.entry(entry.container().record.image.id.clone()).or_default() += 1;
    }
    let layers = images::layers_size(call).await?;
    let images: Vec<Value> = images
        .iter()
        .map(|image| {
            let mut row = images::row(image, call.version);
            row["SharedSize"] = json!(image.shared_size);
            row["Containers"] = json!(in_use.get(&image.id.to_string()).copied().unwrap_or(0));
            row
        })
        .collect();
    let containers = crate::containers::rows_with_size(call, entries.iter()).await;
    reply::json(&json!({
        "LayersSize": layers, "Images": images, "Containers": containers, "Volumes": [], "BuildCache": [],
    }))
}
