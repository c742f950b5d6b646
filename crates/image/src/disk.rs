//! Operations on the store's own files: errors that name the operation and the
//! path, and files that are either whole on the disk or not there.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use casemate_model::{Classify, ErrorClass};

#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {path:?}")]
pub struct DiskError {
    /// A verb, possibly with a preposition: it is followed by the path.
    pub operation: &'static str,
    pub path: PathBuf,
    pub source: io::Error,
}

impl DiskError {
    pub(crate) fn new(operation: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self { operation, path: path.to_owned(), source: source.into() }
    }
}

impl Classify for DiskError {
    fn class(&self) -> ErrorClass {
        class_of(&self.source)
    }
}

/// The class of a failure of the host's own files.
pub(crate) fn class_of(error: &io::Error) -> ErrorClass {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::OutOfMemory => {
            ErrorClass::ResourceExhausted
        }
        _ => ErrorClass::Internal,
    }
}

/// Replaces `path` by a file with these bytes. After a crash at any moment the
/// old file or the new one is there. `temporary` is a name beside it that only
/// this writer uses.
pub(crate) fn replace_file(path: &Path, temporary: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    let mut file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(temporary)
        .map_err(|e| DiskError::new("create", temporary, e))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|e| DiskError::new("write", temporary, e))?;
    fs::rename(temporary, path).map_err(|e| DiskError::new("replace", path, e))?;
    sync_parent(path)
}

/// Makes the entry of `path` in its directory survive a crash.
pub(crate) fn sync_parent(path: &Path) -> Result<(), DiskError> {
    match path.parent() {
        Some(parent) => sync_directory(parent),
        None => Ok(()),
    }
}

pub(crate) fn sync_directory(path: &Path) -> Result<(), DiskError> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(|e| DiskError::new("sync", path, e))
}
