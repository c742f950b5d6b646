//! Networks, and what running containers have of them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::file::VERSION;

/// A network, as it was asked for, with the subnets that it was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkRecord {
    pub version: u32,
    /// 64 hexadecimal digits.
    pub id: String,
    pub name: String,
    /// RFC 3339.
    pub created: String,
    /// `bridge`, `sealed`, `host` or `null`.
    pub driver: String,
    pub internal: bool,
    pub attachable: bool,
    /// Its bridge was there before the network, and stays when that goes.
    #[serde(default)]
    pub bridge_is_given: bool,
    pub enable_ipv4: bool,
    pub enable_ipv6: bool,
    pub subnets: Vec<SubnetRecord>,
    pub ipam_options: BTreeMap<String, String>,
    pub options: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubnetRecord {
    /// With the length of its prefix.
    pub subnet: String,
    pub ip_range: Option<String>,
    pub gateway: IpAddr,
    /// Addresses that no container gets, by what they are for.
    pub auxiliary: BTreeMap<String, IpAddr>,
}

/// What a container has of networks while it runs. Lies in its run directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachmentsRecord {
    pub version: u32,
    pub endpoints: Vec<EndpointRecord>,
    pub publications: Vec<PublicationRecord>,
}

/// A container's end of a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointRecord {
    /// The network's id.
    pub network: String,
    /// 64 hexadecimal digits.
    pub id: String,
    /// Name of the link inside.
    pub interface: String,
    pub mac: String,
    pub v4: Option<Ipv4Addr>,
    pub v6: Option<Ipv6Addr>,
}

/// A port of the host that leads to one of the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicationRecord {
    pub protocol: String,
    pub host: SocketAddr,
    pub to: SocketAddr,
}

/// Who is on a network, for the resolvers of all its containers: in the engine's
/// run directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamesRecord {
    pub version: u32,
    /// The network's, which may stand behind those of its containers.
    pub network: String,
    pub containers: Vec<NamedRecord>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedRecord {
    /// The container's id.
    pub id: String,
    /// Its name, its aliases on this network, and the beginning of its id.
    pub names: Vec<String>,
    pub v4: Option<Ipv4Addr>,
    pub v6: Option<Ipv6Addr>,
}

impl NetworkRecord {
    pub const VERSION: u32 = VERSION;
}

impl AttachmentsRecord {
    pub const VERSION: u32 = VERSION;
}

impl NamesRecord {
    pub const VERSION: u32 = VERSION;
}
