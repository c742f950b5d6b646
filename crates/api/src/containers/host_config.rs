//! `HostConfig` as clients send it, and as they get it back.

use std::collections::BTreeMap;

use casemate_engine::Container;
use casemate_record::{DeviceRecord, HostRecord, LimitsRecord, LogRecord, UlimitRecord};
use serde::Deserialize;
use serde_json::{Value, json};

use super::networking::{PortBinding, bindings};
use crate::error::ApiError;

/// Docker's clients write `null` for what they leave out.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct HostConfig {
    pub(super) isolation: Option<String>,
    pub(super) auto_remove: Option<bool>,
    pub(super) restart_policy: Option<Restart>,
    pub(super) readonly_rootfs: Option<bool>,
    #[serde(flatten)]
    pub(super) resources: Resources,
    binds: Option<Vec<String>>,
    mounts: Option<Vec<Mount>>,
    volumes_from: Option<Vec<String>>,
    pub(super) port_bindings: Option<BTreeMap<String, Option<Vec<PortBinding>>>>,
    pub(super) publish_all_ports: Option<bool>,
    pub(super) links: Option<Vec<String>>,
    pub(super) network_mode: Option<String>,
    log_config: Option<LogConfig>,
    cap_add: Option<Vec<String>>,
    cap_drop: Option<Vec<String>>,
    security_opt: Option<Vec<String>>,
    privileged: Option<bool>,
    tmpfs: Option<BTreeMap<String, String>>,
    shm_size: Option<i64>,
    sysctls: Option<BTreeMap<String, String>>,
    extra_hosts: Option<Vec<String>>,
    dns: Option<Vec<String>>,
    dns_search: Option<Vec<String>>,
    dns_options: Option<Vec<String>>,
    pid_mode: Option<String>,
    ipc_mode: Option<String>,
    #[serde(rename = "UTSMode")]
    uts_mode: Option<String>,
    cgroupns_mode: Option<String>,
    userns_mode: Option<String>,
    group_add: Option<Vec<String>>,
    init: Option<bool>,
    console_size: Option<[u16; 2]>,
    oom_score_adj: Option<i32>,
    masked_paths: Option<Vec<String>>,
    readonly_paths: Option<Vec<String>>,
    runtime: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Restart {
    pub(super) name: Option<String>,
    pub(super) maximum_retry_count: Option<i64>,
}

/// What `update` changes too.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Resources {
    pub(super) memory: Option<i64>,
    pub(super) nano_cpus: Option<i64>,
    memory_swap: Option<i64>,
    memory_reservation: Option<i64>,
    memory_swappiness: Option<i64>,
    oom_kill_disable: Option<bool>,
    cpu_shares: Option<i64>,
    cpu_period: Option<i64>,
    cpu_quota: Option<i64>,
    cpuset_cpus: Option<String>,
    cpuset_mems: Option<String>,
    pids_limit: Option<i64>,
    blkio_weight: Option<u16>,
    ulimits: Option<Vec<Ulimit>>,
    devices: Option<Vec<Device>>,
    device_cgroup_rules: Option<Vec<String>>,
    device_requests: Option<Vec<Value>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Ulimit {
    name: String,
    soft: i64,
    hard: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Device {
    path_on_host: String,
    path_in_container: String,
    cgroup_permissions: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Mount {
    r#type: String,
    target: String,
    read_only: Option<bool>,
    tmpfs_options: Option<TmpfsOptions>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct TmpfsOptions {
    size_bytes: Option<i64>,
    mode: Option<u32>,
    /// Pairs, or single words.
    options: Option<Vec<Vec<String>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct LogConfig {
    r#type: Option<String>,
    config: Option<BTreeMap<String, String>>,
}

impl Resources {
    pub(super) fn limits(&self) -> LimitsRecord {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        LimitsRecord {
            memory_swap: self.memory_swap.unwrap_or(0),
            memory_reservation: self.memory_reservation.unwrap_or(0),
            memory_swappiness: self.memory_swappiness,
            oom_kill_disable: self.oom_kill_disable.unwrap_or(false),
            cpu_shares: self.cpu_shares.unwrap_or(0),
            cpu_period: self.cpu_period.unwrap_or(0),
            cpu_quota: self.cpu_quota.unwrap_or(0),
            cpuset_cpus: text(&self.cpuset_cpus),
            cpuset_mems: text(&self.cpuset_mems),
            pids: self.pids_limit.unwrap_or(0),
            blkio_weight: self.blkio_weight.unwrap_or(0),
        }
    }
}

/// A feature that is to come: said, and not passed over in silence.
fn not_yet(what: &str) -> ApiError {
    ApiError::not_implemented(format!("{what} are not supported yet"))
}

impl HostConfig {
    fn refuse_what_is_missing(&self) -> Result<(), ApiError> {
        let any = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| !list.is_empty());
        if any(&self.binds) {
            return Err(not_yet("bind mounts and volumes (-v, --volume)"));
        }
        if self.mounts.iter().flatten().any(|mount| mount.r#type != "tmpfs") {
            return Err(not_yet("mounts other than tmpfs (--mount)"));
        }
        if any(&self.volumes_from) {
            return Err(not_yet("volumes of other containers (--volumes-from)"));
        }
        if self.resources.device_requests.as_ref().is_some_and(|requests| !requests.is_empty()) {
            return Err(ApiError::bad_request("could not select device driver \"\" with capabilities: [[gpu]]"));
        }
        if let Some(runtime) = self.runtime.as_deref().filter(|name| !["", "casemate", "runc"].contains(name)) {
            return Err(ApiError::bad_request(format!("unknown or invalid runtime name: {runtime}")));
        }
        match self.userns_mode.as_deref() {
            None | Some("" | "host") => {}
            Some(other) => return Err(ApiError::bad_request(format!("invalid user namespace mode: {other}"))),
        }
        Ok(())
    }

    /// As it is kept.
    pub(super) fn record(self, domainname: String) -> Result<HostRecord, ApiError> {
        self.refuse_what_is_missing()?;
        let limits = self.resources.limits();
        let list = Option::unwrap_or_default;
        let text = Option::unwrap_or_default;
        let mut tmpfs = self.tmpfs.unwrap_or_default();
        for mount in self.mounts.into_iter().flatten() {
            let options = tmpfs_options(&mount);
            if tmpfs.insert(mount.target.clone(), options).is_some() {
                return Err(ApiError::bad_request(format!("Duplicate mount point: {}", mount.target)));
            }
        }
        let LogConfig { r#type, config } = self.log_config.unwrap_or_default();
        Ok(HostRecord {
            domainname,
            cap_add: list(self.cap_add),
            cap_drop: list(self.cap_drop),
            security_opt: list(self.security_opt),
            privileged: self.privileged.unwrap_or(false),
            tmpfs,
            shm_size: match self.shm_size.unwrap_or(0) {
                size @ 0.. => size.unsigned_abs(),
                _ => return Err(ApiError::bad_request("SHM size can not be less than 0")),
            },
            ulimits: self
                .resources
                .ulimits
                .into_iter()
                .flatten()
                .map(|Ulimit { name, soft, hard }| UlimitRecord { name, soft, hard })
                .collect(),
            sysctls: self.sysctls.unwrap_or_default(),
            extra_hosts: list(self.extra_hosts),
            dns: list(self.dns),
            dns_search: list(self.dns_search),
            dns_options: list(self.dns_options),
            network_mode: text(self.network_mode),
            pid_mode: text(self.pid_mode),
            ipc_mode: text(self.ipc_mode),
            uts_mode: text(self.uts_mode),
            cgroupns_mode: text(self.cgroupns_mode),
            devices: self
                .resources
                .devices
                .into_iter()
                .flatten()
                .map(|Device { path_on_host, path_in_container, cgroup_permissions }| DeviceRecord {
                    on_host: path_on_host,
                    in_container: path_in_container,
                    permissions: cgroup_permissions,
                })
                .collect(),
            device_cgroup_rules: list(self.resources.device_cgroup_rules),
            group_add: list(self.group_add),
            init: self.init.unwrap_or(false),
            console_size: self.console_size.unwrap_or_default(),
            oom_score_adj: match self.oom_score_adj.unwrap_or(0) {
                score @ -1000..=1000 => score,
                score => {
                    return Err(ApiError::bad_request(format!(
                        "Invalid value {score}, range for oom score adj is [-1000, 1000]"
                    )));
                }
            },
            masked_paths: self.masked_paths,
            readonly_paths: self.readonly_paths,
            log: LogRecord { driver: text(r#type), options: config.unwrap_or_default() },
            limits,
        })
    }
}

/// `--mount type=tmpfs` in the spelling of `--tmpfs`.
fn tmpfs_options(mount: &Mount) -> String {
    let mut words = Vec::new();
    if mount.read_only == Some(true) {
        words.push("ro".to_owned());
    }
    if let Some(options) = &mount.tmpfs_options {
        words.extend(options.size_bytes.filter(|size| *size > 0).map(|size| format!("size={size}")));
        words.extend(options.mode.filter(|mode| *mode > 0).map(|mode| format!("mode={mode:o}")));
        words.extend(options.options.iter().flatten().map(|option| option.join("=")));
    }
    words.join(",")
}

/// As `inspect` shows it.
pub(super) fn host_config(container: &Container) -> Value {
    let record = &container.record;
    let HostRecord {
        domainname: _,
        cap_add,
        cap_drop,
        security_opt,
        privileged,
        tmpfs,
        shm_size,
        ulimits,
        sysctls,
        extra_hosts,
        dns,
        dns_search,
        dns_options,
        network_mode,
        pid_mode,
        ipc_mode,
        uts_mode,
        cgroupns_mode,
        devices,
        device_cgroup_rules,
        group_add,
        init,
        oom_score_adj,
        masked_paths,
        readonly_paths,
        log,
        limits,
        console_size,
    } = &record.host;
    let policy = container.restart_policy();
    let or_null = |list: &Vec<String>| if list.is_empty() { Value::Null } else { json!(list) };
    let or = |text: &String, default: &str| if text.is_empty() { json!(default) } else { json!(text) };
    let paths = |given: &Option<Vec<String>>, own: &[&str]| match given {
        Some(given) => json!(given),
        None if *privileged => Value::Null,
        None => json!(own),
    };
    let mut value = json!({
        "Binds": null,
        "ContainerIDFile": "",
        "LogConfig": { "Type": log.driver_name(), "Config": log.options },
        "NetworkMode": or(network_mode, "default"),
        "PortBindings": bindings(container),
        "RestartPolicy": { "Name": policy.name(), "MaximumRetryCount": policy.retries() },
        "AutoRemove": record.auto_remove,
        "VolumeDriver": "",
        "VolumesFrom": null,
        "ConsoleSize": console_size,
        "CapAdd": or_null(cap_add),
        "CapDrop": or_null(cap_drop),
        "CgroupnsMode": or(cgroupns_mode, "private"),
        "Dns": dns,
        "DnsOptions": dns_options,
        "DnsSearch": dns_search,
        "ExtraHosts": or_null(extra_hosts),
        "GroupAdd": or_null(group_add),
        "IpcMode": or(ipc_mode, "private"),
        "Cgroup": "",
        "Links": or_null(&record.networking.links),
        "OomScoreAdj": oom_score_adj,
        "PidMode": pid_mode,
        "Privileged": privileged,
        "PublishAllPorts": record.networking.publish_all,
        "ReadonlyRootfs": record.read_only,
        "SecurityOpt": or_null(security_opt),
        "UTSMode": uts_mode,
        "UsernsMode": "",
        "ShmSize": if *shm_size == 0 { 64 << 20 } else { *shm_size },
        "Runtime": "casemate",
        "Isolation": container.isolation.as_str(),
        "MaskedPaths": paths(masked_paths, &casemate_model::MASKED_PATHS),
        "ReadonlyPaths": paths(readonly_paths, &casemate_model::READONLY_PATHS),
        "Memory": record.memory.unwrap_or(0),
        "NanoCpus": record.nano_cpus.unwrap_or(0),
        "MemorySwap": limits.memory_swap,
        "MemoryReservation": limits.memory_reservation,
        "MemorySwappiness": limits.memory_swappiness,
        "OomKillDisable": limits.oom_kill_disable,
        "CpuShares": limits.cpu_shares,
        "CpuPeriod": limits.cpu_period,
        "CpuQuota": limits.cpu_quota,
        "CpusetCpus": limits.cpuset_cpus,
        "CpusetMems": limits.cpuset_mems,
        "PidsLimit": if limits.pids == 0 { Value::Null } else { json!(limits.pids) },
        "BlkioWeight": limits.blkio_weight,
        "Ulimits": ulimits.iter().map(|UlimitRecord { name, soft, hard }| json!({
            "Name": name, "Soft": soft, "Hard": hard,
        })).collect::<Vec<Value>>(),
        "Devices": devices.iter().map(|DeviceRecord { on_host, in_container, permissions }| json!({
            "PathOnHost": on_host, "PathInContainer": in_container, "CgroupPermissions": permissions,
        })).collect::<Vec<Value>>(),
        "DeviceCgroupRules": or_null(device_cgroup_rules),
        "DeviceRequests": null,
    });
    for (name, map) in [("Tmpfs", tmpfs), ("Sysctls", sysctls)] {
        if !map.is_empty() {
            value[name] = json!(map);
        }
    }
    if *init {
        value["Init"] = json!(true);
    }
    value
}
