//! `POST /networks/create`.

use std::collections::BTreeMap;

use casemate_engine::networks::{CreateNetworkRequest, SubnetRequest};
use hyper::StatusCode;
use serde::Deserialize;
use serde_json::json;

use crate::error::ApiError;
use crate::reply::{self, Reply};
use crate::request::Call;

/// Docker's clients write `null` for what they leave out.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Body {
    name: Option<String>,
    driver: Option<String>,
    scope: Option<String>,
    internal: Option<bool>,
    attachable: Option<bool>,
    ingress: Option<bool>,
    config_only: Option<bool>,
    config_from: Option<ConfigFrom>,
    #[serde(rename = "EnableIPv4")]
    enable_ipv4: Option<bool>,
    #[serde(rename = "EnableIPv6")]
    enable_ipv6: Option<bool>,
    #[serde(rename = "IPAM")]
    ipam: Option<Ipam>,
    options: Option<BTreeMap<String, String>>,
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct ConfigFrom {
    network: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Ipam {
    driver: Option<String>,
    options: Option<BTreeMap<String, String>>,
    config: Option<Vec<IpamConfig>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct IpamConfig {
    subnet: Option<String>,
    #[serde(rename = "IPRange")]
    ip_range: Option<String>,
    gateway: Option<String>,
    auxiliary_addresses: Option<BTreeMap<String, String>>,
}

pub(crate) async fn create(mut call: Call) -> Reply {
    let body: Body = call.json().await?;
    let record = call.daemon.create_network(request(body)?).await?;
    reply::json_with(StatusCode::CREATED, &json!({ "Id": record.id, "Warning": "" }))
}

fn request(body: Body) -> Result<CreateNetworkRequest, ApiError> {
    let Body {
        name,
        driver,
        scope,
        internal,
        attachable,
        ingress,
        config_only,
        config_from,
        enable_ipv4,
        enable_ipv6,
        ipam,
        options,
        labels,
    } = body;
    let from = config_from.and_then(|from| from.network).unwrap_or_default();
    if config_only == Some(true) || !from.is_empty() {
        return Err(ApiError::not_implemented("configuration-only networks are not supported"));
    }
    if ingress == Some(true) || scope.is_some_and(|scope| !["", "local"].contains(&scope.as_str())) {
        return Err(ApiError::bad_request("this node is not a swarm manager: networks are local"));
    }
    let Ipam { driver: ipam_driver, options: ipam_options, config } = ipam.unwrap_or_default();
    if let Some(driver) = ipam_driver.filter(|driver| !["", "default"].contains(&driver.as_str())) {
        return Err(ApiError::bad_request(format!("could not find an IPAM driver with name {driver:?}")));
    }
    let subnet = |config: IpamConfig| SubnetRequest {
        subnet: config.subnet.unwrap_or_default(),
        ip_range: config.ip_range.unwrap_or_default(),
        gateway: config.gateway.unwrap_or_default(),
        auxiliary: config.auxiliary_addresses.unwrap_or_default(),
    };
    Ok(CreateNetworkRequest {
        name: name.unwrap_or_default(),
        driver: driver.unwrap_or_default(),
        internal: internal.unwrap_or(false),
        attachable: attachable.unwrap_or(false),
        bridge_is_given: false,
        enable_ipv4,
        enable_ipv6,
        subnets: config.unwrap_or_default().into_iter().map(subnet).collect(),
        ipam_options: ipam_options.unwrap_or_default(),
        options: options.unwrap_or_default(),
        labels: labels.unwrap_or_default(),
    })
}
