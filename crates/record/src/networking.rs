//! What a container was asked to have of networks.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// Docker's `NetworkingConfig`, and what of its `HostConfig` and `Config` is about
/// ports. Ports of the container are as `80/tcp`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkingRecord {
    /// By the network's name.
    pub endpoints: BTreeMap<String, WantedEndpointRecord>,
    /// Whether it was disconnected from the network that its network mode names: it
    /// is on that one then only if it is on no other.
    pub left_main: bool,
    pub exposed: BTreeSet<String>,
    pub published: BTreeMap<String, Vec<BindingRecord>>,
    pub publish_all: bool,
    /// `container:alias`, each.
    pub links: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WantedEndpointRecord {
    pub aliases: Vec<String>,
    /// `container:alias`, each.
    pub links: Vec<String>,
    pub v4: Option<Ipv4Addr>,
    pub v6: Option<Ipv6Addr>,
    pub mac: String,
    pub link_local: Vec<IpAddr>,
    pub driver_options: BTreeMap<String, String>,
    /// The highest has the way out.
    pub gateway_priority: i64,
}

/// Where a port is published on the host, in Docker's spelling: empty is any
/// address, and any free port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BindingRecord {
    pub ip: String,
    /// A number, or a range of them.
    pub port: String,
}
