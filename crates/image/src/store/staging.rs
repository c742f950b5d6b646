//! Directories for work in progress, and the removal of those whose process is
//! gone.
//!
//! A staging directory belongs to the process that holds an flock on it: the
//! kernel lets go of that whatever way the process ends. It is made and locked
//! while the store's lock is held, so whoever holds that lock and can lock a
//! staging directory has found one without an owner.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use casemate_model::Digest;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::records::RecordsError;
use super::{Lock, Store};
use crate::disk::{DiskError, replace_file};

const JOURNAL: &str = "journal.json";

/// Removed with all its content when it goes out of scope.
#[derive(Debug)]
pub(crate) struct Staging {
    path: PathBuf,
    _owned: File,
}

/// What is about to be put in place: written before, so that it can be taken
/// back if the records that use it were never written.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Journal {
    blobs: Vec<String>,
    layers: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum CleanError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    Records(#[from] RecordsError),
}

impl From<CleanError> for super::OpenError {
    fn from(error: CleanError) -> Self {
        match error {
            CleanError::Disk(error) => Self::Disk(error),
            CleanError::Records(error) => Self::Records(error),
        }
    }
}

impl From<CleanError> for super::LoadError {
    fn from(error: CleanError) -> Self {
        match error {
            CleanError::Disk(error) => Self::Disk(error),
            CleanError::Records(error) => Self::Records(error),
        }
    }
}

impl Staging {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A directory in it.
    pub(super) fn directory(&self, name: &str) -> Result<PathBuf, DiskError> {
        let path = self.path.join(name);
        fs::create_dir_all(&path).map_err(|e| DiskError::new("make the directory", &path, e))?;
        Ok(path)
    }

    pub(super) fn write_journal(&self, journal: &Journal) -> Result<(), DiskError> {
        let json = serde_json::to_vec(journal).expect("a journal is lists of text");
        replace_file(&self.path.join(JOURNAL), &self.path.join("journal.json.new"), &json)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // What cannot be removed now is what the next process finds.
        let _ = remove_path(&self.path);
    }
}

impl Journal {
    pub(super) fn blob(&mut self, digest: &Digest) {
        self.blobs.push(digest.hex().to_owned());
    }

    pub(super) fn layer(&mut self, diff_id: &Digest) {
        self.layers.push(diff_id.hex().to_owned());
    }
}

impl Store {
    pub(super) fn stage(&self) -> Result<Staging, DiskError> {
        let lock = self.lock()?;
        self.stage_locked(&lock)
    }

    pub(super) fn stage_locked(&self, _lock: &Lock) -> Result<Staging, DiskError> {
        let staging = self.staging();
        let path = tempfile::Builder::new().prefix("").rand_bytes(12).tempdir_in(&staging);
        let path = path.map_err(|e| DiskError::new("make a directory in", &staging, e))?.keep();
        let owned = File::open(&path).map_err(|e| DiskError::new("open", &path, e))?;
        flock(&owned, FlockOperation::NonBlockingLockExclusive).map_err(|e| DiskError::new("lock", &path, e))?;
        Ok(Staging { path, _owned: owned })
    }

    /// Takes back what dead processes began and removes what they left.
    pub(super) fn clean(&self, lock: &Lock) -> Result<(), CleanError> {
        let staging = self.staging();
        let failed = |e| DiskError::new("read", &staging, e);
        for entry in fs::read_dir(&staging).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let directory = match File::open(&path) {
                Ok(directory) => directory,
                // Its owner was just done with it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(DiskError::new("open", &path, error).into()),
            };
            match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => continue,
                Err(error) => return Err(DiskError::new("lock", &path, error).into()),
            }
            self.take_back(lock, &path)?;
            remove_path(&path)?;
        }
        Ok(())
    }

    /// Removes what the staging directory's journal names and no record uses.
    pub(super) fn take_back(&self, _lock: &Lock, staging: &Path) -> Result<(), CleanError> {
        let path = staging.join(JOURNAL);
        let journal: Journal = match fs::read(&path) {
            // It is written whole, before anything is put in place.
            Ok(json) => serde_json::from_slice(&json).unwrap_or_default(),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(());
            }
            Err(error) => return Err(DiskError::new("read", &path, error).into()),
        };
        let records = self.read_records()?;
        let digests = |hex: &[String]| -> Vec<Digest> {
            hex.iter().filter_map(|hex| format!("sha256:{hex}").parse().ok()).collect()
        };
        for blob in digests(&journal.blobs).iter().filter(|blob| !records.uses_blob(blob)) {
            remove_path(&self.blob(blob))?;
        }
        for layer in digests(&journal.layers).iter().filter(|layer| !records.uses_layer(layer)) {
            remove_path(&self.layer(layer))?;
        }
        Ok(())
    }
}

/// Removes a file or a whole tree; it is no error if there is none.
pub(super) fn remove_path(path: &Path) -> Result<(), DiskError> {
    casemate_tree::remove(path).map_err(|e| DiskError::new("remove", path, e))
}
