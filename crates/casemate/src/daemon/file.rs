//! The configuration file: JSON with dockerd's keys, and the engine's own.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::given::Given;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub(super) struct File {
    pub(super) hosts: Option<Vec<String>>,
    pub(super) data_root: Option<PathBuf>,
    pub(super) exec_root: Option<PathBuf>,
    pub(super) pidfile: Option<PathBuf>,
    pub(super) group: Option<String>,
    pub(super) debug: Option<bool>,
    pub(super) log_level: Option<String>,
    pub(super) log_format: Option<String>,
    pub(super) log_driver: Option<String>,
    pub(super) log_opts: Option<BTreeMap<String, String>>,
    pub(super) exec_opts: Option<Vec<String>>,
    pub(super) tls: Option<bool>,
    pub(super) tlsverify: Option<bool>,
    pub(super) tlscacert: Option<PathBuf>,
    pub(super) tlscert: Option<PathBuf>,
    pub(super) tlskey: Option<PathBuf>,
    pub(super) shutdown_timeout: Option<u64>,
    pub(super) insecure_registries: Option<Vec<String>>,
    pub(super) registry_mirrors: Option<Vec<String>>,
    pub(super) max_concurrent_downloads: Option<usize>,
    pub(super) lib: Option<PathBuf>,
    pub(super) qemu: Option<PathBuf>,
    pub(super) accelerator: Option<String>,
    pub(super) boot_timeout: Option<f64>,
    pub(super) health_deadline: Option<f64>,
    pub(super) scratch_size: Option<String>,
    pub(super) bip: Option<String>,
    pub(super) default_address_pools: Option<Vec<Pool>>,
    /// By isolation.
    pub(super) default_network: Option<BTreeMap<String, String>>,
    // There is one runtime and one storage here, and containers always outlive
    // the daemon.
    #[serde(rename = "default-runtime")]
    _default_runtime: Option<IgnoredAny>,
    #[serde(rename = "runtimes")]
    _runtimes: Option<IgnoredAny>,
    #[serde(rename = "storage-driver")]
    _storage_driver: Option<IgnoredAny>,
    #[serde(rename = "live-restore")]
    _live_restore: Option<IgnoredAny>,
}

/// dockerd's form of a default address pool.
#[derive(Debug, Deserialize)]
pub(super) struct Pool {
    pub(super) base: String,
    pub(super) size: u8,
}

/// Each key, and the argument that says the same on the command line.
const KEYS: [(&str, &str); 29] = [
    ("accelerator", "accelerator"),
    ("bip", "bip"),
    ("boot-timeout", "boot_timeout"),
    ("data-root", "root"),
    ("debug", "debug"),
    ("default-address-pools", "default_address_pool"),
    ("default-network", "default_network"),
    ("exec-opts", "exec_opt"),
    ("exec-root", "run"),
    ("group", "group"),
    ("health-deadline", "health_deadline"),
    ("hosts", "host"),
    ("insecure-registries", "insecure_registry"),
    ("lib", "lib"),
    ("log-driver", "log_driver"),
    ("log-format", "log_format"),
    ("log-level", "log_level"),
    ("log-opts", "log_opt"),
    ("max-concurrent-downloads", "max_concurrent_downloads"),
    ("pidfile", "pidfile"),
    ("qemu", "qemu"),
    ("registry-mirrors", "registry_mirror"),
    ("scratch-size", "scratch_size"),
    ("shutdown-timeout", "shutdown_timeout"),
    ("tls", "tls"),
    ("tlscacert", "tlscacert"),
    ("tlscert", "tlscert"),
    ("tlskey", "tlskey"),
    ("tlsverify", "tlsverify"),
];

/// Taken, so that a file of dockerd's can be used, and of no effect.
const IGNORED: [&str; 4] = ["default-runtime", "live-restore", "runtimes", "storage-driver"];

#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error("invalid JSON")]
    Json(#[source] serde_json::Error),
    #[error("the following directives don't match any configuration option: {}", .0.join(", "))]
    Unknown(Vec<String>),
    #[error("the following directives are specified both as a flag and in the configuration file: {}", .0.join(", "))]
    Conflict(Vec<String>),
}

impl File {
    /// An empty file says nothing. Errors are in dockerd's words.
    pub(super) fn parse(text: &str, given: &Given) -> Result<Self, FileError> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let keys: Map<String, Value> = serde_json::from_str(text).map_err(FileError::Json)?;
        let known = |key: &str| KEYS.iter().any(|(known, _)| *known == key) || IGNORED.contains(&key);
        let unknown: Vec<String> = keys.keys().filter(|key| !known(key)).cloned().collect();
        if !unknown.is_empty() {
            return Err(FileError::Unknown(unknown));
        }
        let conflicts: Vec<String> = KEYS
            .iter()
            .filter_map(|(key, id)| {
                let (in_file, by_flag) = (keys.get(*key)?, given.flag(id)?);
                Some(format!("{key}: (from flag: {}, from file: {})", flag_words(by_flag, in_file), words(in_file)))
            })
            .collect();
        if !conflicts.is_empty() {
            return Err(FileError::Conflict(conflicts));
        }
        serde_json::from_str(text).map_err(FileError::Json)
    }

    /// What the file says to no effect.
    pub(super) fn ignored(text: &str) -> Vec<&'static str> {
        let keys: Map<String, Value> = serde_json::from_str(text).unwrap_or_default();
        IGNORED.into_iter().filter(|key| keys.contains_key(*key)).collect()
    }
}

/// As Go prints values.
fn words(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => format!("[{}]", values.iter().map(words).collect::<Vec<_>>().join(" ")),
        other => other.to_string(),
    }
}

fn flag_words(values: &[String], in_file: &Value) -> String {
    if in_file.is_array() { format!("[{}]", values.join(" ")) } else { values.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none() -> Given {
        Given::default()
    }

    #[test]
    fn an_empty_file_says_nothing() {
        for text in ["", " \n", "{}"] {
            assert!(File::parse(text, &none()).unwrap().hosts.is_none());
        }
    }

    #[test]
    fn every_key_has_a_field_and_every_field_a_key() {
        for key in KEYS.iter().map(|(key, _)| *key).chain(IGNORED) {
            serde_json::from_str::<File>(&format!("{{\"{key}\": null}}")).unwrap();
        }
        let error = serde_json::from_str::<File>("{\"nonsense\": null}").unwrap_err().to_string();
        let fields = error.split('`').skip(3).step_by(2).count();
        assert_eq!(fields, KEYS.len() + IGNORED.len(), "{error}");
    }

    #[test]
    fn unknown_keys_are_named_in_dockerds_words() {
        let error = File::parse(r#"{"debug": true, "fixed-cidr": "10.0.0.1/24", "hots": []}"#, &none()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the following directives don't match any configuration option: fixed-cidr, hots"
        );
    }

    #[test]
    fn values_of_the_wrong_kind_and_broken_json_are_refused() {
        for text in [r#"{"debug": "yes"}"#, r#"{"hosts": "unix:///a"}"#, r#"{"debug": true"#, "[]", "{} x"] {
            assert!(matches!(File::parse(text, &none()), Err(FileError::Json(_))), "{text}");
        }
    }

    #[test]
    fn keys_without_effect_are_known() {
        let text = r#"{"live-restore": true, "runtimes": {"x": {"path": "/x"}}, "debug": true}"#;
        assert_eq!(File::parse(text, &none()).unwrap().debug, Some(true));
        assert_eq!(File::ignored(text), ["live-restore", "runtimes"]);
    }
}
