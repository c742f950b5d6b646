//! The JSON of an image configuration: the OCI specification's, with what
//! Docker adds. It is read as leniently as Docker reads it: images of all ages
//! are about.

use std::collections::BTreeMap;
use std::time::Duration;

use casemate_model::{Digest, ParseDigestError};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};

use crate::image::{Healthcheck, ImageConfig, Step};

/// A configuration, parsed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Configuration {
    pub(crate) architecture: String,
    pub(crate) variant: Option<String>,
    pub(crate) os: String,
    pub(crate) created: Option<Timestamp>,
    pub(crate) author: Option<String>,
    pub(crate) comment: Option<String>,
    pub(crate) config: ImageConfig,
    /// Diff ids, lowest first.
    pub(crate) layers: Vec<Digest>,
    pub(crate) history: Vec<Step>,
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigurationError {
    #[error("not the JSON of an image configuration")]
    Json(#[from] serde_json::Error),
    #[error("a layer's diff id is malformed")]
    DiffId(#[from] ParseDigestError),
}

#[derive(Serialize, Deserialize)]
struct Json {
    #[serde(default, deserialize_with = "null_is_default")]
    architecture: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    variant: Option<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    os: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    created: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    author: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    comment: Option<String>,
    #[serde(default)]
    config: Option<JsonConfig>,
    rootfs: JsonRootfs,
    #[serde(default, deserialize_with = "null_is_default")]
    history: Vec<JsonStep>,
}

#[derive(Serialize, Deserialize)]
struct JsonRootfs {
    #[serde(default = "layers", rename = "type")]
    kind: String,
    #[serde(default, deserialize_with = "null_is_default")]
    diff_ids: Vec<String>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct JsonConfig {
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    env: Vec<String>,
    #[serde(deserialize_with = "words", skip_serializing_if = "Vec::is_empty")]
    cmd: Vec<String>,
    #[serde(deserialize_with = "words", skip_serializing_if = "Vec::is_empty")]
    entrypoint: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    working_dir: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_signal: Option<String>,
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    exposed_ports: BTreeMap<String, Nothing>,
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    volumes: BTreeMap<String, Nothing>,
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    healthcheck: Option<JsonHealthcheck>,
    #[serde(deserialize_with = "words", skip_serializing_if = "Vec::is_empty")]
    shell: Vec<String>,
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    on_build: Vec<String>,
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "std::ops::Not::not")]
    args_escaped: bool,
}

/// Whatever it is, its key is what counts.
#[derive(Default)]
struct Nothing;

/// Durations are nanoseconds; 0 is unset.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct JsonHealthcheck {
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    test: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    interval: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timeout: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    start_period: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    start_interval: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retries: Option<i64>,
}

#[derive(Serialize, Deserialize)]
#[serde(default)]
#[derive(Default)]
struct JsonStep {
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<String>,
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    created_by: String,
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    author: String,
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    comment: String,
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "std::ops::Not::not")]
    empty_layer: bool,
}

impl Configuration {
    pub(crate) fn parse(json: &[u8]) -> Result<Self, ConfigurationError> {
        let Json { architecture, variant, os, created, author, comment, config, rootfs, history } =
            serde_json::from_slice(json)?;
        Ok(Self {
            architecture,
            variant: set(variant),
            os,
            created: time(created),
            author: set(author),
            comment: set(comment),
            config: config.map(ImageConfig::from).unwrap_or_default(),
            layers: rootfs.diff_ids.iter().map(|id| id.parse()).collect::<Result<_, _>>()?,
            history: history.into_iter().map(Step::from).collect(),
        })
    }

    pub(crate) fn to_json(&self) -> Vec<u8> {
        let Self { architecture, variant, os, created, author, comment, config, layers: diff_ids, history } =
            self.clone();
        let json = Json {
            architecture,
            variant,
            os,
            created: created.map(|time| time.to_string()),
            author,
            comment,
            config: Some(config.into()),
            rootfs: JsonRootfs { kind: layers(), diff_ids: diff_ids.iter().map(ToString::to_string).collect() },
            history: history.into_iter().map(JsonStep::from).collect(),
        };
        serde_json::to_vec(&json).expect("a configuration has no map with keys that are not text")
    }
}

impl From<JsonConfig> for ImageConfig {
    fn from(json: JsonConfig) -> Self {
        let JsonConfig {
            env,
            cmd,
            entrypoint,
            working_dir,
            user,
            stop_signal,
            exposed_ports,
            volumes,
            labels,
            healthcheck,
            shell,
            on_build,
            args_escaped,
        } = json;
        Self {
            env,
            cmd,
            entrypoint,
            working_dir: set(working_dir),
            user: set(user),
            stop_signal: set(stop_signal),
            exposed_ports: exposed_ports.into_keys().collect(),
            volumes: volumes.into_keys().collect(),
            labels,
            healthcheck: healthcheck.map(Healthcheck::from),
            shell,
            on_build,
            args_escaped,
        }
    }
}

impl From<ImageConfig> for JsonConfig {
    fn from(config: ImageConfig) -> Self {
        let ImageConfig {
            env,
            cmd,
            entrypoint,
            working_dir,
            user,
            stop_signal,
            exposed_ports,
            volumes,
            labels,
            healthcheck,
            shell,
            on_build,
            args_escaped,
        } = config;
        Self {
            env,
            cmd,
            entrypoint,
            working_dir,
            user,
            stop_signal,
            exposed_ports: exposed_ports.into_iter().map(|port| (port, Nothing)).collect(),
            volumes: volumes.into_iter().map(|volume| (volume, Nothing)).collect(),
            labels,
            healthcheck: healthcheck.map(JsonHealthcheck::from),
            shell,
            on_build,
            args_escaped,
        }
    }
}

impl From<JsonHealthcheck> for Healthcheck {
    fn from(json: JsonHealthcheck) -> Self {
        let JsonHealthcheck { test, interval, timeout, start_period, start_interval, retries } = json;
        let duration = |nanoseconds: Option<i64>| {
            nanoseconds.and_then(|n| u64::try_from(n).ok()).filter(|n| *n > 0).map(Duration::from_nanos)
        };
        Self {
            test,
            interval: duration(interval),
            timeout: duration(timeout),
            start_period: duration(start_period),
            start_interval: duration(start_interval),
            retries: retries.and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0),
        }
    }
}

impl From<Healthcheck> for JsonHealthcheck {
    fn from(check: Healthcheck) -> Self {
        let Healthcheck { test, interval, timeout, start_period, start_interval, retries } = check;
        let nanoseconds = |duration: Option<Duration>| duration.and_then(|d| i64::try_from(d.as_nanos()).ok());
        Self {
            test,
            interval: nanoseconds(interval),
            timeout: nanoseconds(timeout),
            start_period: nanoseconds(start_period),
            start_interval: nanoseconds(start_interval),
            retries: retries.map(i64::from),
        }
    }
}

impl From<JsonStep> for Step {
    fn from(json: JsonStep) -> Self {
        let JsonStep { created, created_by, author, comment, empty_layer } = json;
        Self { created: time(created), created_by, author, comment, empty_layer }
    }
}

impl From<Step> for JsonStep {
    fn from(step: Step) -> Self {
        let Step { created, created_by, author, comment, empty_layer } = step;
        Self { created: created.map(|time| time.to_string()), created_by, author, comment, empty_layer }
    }
}

impl<'de> Deserialize<'de> for Nothing {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde::de::IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

impl Serialize for Nothing {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serde::ser::SerializeMap::end(serializer.serialize_map(Some(0))?)
    }
}

fn layers() -> String {
    "layers".to_owned()
}

/// Empty text is written for what is not set.
fn set(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// A date that cannot be read says nothing about the content.
fn time(text: Option<String>) -> Option<Timestamp> {
    text.and_then(|text| text.parse().ok())
}

/// Go writes `null` for what is empty.
fn null_is_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Words, or one text that is one word.
fn words<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Words {
        Many(Vec<String>),
        One(String),
    }
    Ok(match Option::deserialize(deserializer)? {
        None => Vec::new(),
        Some(Words::Many(words)) => words,
        Some(Words::One(word)) => vec![word],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_docker_writes_is_understood() {
        let json = format!(
            r#"{{"architecture":"amd64","os":"linux","created":"2024-05-01T10:11:12.123456789Z","author":null,
            "container":"abc","docker_version":"20.10","variant":"",
            "config":{{"Hostname":"","User":"","ExposedPorts":{{"80/tcp":{{}},"443/tcp":{{}}}},"Env":["A=b=c","D="],
              "Cmd":["sh","-c","x"],"Healthcheck":{{"Test":["CMD","true"],"Interval":5000000000,"Timeout":0,"Retries":3}},"ArgsEscaped":true,"Image":"","Volumes":null,
              "WorkingDir":"/w","Entrypoint":null,"OnBuild":null,"Shell":["ash","-c"],"Labels":{{"k":"v"}},"StopSignal":"SIGQUIT"}},
            "rootfs":{{"type":"layers","diff_ids":["sha256:{}"]}},"history":[{{"created_by":"x","empty_layer":true}}]}}"#,
            "a".repeat(64)
        );
        let parsed = Configuration::parse(json.as_bytes()).unwrap();
        assert_eq!((parsed.architecture.as_str(), parsed.os.as_str()), ("amd64", "linux"));
        assert_eq!(parsed.created.unwrap().to_string(), "2024-05-01T10:11:12.123456789Z");
        assert_eq!(parsed.layers[0].hex(), "a".repeat(64));
        let expected = ImageConfig {
            env: vec!["A=b=c".into(), "D=".into()],
            cmd: vec!["sh".into(), "-c".into(), "x".into()],
            working_dir: Some("/w".into()),
            stop_signal: Some("SIGQUIT".into()),
            exposed_ports: vec!["443/tcp".into(), "80/tcp".into()],
            labels: [("k".to_owned(), "v".to_owned())].into(),
            healthcheck: Some(Healthcheck {
                test: vec!["CMD".into(), "true".into()],
                interval: Some(Duration::from_secs(5)),
                retries: Some(3),
                ..Healthcheck::default()
            }),
            shell: vec!["ash".into(), "-c".into()],
            args_escaped: true,
            ..ImageConfig::default()
        };
        assert_eq!(parsed.config, expected);
        let step = Step { created_by: "x".into(), empty_layer: true, ..Step::default() };
        assert_eq!((parsed.author.clone(), parsed.variant.clone(), parsed.history.clone()), (None, None, vec![step]));
        assert_eq!(Configuration::parse(&parsed.to_json()).unwrap(), parsed);
    }

    #[test]
    fn old_and_sparse_ones_are_understood() {
        let parsed = Configuration::parse(br#"{"rootfs":{"diff_ids":null},"config":{"Cmd":"sh","Env":null}}"#).unwrap();
        assert_eq!(parsed.config.cmd, ["sh"]);
        assert_eq!((parsed.os.as_str(), parsed.layers.len()), ("", 0));
        assert!(Configuration::parse(br#"{"rootfs":{},"config":null}"#).is_ok());
        // What is no image has no root.
        assert!(Configuration::parse(b"{}").is_err());
    }

    #[test]
    fn malformed_configurations_are_refused() {
        let json = r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["sha256:12"]}}"#;
        assert!(matches!(Configuration::parse(json.as_bytes()), Err(ConfigurationError::DiffId(_))));
        assert!(matches!(Configuration::parse(b"{"), Err(ConfigurationError::Json(_))));
    }
}
