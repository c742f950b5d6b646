//! What can go wrong when a stream is unpacked.

use std::io;

use casemate_model::{Classify, ErrorClass};
use rustix::io::Errno;

use crate::error::{class_of, lossy};
use crate::tarball::TarError;

/// Paths are those within the root, as the tar stream has them.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    #[error("the archive is damaged")]
    Tar(#[from] TarError),
    #[error("the entry {path:?} is not within its root")]
    Escape { path: String },
    #[error("the entry {path:?} has a malformed name")]
    Name { path: String },
    #[error("the whiteout {path:?} hides nothing that can exist")]
    Whiteout { path: String },
    #[error("a parent of the entry {path:?} is not a directory")]
    Parent { path: String, source: io::Error },
    #[error("the entry {path:?} links to {target:?}, which is not there")]
    HardLink { path: String, target: String, source: io::Error },
    #[error("the entry {path:?} is of the unknown type {typeflag:#04x}")]
    Type { path: String, typeflag: u8 },
    #[error("the archive has more than {limit} entries")]
    TooManyEntries { limit: u64 },
    #[error("the archive is larger than {limit} bytes")]
    TooMuch { limit: u64 },
    #[error("the names of the archive's directories are longer than {limit} bytes together")]
    DirectoryNames { limit: usize },
    /// In Docker's words.
    #[error("cannot overwrite directory {path:?} with non-directory {destination:?}")]
    OverwriteDirectory { path: String, destination: String },
    #[error("cannot overwrite non-directory {path:?} with directory {destination:?}")]
    OverwriteNonDirectory { path: String, destination: String },
    #[error("cannot {operation} for the entry {path:?}")]
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
                _ => class_of(source),
            },
            // As dockerd has it.
            Self::OverwriteDirectory { .. } | Self::OverwriteNonDirectory { .. } => ErrorClass::Internal,
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
