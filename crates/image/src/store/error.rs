//! How the operations of the store fail, one type for each.

use casemate_model::{Classify, ContainerId, Digest, ErrorClass};
use casemate_tree::UnpackError;

use super::records::RecordsError;
use crate::archive::ArchiveError;
use crate::compression::Compression;
use crate::configuration::ConfigurationError;
use crate::disk::DiskError;
use crate::reference::ParseReferenceError;

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot open the image store")]
    Disk(#[from] DiskError),
    #[error("cannot open the image store")]
    Records(#[from] RecordsError),
}

impl Classify for OpenError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Disk(source) => source.class(),
            Self::Records(source) => source.class(),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error("cannot unpack the layer {diff_id}")]
    Unpack { diff_id: Digest, source: UnpackError },
    #[error("cannot read the layer {diff_id}")]
    ReadLayer { diff_id: Digest, source: std::io::Error },
    #[error("the layer {diff_id} is compressed with {compression}, which is not supported")]
    LayerCompression { diff_id: Digest, compression: Compression },
    #[error("the layer {blob} has the uncompressed digest {actual}, not {expected} as its image says")]
    DiffId { blob: Digest, expected: Digest, actual: Digest },
    #[error(transparent)]
    Records(#[from] RecordsError),
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl Classify for LoadError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Archive(source) => source.class(),
            Self::Unpack { source, .. } => source.class(),
            Self::ReadLayer { source, .. } => match source.kind() {
                std::io::ErrorKind::OutOfMemory => ErrorClass::ResourceExhausted,
                // The file was just written whole: it is its content that fails.
                _ => ErrorClass::Protocol,
            },
            Self::LayerCompression { .. } | Self::DiffId { .. } => ErrorClass::Protocol,
            Self::Records(source) => source.class(),
            Self::Disk(source) => source.class(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Archive(source) => source.hint(),
            _ => None,
        }
    }
}

/// The wording of what a user sees most is Docker's.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// `reference` has its tag, as Docker shows it.
    #[error("No such image: {reference}")]
    NotFound { reference: String },
    #[error(transparent)]
    Reference(#[from] ParseReferenceError),
    #[error("syntax error in pattern {pattern:?}")]
    Pattern { pattern: String },
    #[error("{prefix:?} is the beginning of more than one image's id")]
    Ambiguous { prefix: String },
    #[error("the image {id} is damaged: its configuration has another digest")]
    Damaged { id: Digest },
    #[error("the image {id} is damaged")]
    Configuration { id: Digest, source: ConfigurationError },
    #[error(transparent)]
    Records(#[from] RecordsError),
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl Classify for ResolveError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::NotFound { .. } => ErrorClass::NotFound,
            Self::Reference(source) => source.class(),
            Self::Ambiguous { .. } | Self::Pattern { .. } => ErrorClass::InvalidArgument,
            Self::Damaged { .. } | Self::Configuration { .. } => ErrorClass::Internal,
            Self::Records(source) => source.class(),
            Self::Disk(source) => source.class(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Ambiguous { .. } => Some("give more digits of the id: casemate images".to_owned()),
            Self::Damaged { id } | Self::Configuration { id, .. } => {
                Some(format!("remove it and load it again: casemate rmi -f {}", id.short()))
            }
            _ => None,
        }
    }
}

/// The conflicts are in Docker's words.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// `reference` is as the user wrote it.
    #[error(
        "conflict: unable to remove repository reference {reference:?} (must force) \
         - container {} is using its referenced image {}",
        container.short(),
        image.short()
    )]
    NameInUse { reference: String, container: ContainerId, image: Digest },
    #[error(
        "conflict: unable to delete {} (cannot be forced) - image is being used by running container {}",
        image.short(),
        container.short()
    )]
    Running { image: Digest, container: ContainerId },
    #[error(
        "conflict: unable to delete {} (must be forced) - image is being used by stopped container {}",
        image.short(),
        container.short()
    )]
    Stopped { image: Digest, container: ContainerId },
    #[error("conflict: unable to delete {} (must be forced) - image is referenced in multiple repositories", image.short())]
    ManyNames { image: Digest },
    #[error(transparent)]
    Records(#[from] RecordsError),
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl Classify for RemoveError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Resolve(source) => source.class(),
            Self::NameInUse { .. } | Self::Running { .. } | Self::Stopped { .. } | Self::ManyNames { .. } => {
                ErrorClass::Conflict
            }
            Self::Records(source) => source.class(),
            Self::Disk(source) => source.class(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Resolve(source) => source.hint(),
            _ => None,
        }
    }
}
