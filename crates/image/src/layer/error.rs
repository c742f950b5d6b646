//! What can go wrong when a layer is unpacked.

use std::io;

use casemate_model::{Classify, ErrorClass};
use rustix::io::Errno;

use crate::tarball::TarError;

/// Paths are those within the layer, as its tar stream has them.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    #[error("the layer is damaged")]
    Tar(#[from] TarError),
    #[error("the layer's entry {path:?} is not within its root")]
    Escape { path: String },
    #[error("the layer's entry {path:?} has a malformed name")]
    Name { path: String },
    #[error("the layer's whiteout {path:?} hides nothing that can exist")]
    Whiteout { path: String },
    #[error("a parent of the layer's entry {path:?} is not a directory")]
    Parent { path: String, source: io::Error },
    #[error("the layer's entry {path:?} links to {target:?}, which the layer does not hold")]
    HardLink { path: String, target: String, source: io::Error },
    #[error("the layer's entry {path:?} is of the unknown type {typeflag:#04x}")]
    Type { path: String, typeflag: u8 },
    #[error("the layer has more than {limit} entries")]
    TooManyEntries { limit: u64 },
    #[error("the layer is larger than {limit} bytes")]
    TooMuch { limit: u64 },
    #[error("the names of the layer's directories are longer than {limit} bytes together")]
    DirectoryNames { limit: usize },
    #[error("cannot {operation} for the layer's entry {path:?}")]
    Entry { operation: &'static str, path: String, source: io::Error },
}

impl UnpackError {
    pub(super) fn entry(operation: &'static str, path: &[u8], source: impl Into<io::Error>) -> Self {
        Self::Entry { operation, path: lossy(path), source: source.into() }
    }
}

impl Classify for UnpackError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Tar(source) => source.class(),
            Self::Entry { source, .. } => match Errno::from_io_error(source) {
                // The image asks for a name or a size that the file system does not have.
                Some(Errno::NAMETOOLONG | Errno::INVAL | Errno::FBIG) => ErrorClass::Protocol,
                _ => crate::disk::class_of(source),
            },
            Self::Escape { .. }
            | Self::Name { .. }
            | Self::Whiteout { .. }
            | Self::Parent { .. }
            | Self::HardLink { .. }
            | Self::Type { .. }
            | Self::TooManyEntries { .. }
            | Self::TooMuch { .. }
            | Self::DirectoryNames { .. } => ErrorClass::Protocol,
        }
    }
}

pub(super) fn lossy(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}
