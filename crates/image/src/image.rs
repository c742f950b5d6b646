//! What is known of an image. The forms in JSON are in `configuration`.

use std::collections::BTreeMap;
use std::time::Duration;

use casemate_model::Digest;
use jiff::Timestamp;

use crate::reference::Reference;

/// An image in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The digest of its configuration.
    pub id: Digest,
    pub manifest: Digest,
    /// Its tags; an image without any is reached by its id.
    pub names: Vec<Reference>,
    /// What registries call it: repositories with the digest of a manifest.
    pub digests: Vec<Reference>,
    /// The image that it was made from here, if it was.
    pub parent: Option<Digest>,
    /// When a name was given to it last.
    pub tagged: Option<Timestamp>,
    /// In Go's spelling, as everywhere in images: `amd64`, `arm64`.
    pub architecture: String,
    pub variant: Option<String>,
    pub os: String,
    pub created: Option<Timestamp>,
    pub author: Option<String>,
    pub comment: Option<String>,
    /// Sum of the sizes of the layers' files, in bytes.
    pub size: u64,
    pub config: ImageConfig,
    /// The layers' diff ids, lowest first.
    pub layers: Vec<Digest>,
    /// What was done to make it, the first step first.
    pub history: Vec<Step>,
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
    pub healthcheck: Option<Healthcheck>,
    /// What runs commands that are given as one text.
    pub shell: Vec<String>,
    /// Instructions for images made from this one.
    pub on_build: Vec<String>,
    /// Windows' command lines only.
    pub args_escaped: bool,
}

/// How the health of the image's containers is looked at; what is absent has
/// the engine's default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Healthcheck {
    /// `["CMD", …]`, `["CMD-SHELL", "…"]`, `["NONE"]`, or empty.
    pub test: Vec<String>,
    pub interval: Option<Duration>,
    pub timeout: Option<Duration>,
    pub start_period: Option<Duration>,
    pub start_interval: Option<Duration>,
    pub retries: Option<u32>,
}

/// One step of an image's making.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    pub created: Option<Timestamp>,
    pub created_by: String,
    pub author: String,
    pub comment: String,
    /// It changed the configuration and no file.
    pub empty_layer: bool,
}
