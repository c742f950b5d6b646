//! Docker's seccomp profile as its daemon hands it to runc: what applies on
//! this architecture, with Docker's default capabilities, on this kernel.

use casemate_model::Capabilities;
use serde_json::{Map, Value, json};

use crate::error::BenchError;

const PROFILE: &str = include_str!("../../../seccomp/data/docker-default.json");

pub(super) fn docker_default() -> Result<Value, BenchError> {
    let unexpected = || BenchError::Format { what: "the seccomp profile", found: String::new() };
    let profile: Value = serde_json::from_str(PROFILE).map_err(|_| unexpected())?;
    let maps = profile["archMap"].as_array().ok_or_else(unexpected)?;
    let own = maps.iter().find(|map| map["architecture"] == ARCHITECTURE.1).ok_or_else(unexpected)?;
    let mut architectures = vec![own["architecture"].clone()];
    architectures.extend(own["subArchitectures"].as_array().into_iter().flatten().cloned());
    let rules = profile["syscalls"].as_array().ok_or_else(unexpected)?;
    Ok(json!({
        "defaultAction": profile["defaultAction"],
        "defaultErrnoRet": profile["defaultErrnoRet"],
        "architectures": architectures,
        "syscalls": rules.iter().filter(|rule| applies(rule)).map(without_conditions).collect::<Vec<_>>(),
    }))
}

/// As Docker's profile calls it, and as libseccomp does.
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: (&str, &str) = ("amd64", "SCMP_ARCH_X86_64");
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: (&str, &str) = ("arm64", "SCMP_ARCH_AARCH64");

fn applies(rule: &Value) -> bool {
    let words = |condition: &Value, name: &str| -> Vec<String> {
        condition[name].as_array().into_iter().flatten().filter_map(|word| word.as_str().map(str::to_owned)).collect()
    };
    let has = |name: &String| name.parse().is_ok_and(|capability| Capabilities::DOCKER_DEFAULT.contains(capability));
    let (includes, excludes) = (&rule["includes"], &rule["excludes"]);
    let arches = words(includes, "arches");
    // Every kernel that containers run on is newer than the one `minKernel`
    // that the profile has, 4.8.
    (arches.is_empty() || arches.iter().any(|arch| arch == ARCHITECTURE.0))
        && words(includes, "caps").iter().all(has)
        && !words(excludes, "arches").iter().any(|arch| arch == ARCHITECTURE.0)
        && !words(excludes, "caps").iter().any(has)
}

/// The fields that OCI's configuration has.
fn without_conditions(rule: &Value) -> Value {
    let fields = ["names", "action", "errnoRet", "args"].into_iter();
    let kept: Map<String, Value> = fields.filter_map(|name| Some((name.to_owned(), rule.get(name)?.clone()))).collect();
    Value::Object(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_forbidden_without_more_capabilities_stays_so() {
        let profile = docker_default().unwrap();
        assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO");
        let rules = profile["syscalls"].as_array().unwrap();
        let action = |name: &str| {
            let rule = rules.iter().find(|rule| rule["names"].as_array().unwrap().iter().any(|n| n == name));
            rule.map(|rule| rule["action"].as_str().unwrap().to_owned())
        };
        assert_eq!(action("read").as_deref(), Some("SCMP_ACT_ALLOW"));
        assert_eq!(action("chroot").as_deref(), Some("SCMP_ACT_ALLOW"));
        assert_eq!(action("clone3").as_deref(), Some("SCMP_ACT_ERRNO"));
        assert_eq!(action("mount"), None);
        assert!(rules.iter().all(|rule| rule.get("includes").is_none()));
    }
}
