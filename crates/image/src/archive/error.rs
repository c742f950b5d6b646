//! What can be wrong with an archive.

use casemate_model::{Classify, Digest, ErrorClass};
use casemate_tree::TarError;

use crate::compression::Compression;
use crate::configuration::ConfigurationError;
use crate::disk::DiskError;
use crate::reference::ParseReferenceError;

/// Paths are those within the archive.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("cannot read the archive")]
    Read(#[source] std::io::Error),
    #[error("{0} archives are not supported")]
    Compression(Compression),
    #[error("the archive is damaged")]
    Tar(#[from] TarError),
    #[error("the archive holds no image: it has neither index.json nor manifest.json")]
    NoImage,
    #[error("the archive has two different files {path:?}")]
    Duplicate { path: String },
    #[error("the archive has more than {limit} entries")]
    TooManyEntries { limit: usize },
    #[error("the archive is larger than {limit} bytes")]
    TooMuch { limit: u64 },
    #[error("the archive stores {path:?} as a sparse file")]
    Sparse { path: String },
    #[error("the archive lacks {path:?}")]
    Missing { path: String },
    #[error("{path:?} in the archive is larger than {limit} bytes")]
    TooLarge { path: String, limit: u64 },
    #[error("{path:?} in the archive has the digest {actual}, not {expected}")]
    Digest { path: String, expected: Digest, actual: Digest },
    #[error("{path:?} in the archive has {actual} bytes, not {expected}")]
    Size { path: String, expected: u64, actual: u64 },
    #[error("cannot parse {path:?} of the archive")]
    Json { path: String, source: serde_json::Error },
    #[error("cannot use the image configuration {path:?} of the archive")]
    Configuration { path: String, source: ConfigurationError },
    #[error("the archive names content by the digest {digest:?}, and only sha256 is supported")]
    DigestAlgorithm { digest: String },
    #[error("the archive names an image {name:?}")]
    Name { name: String, source: ParseReferenceError },
    #[error("the image configuration {path:?} lists {listed} layers, but the manifest gives {given}")]
    LayerCount { path: String, listed: usize, given: usize },
    #[error("the image {path:?} has more than {limit} layers")]
    TooManyLayers { path: String, limit: usize },
    #[error("the archive holds more than {limit} images, or names for one")]
    TooManyImages { limit: usize },
    #[error("the image {path:?} is for the operating system {os:?}, not for linux")]
    Os { path: String, os: String },
    #[error("the image {image} is for {offered}, and this host is {host}")]
    Platform { image: String, offered: String, host: String },
    #[error("the index {path:?} in the archive is nested too deep")]
    Nesting { path: String },
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl Classify for ArchiveError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Read(source) => crate::disk::class_of(source),
            Self::Tar(source) => source.class(),
            Self::Disk(source) => source.class(),
            Self::Compression(_) | Self::NoImage | Self::Os { .. } | Self::Platform { .. } => {
                ErrorClass::InvalidArgument
            }
            Self::TooManyEntries { .. }
            | Self::TooMuch { .. }
            | Self::TooLarge { .. }
            | Self::TooManyLayers { .. }
            | Self::TooManyImages { .. }
            | Self::Duplicate { .. }
            | Self::Sparse { .. }
            | Self::Missing { .. }
            | Self::Digest { .. }
            | Self::Size { .. }
            | Self::Json { .. }
            | Self::Configuration { .. }
            | Self::DigestAlgorithm { .. }
            | Self::Name { .. }
            | Self::LayerCount { .. }
            | Self::Nesting { .. } => ErrorClass::Protocol,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Compression(compression) => {
                Some(format!("decompress the archive first: {compression} -d < FILE | casemate load"))
            }
            _ => None,
        }
    }
}
