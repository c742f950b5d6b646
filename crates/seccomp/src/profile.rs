//! Profiles as Docker writes them (moby/profiles `seccomp`), and which of
//! their rules apply to a container.

use casemate_model::{Capabilities, Capability, Classify, ErrorClass};
use serde::Deserialize;

use crate::kernel::KernelVersion;

/// Docker's default profile, as it is distributed.
pub const DOCKER_DEFAULT: &str = include_str!("../data/docker-default.json");

#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    #[error("cannot read the seccomp profile")]
    Json(#[from] serde_json::Error),
    #[error("the seccomp profile gives both names and name for {name:?}")]
    TwoNames { name: String },
}

impl Classify for ProfileError {
    fn class(&self) -> ErrorClass {
        ErrorClass::InvalidArgument
    }
}

/// A profile that has the right form. Whether its names mean something turns
/// out when it is compiled.
#[derive(Clone, Debug)]
pub struct Profile {
    pub(crate) default: Action,
    pub(crate) architectures: Vec<Architecture>,
    pub(crate) rules: Vec<Rule>,
}

/// What happens to a system call, in libseccomp's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Action {
    pub(crate) name: String,
    pub(crate) errno: Option<u32>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Architecture {
    pub(crate) architecture: String,
    #[serde(default)]
    pub(crate) sub_architectures: Option<Vec<String>>,
}

#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) names: Vec<String>,
    pub(crate) action: Action,
    pub(crate) arguments: Vec<Argument>,
    includes: Condition,
    excludes: Condition,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Argument {
    pub(crate) index: u32,
    pub(crate) value: u64,
    #[serde(default)]
    pub(crate) value_two: u64,
    pub(crate) op: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Condition {
    caps: Vec<String>,
    /// By Go's names: `amd64`, `arm64`.
    arches: Vec<String>,
    min_kernel: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct JsonProfile {
    default_action: String,
    #[serde(default)]
    default_errno_ret: Option<u32>,
    #[serde(default)]
    arch_map: Vec<Architecture>,
    #[serde(default)]
    syscalls: Vec<JsonRule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct JsonRule {
    #[serde(default)]
    names: Vec<String>,
    #[serde(default)]
    name: Option<String>,
    action: String,
    #[serde(default)]
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Option<Vec<Argument>>,
    #[serde(default, rename = "comment")]
    _comment: Option<String>,
    #[serde(default)]
    includes: Option<Condition>,
    #[serde(default)]
    excludes: Option<Condition>,
}

impl Profile {
    /// What Docker gives every container that asks for nothing else.
    pub fn docker_default() -> Result<Self, ProfileError> {
        Self::parse(DOCKER_DEFAULT)
    }

    /// Reads a profile as `--security-opt seccomp=FILE` takes it.
    pub fn parse(json: &str) -> Result<Self, ProfileError> {
        let JsonProfile { default_action, default_errno_ret, arch_map, syscalls } = serde_json::from_str(json)?;
        Ok(Self {
            default: Action { name: default_action, errno: default_errno_ret },
            architectures: arch_map,
            rules: syscalls.into_iter().map(Rule::from_json).collect::<Result<_, _>>()?,
        })
    }

    /// The rules that apply to a container with these capabilities.
    pub(crate) fn select<'a>(
        &'a self,
        capabilities: Capabilities,
        kernel: KernelVersion,
        arch: &'a str,
    ) -> impl Iterator<Item = &'a Rule> {
        self.rules.iter().filter(move |rule| {
            !rule.excludes.matches_any(capabilities, kernel, arch)
                && rule.includes.matches_all(capabilities, kernel, arch)
        })
    }
}

impl Rule {
    fn from_json(json: JsonRule) -> Result<Self, ProfileError> {
        let JsonRule { mut names, name, action, errno_ret, args, _comment, includes, excludes } = json;
        match name {
            Some(name) if !names.is_empty() => return Err(ProfileError::TwoNames { name }),
            Some(name) => names.push(name),
            None => {}
        }
        Ok(Self {
            names,
            action: Action { name: action, errno: errno_ret },
            arguments: args.unwrap_or_default(),
            includes: includes.unwrap_or_default(),
            excludes: excludes.unwrap_or_default(),
        })
    }
}

impl Condition {
    /// For `includes`: everything that is said has to be so.
    fn matches_all(&self, capabilities: Capabilities, kernel: KernelVersion, arch: &str) -> bool {
        (self.arches.is_empty() || self.arches.iter().any(|a| a == arch))
            && self.caps.iter().all(|cap| has(capabilities, cap))
            && self.min_kernel.as_deref().is_none_or(|minimum| at_least(kernel, minimum))
    }

    /// For `excludes`: one thing that is so is enough.
    fn matches_any(&self, capabilities: Capabilities, kernel: KernelVersion, arch: &str) -> bool {
        self.arches.iter().any(|a| a == arch)
            || self.caps.iter().any(|cap| has(capabilities, cap))
            || self.min_kernel.as_deref().is_some_and(|minimum| at_least(kernel, minimum))
    }
}

/// A capability that nobody knows nobody has.
fn has(capabilities: Capabilities, name: &str) -> bool {
    name.parse::<Capability>().is_ok_and(|capability| capabilities.contains(capability))
}

/// A version that cannot be read is one that no kernel has reached.
fn at_least(kernel: KernelVersion, minimum: &str) -> bool {
    minimum.parse::<KernelVersion>().is_ok_and(|minimum| kernel >= minimum)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(capabilities: &[&str], kernel: &str, arch: &str) -> Vec<String> {
        let mut bits = 0;
        for capability in capabilities {
            bits |= 1 << capability.parse::<Capability>().unwrap().number();
        }
        let profile = Profile::docker_default().unwrap();
        let kernel = kernel.parse().unwrap();
        profile.select(Capabilities::from_bits(bits), kernel, arch).flat_map(|r| r.names.clone()).collect()
    }

    #[test]
    fn conditions_of_the_default_profile() {
        let plain = names(&[], "6.1", "amd64");
        let has = |list: &[String], name: &str| list.iter().any(|n| n == name);
        assert!(has(&plain, "read") && has(&plain, "ptrace") && has(&plain, "arch_prctl"));
        assert!(!has(&plain, "mount") && !has(&plain, "reboot") && !has(&plain, "breakpoint"));
        assert!(!has(&names(&[], "4.7", "amd64"), "ptrace"));
        assert!(has(&names(&[], "6.1", "arm64"), "breakpoint"));
        let admin = names(&["SYS_ADMIN"], "6.1", "amd64");
        assert!(has(&admin, "mount") && has(&admin, "clone3"));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        assert!(Profile::parse(r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#).is_ok());
        for bad in [
            "{}",
            r#"{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/x"}"#,
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["a"],"action":"X","excludes":{"cpus":1}}]}"#,
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["a"],"name":"b","action":"X"}]}"#,
        ] {
            assert!(Profile::parse(bad).is_err(), "{bad}");
        }
    }
}
