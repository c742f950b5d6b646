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
