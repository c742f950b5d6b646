//! What a container was made with beside its configuration: Docker's
//! `HostConfig`, in Docker's spellings. The engine checks it when the
//! container is made, and reads it when it starts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Empty and zero are Docker's "not given".
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostRecord {
    pub domainname: String,
    pub cap_add: Vec<String>,
    pub cap_drop: Vec<String>,
    pub security_opt: Vec<String>,
    pub privileged: bool,
    /// Options by path.
    pub tmpfs: BTreeMap<String, String>,
    /// Bytes.
    pub shm_size: u64,
    pub ulimits: Vec<UlimitRecord>,
    pub sysctls: BTreeMap<String, String>,
    /// `name:address`, each.
    pub extra_hosts: Vec<String>,
    pub dns: Vec<String>,
    pub dns_search: Vec<String>,
    pub dns_options: Vec<String>,
    pub network_mode: String,
    pub pid_mode: String,
    pub ipc_mode: String,
    pub uts_mode: String,
    pub cgroupns_mode: String,
    pub devices: Vec<DeviceRecord>,
    pub device_cgroup_rules: Vec<String>,
    pub group_add: Vec<String>,
    pub init: bool,
    pub oom_score_adj: i32,
    /// Docker's own where absent.
    pub masked_paths: Option<Vec<String>>,
    pub readonly_paths: Option<Vec<String>>,
    pub log: LogRecord,
    pub limits: LimitsRecord,
    /// Rows and columns that its terminal has at first; 0: whatever it gets.
    pub console_size: [u16; 2],
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UlimitRecord {
    pub name: String,
    /// Negative is unlimited.
    pub soft: i64,
    pub hard: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRecord {
    pub on_host: String,
    pub in_container: String,
    pub permissions: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogRecord {
    /// `json-file` if empty.
    pub driver: String,
    pub options: BTreeMap<String, String>,
}

impl LogRecord {
    pub fn driver_name(&self) -> &str {
        if self.driver.is_empty() { "json-file" } else { &self.driver }
    }
}

/// Beside memory and CPUs, which the container's own record has. Bytes,
/// microseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LimitsRecord {
    /// -1 is unlimited.
    pub memory_swap: i64,
    pub memory_reservation: i64,
    pub memory_swappiness: Option<i64>,
    pub oom_kill_disable: bool,
    pub cpu_shares: i64,
    pub cpu_period: i64,
    pub cpu_quota: i64,
    pub cpuset_cpus: String,
    pub cpuset_mems: String,
    /// Zero and negative are unlimited.
    pub pids: i64,
    pub blkio_weight: u16,
}
