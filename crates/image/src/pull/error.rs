//! How a pull fails. What users and their scripts know is in Docker's words.

use casemate_model::{Classify, Digest, ErrorClass};
use casemate_registry::{ErrorCode, Refusal, RegistryError};

use crate::configuration::ConfigurationError;
use crate::platform::Platform;
use crate::reference::Reference;
use crate::store::{LoadError, RecordsError, ResolveError};

#[derive(Debug, thiserror::Error)]
pub enum PullError {
    #[error("'scratch' is a reserved name")]
    Reserved,
    #[error("pull access denied for {repository}, repository does not exist or may require 'docker login'")]
    Denied { repository: String, source: Refusal },
    #[error("manifest for {reference} not found")]
    ManifestUnknown { reference: String, source: Refusal },
    #[error("repository {repository} not found")]
    NameUnknown { repository: String, source: Refusal },
    #[error(transparent)]
    Registry(RegistryError),
    #[error("no endpoints found for {reference}")]
    NoEndpoint { reference: String },
    #[error("no matching manifest for {platform} in the manifest list entries")]
    Platform { platform: Platform },
    #[error("manifest verification failed for digest {digest}")]
    ManifestDigest { digest: Digest },
    #[error("image config verification failed for digest {digest}")]
    ConfigDigest { digest: Digest },
    #[error("filesystem layer verification failed for digest {digest}")]
    LayerDigest { digest: Digest },
    #[error("the registry sends more than the {expected} bytes of {digest}")]
    BlobSize { digest: Digest, expected: u64 },
    #[error("the registry sends {actual} of the {expected} bytes of {digest}")]
    BlobShort { digest: Digest, expected: u64, actual: u64 },
    #[error("{what} of {size} bytes is larger than {limit}")]
    TooLarge { what: &'static str, size: u64, limit: u64 },
    #[error("the image has {layers} layers, more than {limit}")]
    TooManyLayers { layers: usize, limit: usize },
    #[error("cannot parse the {what} of the image")]
    Json { what: &'static str, source: serde_json::Error },
    #[error("the manifest names content by the digest {digest:?}, and only sha256 is supported")]
    DigestAlgorithm { digest: String },
    #[error("the index of the image is nested too deep")]
    Nesting,
    #[error("unsupported media type {media_type}")]
    MediaType { media_type: String },
    #[error("unsupported manifest format")]
    Format,
    #[error(
        "Docker Image Format v1 and Docker Image manifest version 2, schema 1 support has been removed. Suggest the \
         author of {reference} to upgrade the image to the OCI Format or Docker Image manifest v2, schema 2. More \
         information at https://docs.docker.com/go/deprecated-image-specs/"
    )]
    Schema1 { reference: String },
    #[error("cannot use the image configuration {digest}")]
    Configuration { digest: Digest, source: ConfigurationError },
    #[error("layers from manifest don't match image configuration")]
    LayerCount,
    #[error("image operating system {os:?} cannot be used on this platform")]
    Os { os: String },
    #[error("failed to register layer")]
    Store(#[source] LoadError),
    #[error(transparent)]
    Records(#[from] RecordsError),
    #[error(transparent)]
    Resolve(ResolveError),
    /// Only ever seen by whoever cancelled.
    #[error("context canceled")]
    Cancelled,
}

impl PullError {
    /// A registry's refusal as Docker puts it (moby `translatePullError`).
    pub(super) fn of_registry(error: RegistryError, reference: &Reference) -> Self {
        let RegistryError::Refused { refusal } = error else {
            return Self::Registry(error);
        };
        let (repository, source) = (reference.repository(), refusal);
        match source.code {
            ErrorCode::Denied => Self::Denied { repository, source },
            ErrorCode::ManifestUnknown => Self::ManifestUnknown { reference: reference.to_string(), source },
            ErrorCode::NameUnknown => Self::NameUnknown { repository, source },
            _ => Self::Registry(RegistryError::Refused { refusal: source }),
        }
    }

    /// Whether a download may go on after it.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Registry(error) => error.is_transient(),
            Self::BlobShort { .. } => true,
            _ => false,
        }
    }
}

impl Classify for PullError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Denied { .. } | Self::ManifestUnknown { .. } | Self::NameUnknown { .. } | Self::Platform { .. } => {
                ErrorClass::NotFound
            }
            Self::Registry(source) => source.class(),
            Self::Reserved
            | Self::NoEndpoint { .. }
            | Self::MediaType { .. }
            | Self::Format
            | Self::Schema1 { .. }
            | Self::Os { .. } => ErrorClass::InvalidArgument,
            Self::ManifestDigest { .. }
            | Self::ConfigDigest { .. }
            | Self::LayerDigest { .. }
            | Self::BlobSize { .. }
            | Self::BlobShort { .. }
            | Self::TooLarge { .. }
            | Self::TooManyLayers { .. }
            | Self::Json { .. }
            | Self::DigestAlgorithm { .. }
            | Self::Nesting
            | Self::Configuration { .. }
            | Self::LayerCount => ErrorClass::Protocol,
            Self::Store(source) => source.class(),
            Self::Records(source) => source.class(),
            Self::Resolve(source) => source.class(),
            Self::Cancelled => ErrorClass::Internal,
        }
    }
}
