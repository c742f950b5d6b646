//! What a container needs to know of an image, read from the image's
//! configuration. The OCI types end here.

use std::collections::BTreeMap;

use casemate_model::{Digest, ParseDigestError};
use jiff::Timestamp;
use oci_spec::image::ImageConfiguration;

use crate::reference::Reference;

/// An image in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The digest of its configuration.
    pub id: Digest,
    pub manifest: Digest,
    /// Its tags; an image without any is reached by its id.
    pub names: Vec<Reference>,
    /// In Go's spelling, as everywhere in images: `amd64`, `arm64`.
    pub architecture: String,
    pub created: Option<Timestamp>,
    /// Sum of the sizes of the layers' files, in bytes.
    pub size: u64,
    pub config: ImageConfig,
    /// The layers' diff ids, lowest first.
    pub layers: Vec<Digest>,
}

/// The defaults an image has for its containers. Empty text counts as unset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageConfig {
    /// `NAME=value`, in the image's order.
    pub env: Vec<String>,
    pub cmd: Vec<String>,
    pub entrypoint: Vec<String>,
    pub working_dir: Option<String>,
    pub user: Option<String>,
    pub stop_signal: Option<String>,
    /// `80/tcp`, sorted.
    pub exposed_ports: Vec<String>,
    /// Paths in the container, sorted.
    pub volumes: Vec<String>,
    pub labels: BTreeMap<String, String>,
}

/// A configuration, parsed.
pub(crate) struct Configuration {
    pub(crate) architecture: String,
    pub(crate) os: String,
    pub(crate) created: Option<Timestamp>,
    pub(crate) config: ImageConfig,
    pub(crate) layers: Vec<Digest>,
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigurationError {
    #[error("not the JSON of an image configuration")]
    Json(#[from] serde_json::Error),
    #[error("a layer's diff id is malformed")]
    DiffId(#[from] ParseDigestError),
}

impl Configuration {
    pub(crate) fn parse(json: &[u8]) -> Result<Self, ConfigurationError> {
        let raw: ImageConfiguration = serde_json::from_slice(json)?;
        let layers = raw.rootfs().diff_ids().iter().map(|id| id.parse()).collect::<Result<_, _>>()?;
        Ok(Self {
            architecture: raw.architecture().to_string(),
            os: raw.os().to_string(),
            // A date that cannot be read says nothing about the content.
            created: raw.created().as_ref().and_then(|text| text.parse().ok()),
            config: raw.config().as_ref().map(ImageConfig::from_oci).unwrap_or_default(),
            layers,
        })
    }
}

impl ImageConfig {
    fn from_oci(raw: &oci_spec::image::Config) -> Self {
        let text = |value: &Option<String>| value.clone().filter(|text| !text.is_empty());
        let list = |value: &Option<Vec<String>>| value.clone().unwrap_or_default();
        let sorted = |value: &Option<Vec<String>>| {
            let mut list = list(value);
            list.sort();
            list
        };
        Self {
            env: list(raw.env()),
            cmd: list(raw.cmd()),
            entrypoint: list(raw.entrypoint()),
            working_dir: text(raw.working_dir()),
            user: text(raw.user()),
            stop_signal: text(raw.stop_signal()),
            exposed_ports: sorted(raw.exposed_ports()),
            volumes: sorted(raw.volumes()),
            labels: raw.labels().iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect(),
        }
    }
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
              "Cmd":["sh","-c","x"],"Healthcheck":{{"Test":["CMD","true"]}},"ArgsEscaped":true,"Image":"","Volumes":null,
              "WorkingDir":"/w","Entrypoint":null,"OnBuild":null,"Labels":{{"k":"v"}},"StopSignal":"SIGQUIT"}},
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
            ..ImageConfig::default()
        };
        assert_eq!(parsed.config, expected);
    }

    #[test]
    fn malformed_configurations_are_refused() {
        let json = r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["sha256:12"]}}"#;
        assert!(matches!(Configuration::parse(json.as_bytes()), Err(ConfigurationError::DiffId(_))));
        assert!(matches!(Configuration::parse(b"{"), Err(ConfigurationError::Json(_))));
    }
}
