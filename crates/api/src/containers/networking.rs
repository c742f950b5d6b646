//! Networks and ports of a container: as clients ask for them, and as they see
//! them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use casemate_engine::Container;
use casemate_engine::networks::{Attachment, KnownNetwork, Networks};
use casemate_record::{BindingRecord, NetworkingRecord, WantedEndpointRecord};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::host_config::HostConfig;
use crate::error::ApiError;

/// What a client says of a container's end of a network.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct EndpointSettings {
    #[serde(rename = "IPAMConfig")]
    ipam_config: Option<IpamConfig>,
    links: Option<Vec<String>>,
    aliases: Option<Vec<String>>,
    mac_address: Option<String>,
    driver_opts: Option<BTreeMap<String, String>>,
    gw_priority: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct IpamConfig {
    #[serde(rename = "IPv4Address")]
    v4: Option<String>,
    #[serde(rename = "IPv6Address")]
    v6: Option<String>,
    #[serde(rename = "LinkLocalIPs")]
    link_local: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct NetworkingConfig {
    endpoints_config: Option<BTreeMap<String, Option<EndpointSettings>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct PortBinding {
    host_ip: Option<String>,
    host_port: Option<String>,
}

impl EndpointSettings {
    pub(crate) fn wanted(self) -> Result<WantedEndpointRecord, ApiError> {
        let IpamConfig { v4, v6, link_local } = self.ipam_config.unwrap_or_default();
        let given = |address: Option<String>| address.filter(|address| !address.is_empty());
        Ok(WantedEndpointRecord {
            aliases: self.aliases.unwrap_or_default(),
            links: self.links.unwrap_or_default(),
            v4: given(v4).map(|text| address::<Ipv4Addr>("IPv4", &text)).transpose()?,
            v6: given(v6).map(|text| address::<Ipv6Addr>("IPv6", &text)).transpose()?,
            mac: self.mac_address.unwrap_or_default(),
            link_local: link_local
                .iter()
                .flatten()
                .map(|text| address::<IpAddr>("link-local IP", text))
                .collect::<Result<_, _>>()?,
            driver_options: self.driver_opts.unwrap_or_default(),
            gateway_priority: self.gw_priority.unwrap_or(0),
        })
    }
}

/// In Docker's words.
fn address<A: std::str::FromStr>(family: &str, text: &str) -> Result<A, ApiError> {
    text.parse()
        .map_err(|_| ApiError::bad_request(format!("invalid endpoint settings:\ninvalid {family} address: {text}")))
}

/// `Config.MacAddress` is that of the first network, where older clients have it.
pub(super) fn wanted(
    networking: Option<NetworkingConfig>,
    exposed: Option<BTreeMap<String, Value>>,
    mac_address: Option<String>,
    host: &mut HostConfig,
) -> Result<NetworkingRecord, ApiError> {
    let given = networking.and_then(|networking| networking.endpoints_config).unwrap_or_default();
    let mut endpoints = BTreeMap::new();
    for (name, settings) in given {
        endpoints.insert(name, settings.unwrap_or_default().wanted()?);
    }
    if let Some(mac) = mac_address.filter(|mac| !mac.is_empty()) {
        let main = host.network_mode.clone().unwrap_or_default();
        let of_main: &mut WantedEndpointRecord = endpoints.entry(main).or_default();
        if of_main.mac.is_empty() {
            of_main.mac = mac;
        }
    }
    let binding = |PortBinding { host_ip, host_port }| BindingRecord {
        ip: host_ip.unwrap_or_default(),
        port: host_port.unwrap_or_default(),
    };
    let published: BTreeMap<String, Vec<BindingRecord>> = host
        .port_bindings
        .take()
        .unwrap_or_default()
        .into_iter()
        .map(|(port, bindings)| (with_protocol(&port), bindings.unwrap_or_default().into_iter().map(binding).collect()))
        .collect();
    let exposed = exposed.unwrap_or_default().into_keys().map(|port| with_protocol(&port));
    Ok(NetworkingRecord {
        endpoints,
        left_main: false,
        exposed: exposed.chain(published.keys().cloned()).collect::<BTreeSet<_>>(),
        published,
        publish_all: host.publish_all_ports.unwrap_or(false),
        links: host.links.take().unwrap_or_default(),
    })
}

fn with_protocol(port: &str) -> String {
    if port.contains('/') { port.to_ascii_lowercase() } else { format!("{port}/tcp") }
}

/// `NetworkSettings` of `inspect`.
pub(super) fn settings(networks: &Networks, container: &Container) -> Value {
    let attachment = networks.attachment(&container.id);
    let all = endpoints(networks, container);
    // Older clients read these of the default network only.
    let of_bridge = all.get("bridge").cloned().unwrap_or_default();
    let or_empty = |name: &str| of_bridge.get(name).cloned().unwrap_or_else(|| json!(""));
    let or_zero = |name: &str| of_bridge.get(name).cloned().unwrap_or_else(|| json!(0));
    json!({
        "Bridge": "",
        "SandboxID": attachment.map_or("", |_| container.id.as_str()),
        "SandboxKey": sandbox(container),
        "Ports": ports(container, attachment),
        "HairpinMode": false,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": null,
        "SecondaryIPv6Addresses": null,
        "EndpointID": or_empty("EndpointID"),
        "Gateway": or_empty("Gateway"),
        "IPAddress": or_empty("IPAddress"),
        "IPPrefixLen": or_zero("IPPrefixLen"),
        "IPv6Gateway": or_empty("IPv6Gateway"),
        "GlobalIPv6Address": or_empty("GlobalIPv6Address"),
        "GlobalIPv6PrefixLen": or_zero("GlobalIPv6PrefixLen"),
        "MacAddress": or_empty("MacAddress"),
        "Networks": all,
    })
}

/// The file of its network namespace, where the host has one.
fn sandbox(container: &Container) -> String {
    match container.state.pid {
        Some(pid) if container.isolation == casemate_model::Isolation::Process => format!("/proc/{pid}/ns/net"),
        _ => String::new(),
    }
}

/// Its networks by name, whether it runs or not.
pub(super) fn endpoints(networks: &Networks, container: &Container) -> Map<String, Value> {
    let mode = container.record.host.network_mode.as_str();
    let wanted = &container.record.networking.endpoints;
    if mode.starts_with("container:") {
        return Map::new();
    }
    let is_on_main = !container.record.networking.left_main || networks.end_of(&container.id, mode).is_some();
    let main = (!wanted.contains_key(mode) && is_on_main).then_some(mode);
    let names = main.into_iter().chain(wanted.keys().map(String::as_str));
    let nothing = WantedEndpointRecord::default();
    let one = |name: &str| endpoint(networks, container, name, wanted.get(name).unwrap_or(&nothing));
    names.map(|name| (name.to_owned(), one(name))).collect()
}

fn endpoint(networks: &Networks, container: &Container, name: &str, wanted: &WantedEndpointRecord) -> Value {
    let WantedEndpointRecord { aliases, links, v4, v6, mac, link_local, driver_options, gateway_priority } = wanted;
    let known = networks.find(name).ok();
    let end = networks.end_of(&container.id, name);
    let or_null = |list: &[String]| if list.is_empty() { Value::Null } else { json!(list) };
    let mut ipam = Map::new();
    if let Some(v4) = v4 {
        ipam.insert("IPv4Address".to_owned(), json!(v4));
    }
    if let Some(v6) = v6 {
        ipam.insert("IPv6Address".to_owned(), json!(v6));
    }
    if !link_local.is_empty() {
        ipam.insert("LinkLocalIPs".to_owned(), json!(link_local));
    }
    let address = |is_v4: bool| {
        let address = end.and_then(|end| end.endpoint.addresses().find(|address| address.is_ipv4() == is_v4));
        let prefix = address.and_then(|address| known.and_then(|known| known.prefix_of(address)));
        let gateway = address.and_then(|address| known.and_then(|known| known.gateway_of(address)));
        let text = |address: Option<IpAddr>| address.map_or_else(String::new, |address| address.to_string());
        (text(address), prefix.unwrap_or(0), text(gateway))
    };
    let (ip, prefix, gateway) = address(true);
    let (ip6, prefix6, gateway6) = address(false);
    json!({
        "IPAMConfig": if ipam.is_empty() { Value::Null } else { Value::Object(ipam) },
        "Links": or_null(links),
        "Aliases": or_null(aliases),
        "MacAddress": end.map_or_else(|| mac.clone(), |end| end.endpoint.mac.to_string()),
        "DriverOpts": if driver_options.is_empty() { Value::Null } else { json!(driver_options) },
        "GwPriority": gateway_priority,
        "NetworkID": known.map_or("", |known| known.record.id.as_str()),
        "EndpointID": end.map_or("", |end| end.endpoint.id.as_str()),
        "Gateway": gateway,
        "IPAddress": ip,
        "IPPrefixLen": prefix,
        "IPv6Gateway": gateway6,
        "GlobalIPv6Address": ip6,
        "GlobalIPv6PrefixLen": prefix6,
        "DNSNames": end.map_or(Value::Null, |end| or_null(&end.names)),
    })
}

/// By the container's port; one that leads nowhere has none.
fn ports(container: &Container, attachment: Option<&Attachment>) -> Value {
    let Some(attachment) = attachment else { return json!({}) };
    let networking = &container.record.networking;
    let mut ports: BTreeMap<String, Vec<Value>> =
        networking.exposed.iter().map(|port| (port.clone(), Vec::new())).collect();
    for publication in &attachment.publications {
        let port = format!("{}/{}", publication.to.port(), publication.protocol);
        let host = publication.host;
        ports
            .entry(port)
            .or_default()
            .push(json!({ "HostIp": host.ip().to_string(), "HostPort": host.port().to_string() }));
    }
    json!(
        ports
            .into_iter()
            .map(|(port, at)| (port, if at.is_empty() { Value::Null } else { json!(at) }))
            .collect::<Map<_, _>>()
    )
}

/// The same as `ps` shows it.
pub(super) fn port_rows(networks: &Networks, container: &Container) -> Value {
    let Some(attachment) = networks.attachment(&container.id) else { return json!([]) };
    let published = attachment.publications.iter().map(|publication| {
        json!({
            "IP": publication.host.ip().to_string(), "PrivatePort": publication.to.port(),
            "PublicPort": publication.host.port(), "Type": publication.protocol.name(),
        })
    });
    let is_published = |port: &str| {
        let same = |of: &casemate_model::Publication| format!("{}/{}", of.to.port(), of.protocol) == port;
        attachment.publications.iter().any(same)
    };
    let exposed = container.record.networking.exposed.iter().filter(|port| !is_published(port)).filter_map(|port| {
        let (number, protocol) = port.split_once('/')?;
        Some(json!({ "PrivatePort": number.parse::<u16>().ok()?, "Type": protocol }))
    });
    published.chain(exposed).collect()
}

/// `PortBindings` of `HostConfig`.
pub(super) fn bindings(container: &Container) -> Value {
    let published = &container.record.networking.published;
    let binding = |BindingRecord { ip, port }: &BindingRecord| json!({ "HostIp": ip, "HostPort": port });
    let all = published.iter().map(|(port, at)| (port.clone(), at.iter().map(binding).collect::<Value>()));
    Value::Object(all.collect())
}

/// Whether the container has this network, by name or id.
pub(super) fn is_on(networks: &Networks, container: &Container, wanted: &str) -> bool {
    let names = endpoints(networks, container);
    let id = |known: &KnownNetwork| known.record.name.clone();
    names.contains_key(wanted) || networks.find(wanted).map(id).is_ok_and(|name| names.contains_key(&name))
}

/// Whether a port fits a filter: `80`, `80/udp`, `80-90/tcp`.
pub(super) fn port_fits(filter: &str, number: u16, protocol: &str) -> bool {
    let (numbers, wanted) = filter.split_once('/').unwrap_or((filter, "tcp"));
    let (start, end) = numbers.split_once('-').unwrap_or((numbers, numbers));
    let range = start.parse::<u16>().ok().zip(end.parse::<u16>().ok());
    wanted == protocol && range.is_some_and(|(start, end)| (start..=end).contains(&number))
}
