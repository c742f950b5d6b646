//! Profiles as Docker writes them (moby/profiles `seccomp`), and which of
//! their rules apply to a container.

use casemate_model::{Capabilities, Capability, Classify, ErrorClass};
use serde::Deserialize;

use crate::kernel::KernelVersion;

/// Docker's default profile, as it is distributed.
pub const DOCKER_DEFAULT: &str = include_str!("../data/docker-default.json");

#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    #[error("Decoding seccomp profile failed")]
    Json(#[from] serde_json::Error),
    // Docker's words (moby/profiles `seccomp`), here and below.
    #[error("both 'name' and 'names' are specified in the seccomp profile, use either 'name' or 'names': {name:?}")]
    TwoNames { name: String },
    #[error(
        "both 'architectures' and 'archMap' are specified in the seccomp profile, \
         use either 'architectures' or 'archMap'"
    )]
    TwoArchitectures,
    #[error("the seccomp profile hands system calls to a listener, which is not supported")]
    Listener,
    #[error("the seccomp profile has an unknown flag {name:?}")]
    Flag { name: String },
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
    pub(crate) architectures: Architectures,
    pub(crate) log: bool,
    pub(crate) allow_speculation: bool,
    pub(crate) rules: Vec<Rule>,
}

/// What happens to a system call, in libseccomp's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Action {
    pub(crate) name: String,
    pub(crate) errno: Option<u32>,
}

/// Whose system calls the filter knows, beside the machine's own.
#[derive(Clone, Debug)]
pub(crate) enum Architectures {
    /// For each machine those that it runs too.
    Map(Vec<Architecture>),
    List(Vec<String>),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
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
#[serde(rename_all = "camelCase")]
pub(crate) struct Argument {
    pub(crate) index: u32,
    pub(crate) value: u64,
    #[serde(default)]
    pub(crate) value_two: u64,
    pub(crate) op: String,
}

#[derive(Clone, Debug, Default)]
struct Condition {
    caps: Vec<String>,
    /// By Go's names: `amd64`, `arm64`.
    arches: Vec<String>,
    min_kernel: Option<String>,
}

// A profile is written by hand, and Docker passes over what it does not know
// in it (comments, mostly); `null` stands for nothing everywhere.

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonProfile {
    default_action: String,
    #[serde(default)]
    default_errno_ret: Option<u32>,
    #[serde(default)]
    arch_map: Option<Vec<Architecture>>,
    #[serde(default)]
    architectures: Option<Vec<String>>,
    #[serde(default)]
    flags: Option<Vec<String>>,
    #[serde(default)]
    listener_path: Option<String>,
    #[serde(default)]
    syscalls: Option<Vec<JsonRule>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonCondition {
    #[serde(default)]
    caps: Option<Vec<String>>,
    #[serde(default)]
    arches: Option<Vec<String>>,
    #[serde(default)]
    min_kernel: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonRule {
    #[serde(default)]
    names: Option<Vec<String>>,
    #[serde(default)]
    name: Option<String>,
    action: String,
    #[serde(default)]
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Option<Vec<Argument>>,
    #[serde(default)]
    includes: Option<JsonCondition>,
    #[serde(default)]
    excludes: Option<JsonCondition>,
}

impl Profile {
    /// What Docker gives every container that asks for nothing else.
    pub fn docker_default() -> Result<Self, ProfileError> {
        Self::parse(DOCKER_DEFAULT)
    }

    /// Reads a profile as `--security-opt seccomp=FILE` takes it.
    pub fn parse(json: &str) -> Result<Self, ProfileError> {
        let JsonProfile { default_action, default_errno_ret, arch_map, architectures, flags, listener_path, syscalls } =
            serde_json::from_str(json)?;
        let rules = syscalls.unwrap_or_default().into_iter().map(Rule::from_json);
        let rules = rules.collect::<Result<Vec<_>, _>>()?;
        let notifies = |action: &str| action == "SCMP_ACT_NOTIFY";
        if listener_path.is_some_and(|path| !path.is_empty())
            || notifies(&default_action)
            || rules.iter().any(|rule| notifies(&rule.action.name))
        {
            return Err(ProfileError::Listener);
        }
        let architectures = match (arch_map.unwrap_or_default(), architectures.unwrap_or_default()) {
            (map, list) if list.is_empty() => Architectures::Map(map),
            (map, list) if map.is_empty() => Architectures::List(list),
            _ => return Err(ProfileError::TwoArchitectures),
        };
        let (log, allow_speculation) = match flags {
            // What runc does where nothing is said.
            None => (false, true),
            Some(flags) => read_flags(&flags)?,
        };
        Ok(Self {
            default: Action { name: default_action, errno: default_errno_ret },
            architectures,
            log,
            allow_speculation,
            rules,
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

/// Whether to log, and to leave speculation on.
fn read_flags(flags: &[String]) -> Result<(bool, bool), ProfileError> {
    const LOG: &str = "SECCOMP_FILTER_FLAG_LOG";
    const SPECULATION: &str = "SECCOMP_FILTER_FLAG_SPEC_ALLOW";
    // Of no consequence for a process with one thread and no listener.
    const IDLE: [&str; 2] = ["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"];
    let known = |flag: &&String| [LOG, SPECULATION].contains(&flag.as_str()) || IDLE.contains(&flag.as_str());
    if let Some(unknown) = flags.iter().find(|flag| !known(flag)) {
        return Err(ProfileError::Flag { name: unknown.clone() });
    }
    let has = |name: &str| flags.iter().any(|flag| flag == name);
    Ok((has(LOG), has(SPECULATION)))
}

impl Rule {
    fn from_json(json: JsonRule) -> Result<Self, ProfileError> {
        let JsonRule { names, name, action, errno_ret, args, includes, excludes } = json;
        let mut names = names.unwrap_or_default();
        match name.filter(|name| !name.is_empty()) {
            Some(name) if !names.is_empty() => return Err(ProfileError::TwoNames { name }),
            Some(name) => names.push(name),
            None => {}
        }
        Ok(Self {
            names,
            action: Action { name: action, errno: errno_ret },
            arguments: args.unwrap_or_default(),
            includes: includes.unwrap_or_default().into(),
            excludes: excludes.unwrap_or_default().into(),
        })
    }
}

impl From<JsonCondition> for Condition {
    fn from(json: JsonCondition) -> Self {
        let JsonCondition { caps, arches, min_kernel } = json;
        Self { caps: caps.unwrap_or_default(), arches: arches.unwrap_or_default(), min_kernel }
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
    fn profiles_as_people_write_them() {
        let read = |json: &str| Profile::parse(json).unwrap();
        let profile = read(
            r#"{"defaultAction":"SCMP_ACT_ALLOW","comment":"mine","archMap":null,"architectures":["SCMP_ARCH_X86"],
                "flags":["SECCOMP_FILTER_FLAG_LOG","SECCOMP_FILTER_FLAG_TSYNC"],"listenerPath":"",
                "syscalls":[{"names":["a"],"name":"","action":"SCMP_ACT_ERRNO","args":null,"comment":"why",
                    "includes":{"caps":null},"excludes":{}}]}"#,
        );
        assert!(matches!(&profile.architectures, Architectures::List(list) if list == &["SCMP_ARCH_X86"]));
        assert_eq!((profile.log, profile.allow_speculation), (true, false));
        assert_eq!(profile.rules[0].names, ["a"]);
        let short = read(r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#);
        assert_eq!((short.log, short.allow_speculation), (false, true));
        assert!(!read(r#"{"defaultAction":"SCMP_ACT_ALLOW","flags":[]}"#).allow_speculation);
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        let refused = |rest: &str| {
            let error = Profile::parse(&format!(r#"{{"defaultAction":"SCMP_ACT_ALLOW",{rest}}}"#)).unwrap_err();
            error.to_string()
        };
        assert!(refused(r#""listenerPath":"/x""#).contains("a listener"));
        assert!(refused(r#""syscalls":[{"names":["a"],"action":"SCMP_ACT_NOTIFY"}]"#).contains("a listener"));
        assert!(refused(r#""syscalls":[{"names":["a"],"name":"b","action":"X"}]"#).starts_with("both 'name' and"));
        assert!(
            refused(r#""architectures":["A"],"archMap":[{"architecture":"B"}]"#).starts_with("both 'architectures'")
        );
        assert_eq!(refused(r#""flags":["SING"]"#), "the seccomp profile has an unknown flag \"SING\"");
        assert_eq!(refused(r#""syscalls":7"#), "Decoding seccomp profile failed");
        for bad in ["", "{}", "[]", "{"] {
            assert!(Profile::parse(bad).is_err(), "{bad}");
        }
    }
}
