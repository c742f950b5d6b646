//! What this daemon has not: answered as a dockerd that is no swarm manager
//! and has no plugins answers.

use hyper::{Method, StatusCode};
use serde_json::json;

use crate::error::ApiError;
use crate::reply::{self, Reply};

const NO_SWARM: &str = "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to \
                        connect this node to swarm and try again.";

pub(crate) fn answer(method: &Method, segments: &[&str]) -> Reply {
    match (method.as_str(), segments) {
        (_, ["swarm" | "nodes" | "services" | "tasks" | "secrets" | "configs", ..]) => {
            Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, NO_SWARM))
        }
        ("GET", ["plugins"]) => reply::json(&json!([])),
        ("GET", ["plugins", "privileges"]) | (_, ["plugins", "pull" | "create", ..]) => {
            Err(ApiError::not_implemented("this daemon has no plugins"))
        }
        (_, ["plugins", name, ..]) => Err(ApiError::not_found(format!("plugin \"{name}\" not found"))),
        ("GET", ["networks"]) => reply::json(&networks()),
        ("GET", ["networks", name]) => match networks().as_array().and_then(|all| find(all, name)) {
            Some(network) => reply::json(&network),
            None => Err(ApiError::not_found(format!("network {name} not found"))),
        },
        ("POST", ["networks", "prune"]) => reply::json(&json!({ "NetworksDeleted": null })),
        ("POST", ["networks", ..]) | ("DELETE", ["networks", ..]) => {
            Err(ApiError::not_implemented("networks cannot be made yet: containers have a loopback interface only"))
        }
        ("GET", ["volumes"]) => reply::json(&json!({ "Volumes": [], "Warnings": null })),
        ("GET" | "DELETE", ["volumes", name]) => Err(ApiError::not_found(format!("get {name}: no such volume"))),
        ("POST", ["volumes", "prune"]) => reply::json(&json!({ "VolumesDeleted": [], "SpaceReclaimed": 0 })),
        ("POST", ["volumes", ..]) => Err(ApiError::not_implemented("volumes cannot be made yet")),
        ("POST", ["build", "prune"]) => reply::json(&json!({ "CachesDeleted": null, "SpaceReclaimed": 0 })),
        ("POST", ["build"] | ["session"] | ["grpc"]) => Err(ApiError::not_implemented(
            "this daemon does not build images yet: build them elsewhere, and pull or load them",
        )),
        ("POST", ["images", .., "push"]) => {
            Err(ApiError::not_implemented("this daemon does not push images yet: save them, and push with skopeo"))
        }
        ("GET", ["images", "search"]) => {
            Err(ApiError::not_implemented("this daemon does not search registries: name the image to pull"))
        }
        ("GET", ["distribution", ..]) => {
            Err(ApiError::not_implemented("this daemon does not ask registries about images it does not pull"))
        }
        _ => Err(ApiError::not_found("page not found")),
    }
}

/// The one network that there is.
fn networks() -> serde_json::Value {
    json!([{
        "Name": "none",
        "Id": "0".repeat(64),
        "Created": "0001-01-01T00:00:00Z",
        "Scope": "local",
        "Driver": "null",
        "EnableIPv4": true,
        "EnableIPv6": false,
        "IPAM": { "Driver": "default", "Options": null, "Config": [] },
        "Internal": false,
        "Attachable": false,
        "Ingress": false,
        "ConfigFrom": { "Network": "" },
        "ConfigOnly": false,
        "Containers": {},
        "Options": {},
        "Labels": {},
    }])
}

fn find(networks: &[serde_json::Value], name: &str) -> Option<serde_json::Value> {
    networks.iter().find(|network| network["Name"] == name || network["Id"] == name).cloned()
}
