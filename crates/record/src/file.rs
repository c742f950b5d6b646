//! Small JSON files, replaced whole.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use casemate_model::{Classify, ErrorClass};

/// The version of every record's format.
pub const VERSION: u32 = 1;

/// No record is larger; a larger file is not one of ours.
const MAX_RECORD: u64 = 16 << 20;

/// Whether a file must survive a power failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// On the disk when the call returns.
    Synced,
    /// Whole or not there, but perhaps lost with the machine: for what means
    /// nothing after a reboot.
    Ordered,
}

#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {path}")]
    Write { path: PathBuf, source: io::Error },
    #[error("{path} is damaged")]
    Damaged { path: PathBuf, source: serde_json::Error },
    #[error("{path} has format version {found}, this program knows {VERSION}")]
    Version { path: PathBuf, found: u32 },
    #[error("{path} has {length} bytes: too long for a record")]
    TooLong { path: PathBuf, length: u64 },
}

impl Classify for RecordError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Read { source, .. } | Self::Write { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => ErrorClass::NotFound,
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorClass::ResourceExhausted,
                _ => ErrorClass::Internal,
            },
            Self::Damaged { .. } | Self::Version { .. } | Self::TooLong { .. } => ErrorClass::Internal,
        }
    }
}

impl RecordError {
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// Every record has a `version`, which must be the one that this program knows.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T, RecordError> {
    let unreadable = |source| RecordError::Read { path: path.to_owned(), source };
    let length = fs::metadata(path).map_err(unreadable)?.len();
    if length > MAX_RECORD {
        return Err(RecordError::TooLong { path: path.to_owned(), length });
    }
    let bytes = fs::read(path).map_err(unreadable)?;
    let damaged = |source| RecordError::Damaged { path: path.to_owned(), source };
    // The version first: the rest of another version may look different.
    match serde_json::from_slice(&bytes).map_err(damaged)? {
        VersionOnly { version: VERSION } => serde_json::from_slice(&bytes).map_err(damaged),
        VersionOnly { version: found } => Err(RecordError::Version { path: path.to_owned(), found }),
    }
}

#[derive(Deserialize)]
struct VersionOnly {
    version: u32,
}

/// Replaces `path`. Its directory must not be written by anyone else under
/// the same name at the same time.
pub fn write<T: Serialize>(path: &Path, record: &T, durability: Durability) -> Result<(), RecordError> {
    let failed = |source| RecordError::Write { path: path.to_owned(), source };
    let bytes =
        serde_json::to_vec_pretty(record).map_err(|source| RecordError::Damaged { path: path.to_owned(), source })?;
    let temporary = path.with_extension("json.new");
    let mut file: File =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary).map_err(failed)?;
    file.write_all(&bytes).map_err(failed)?;
    if durability == Durability::Synced {
        file.sync_all().map_err(failed)?;
    }
    fs::rename(&temporary, path).map_err(failed)?;
    if let (Durability::Synced, Some(parent)) = (durability, path.parent()) {
        File::open(parent).and_then(|dir| dir.sync_all()).map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StateRecord;

    #[test]
    fn records_are_replaced_whole_and_checked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        assert!(read::<StateRecord>(&path).unwrap_err().is_missing());
        let state = StateRecord { exit_code: Some(3), ..StateRecord::created() };
        write(&path, &StateRecord::created(), Durability::Ordered).unwrap();
        write(&path, &state, Durability::Synced).unwrap();
        assert_eq!(read::<StateRecord>(&path).unwrap(), state);

        fs::write(&path, r#"{"version":1,"status":"runn"#).unwrap();
        assert!(matches!(read::<StateRecord>(&path), Err(RecordError::Damaged { .. })));
        write(&path, &StateRecord { version: 99, ..state }, Durability::Ordered).unwrap();
        assert!(matches!(read::<StateRecord>(&path), Err(RecordError::Version { found: 99, .. })));
        fs::write(&path, r#"{"version":2,"phase":7}"#).unwrap();
        assert!(matches!(read::<StateRecord>(&path), Err(RecordError::Version { found: 2, .. })));
    }
}
