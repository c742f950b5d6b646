//! A container's configuration: written when it is created, by the engine.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::file::VERSION;
use crate::host::HostRecord;
use crate::networking::NetworkingRecord;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerRecord {
    pub version: u32,
    pub id: String,
    pub name: String,
    /// RFC 3339.
    pub created: String,
    pub image: ImageRecord,
    /// `process` or `hyperv`, never a default.
    pub isolation: String,
    pub args: Vec<String>,
    pub env: Vec<String>,
    pub cwd: String,
    pub user: String,
    pub hostname: String,
    pub tty: bool,
    pub open_stdin: bool,
    /// The input ends with the first client that ends it.
    #[serde(default)]
    pub stdin_once: bool,
    pub read_only: bool,
    pub auto_remove: bool,
    /// Bytes.
    pub memory: Option<u64>,
    pub nano_cpus: Option<u64>,
    /// By number.
    pub stop_signal: u8,
    pub stop_timeout_s: Option<i64>,
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub restart: RestartPolicyRecord,
    #[serde(default)]
    pub health: Option<HealthRecord>,
    #[serde(default)]
    pub host: HostRecord,
    #[serde(default)]
    pub networking: NetworkingRecord,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartPolicyRecord {
    /// Docker's name of it; empty is `no`.
    pub name: String,
    pub retries: u32,
}

/// Durations are in nanoseconds, as Docker has them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthRecord {
    pub test: Vec<String>,
    pub interval: Option<u64>,
    pub timeout: Option<u64>,
    pub start_period: Option<u64>,
    pub start_interval: Option<u64>,
    pub retries: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// As the user wrote it.
    pub name: String,
    /// Digest of its configuration.
    pub id: String,
    /// Digests of its unpacked layers, lowest first.
    pub layers: Vec<String>,
    /// Length of the head of `args` that is the image's or the user's
    /// entrypoint.
    pub entrypoint_length: usize,
}

impl ContainerRecord {
    pub const VERSION: u32 = VERSION;

    /// Whether it has an end of the network of this name when it runs.
    pub fn is_to_be_on(&self, network: &str) -> bool {
        let is_main = self.host.network_mode == network && !self.networking.left_main;
        is_main || self.networking.endpoints.contains_key(network)
    }
}
