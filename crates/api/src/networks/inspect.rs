//! `GET /networks` and `GET /networks/{id}`.

use casemate_engine::networks::{KnownNetwork, Networks};
use serde_json::{Map, Value, json};

use crate::error::ApiError;
use crate::filters::Filters;
use crate::reply::{self, Reply};
use crate::request::Call;

const FILTERS: [&str; 8] = ["dangling", "driver", "id", "label", "label!", "name", "scope", "type"];

pub(crate) fn inspect(call: &Call, name: &str) -> Reply {
    let networks = call.daemon.networks();
    let known = networks.find(name)?;
    if let Some(scope) = call.query.get("scope").filter(|scope| !["", "local"].contains(scope)) {
        return Err(ApiError::not_found(format!("network {name} not found in scope {scope}")));
    }
    let mut network = row(known);
    network["Containers"] = containers(&networks, known);
    reply::json(&network)
}

pub(crate) fn list(call: &Call) -> Reply {
    let filters = Filters::of(&call.query, &FILTERS)?;
    let dangling = filters.truth("dangling")?;
    for kind in filters.get("type") {
        if !["builtin", "custom"].contains(&kind.as_str()) {
            return Err(ApiError::bad_request(format!("invalid filter: 'type'='{kind}'")));
        }
    }
    let networks = call.daemon.networks();
    let fits = |known: &&KnownNetwork| {
        let record = &known.record;
        let is_used = networks.members(&record.id).next().is_some();
        filters.any("name", |name| record.name.contains(name))
            && filters.any("id", |id| record.id.starts_with(id))
            && filters.any("driver", |driver| record.driver == driver)
            && filters.any("scope", |scope| scope == "local")
            && filters.any("type", |kind| (kind == "builtin") == known.is_builtin())
            && dangling.is_none_or(|dangling| dangling != (is_used || known.is_builtin()))
            && filters.labels(&record.labels)
    };
    let mut found: Vec<_> = networks.all().filter(fits).collect();
    found.sort_by(|a, b| b.record.created.cmp(&a.record.created));
    reply::json(&found.into_iter().map(row).collect())
}

fn row(known: &KnownNetwork) -> Value {
    let record = &known.record;
    let config = record.subnets.iter().map(|subnet| {
        let mut config = json!({ "Subnet": subnet.subnet, "Gateway": subnet.gateway });
        if let Some(range) = &subnet.ip_range {
            config["IPRange"] = json!(range);
        }
        if !subnet.auxiliary.is_empty() {
            config["AuxiliaryAddresses"] = json!(subnet.auxiliary);
        }
        config
    });
    let ipam_options = if record.ipam_options.is_empty() { Value::Null } else { json!(record.ipam_options) };
    json!({
        "Name": record.name,
        "Id": record.id,
        "Created": record.created,
        "Scope": "local",
        "Driver": record.driver,
        "EnableIPv4": record.enable_ipv4,
        "EnableIPv6": record.enable_ipv6,
        "IPAM": { "Driver": "default", "Options": ipam_options, "Config": config.collect::<Vec<_>>() },
        "Internal": record.internal,
        "Attachable": record.attachable,
        "Ingress": false,
        "ConfigFrom": { "Network": "" },
        "ConfigOnly": false,
        "Containers": {},
        "Options": record.options,
        "Labels": record.labels,
    })
}

/// Who has an end of it, by id.
fn containers(networks: &Networks, known: &KnownNetwork) -> Value {
    let mut containers = Map::new();
    for (id, of, end) in networks.members(&known.record.id) {
        let address = |address: Option<std::net::IpAddr>| {
            let with_prefix =
                address.and_then(|address| known.prefix_of(address).map(|prefix| format!("{address}/{prefix}")));
            with_prefix.unwrap_or_default()
        };
        let container = json!({
            "Name": of.name.as_str(),
            "EndpointID": end.endpoint.id,
            "MacAddress": end.endpoint.mac.to_string(),
            "IPv4Address": address(end.endpoint.v4.map(Into::into)),
            "IPv6Address": address(end.endpoint.v6.map(Into::into)),
        });
        containers.insert(id.to_string(), container);
    }
    Value::Object(containers)
}
