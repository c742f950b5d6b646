//! Files on their way into the store, each under its digest, in a directory of
//! a staging directory.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use casemate_model::Digest;

use super::Store;
use super::staging::Staging;
use crate::archive::{Blob, Fetch, Keep};
use crate::compression::Compression;
use crate::disk::DiskError;
use crate::hash::digest_of;

#[derive(Clone, Debug)]
pub(crate) struct Spool {
    directory: PathBuf,
}

impl Spool {
    pub(super) fn new(staging: &Staging) -> Result<Self, DiskError> {
        Ok(Self { directory: staging.directory("blobs")? })
    }

    pub(super) fn directory(&self) -> PathBuf {
        self.directory.clone()
    }

    pub(super) fn path(&self, digest: &Digest) -> PathBuf {
        self.directory.join(digest.hex())
    }

    pub(super) fn file(&self, blob: &Blob) -> Result<File, DiskError> {
        let path = self.path(&blob.digest);
        File::open(&path).map_err(|e| DiskError::new("open", &path, e))
    }

    pub(super) fn add(&self, bytes: &[u8]) -> Result<Digest, DiskError> {
        let digest = digest_of(bytes);
        let path = self.path(&digest);
        fs::write(&path, bytes).map_err(|e| DiskError::new("write", &path, e))?;
        Ok(digest)
    }

    /// Has the blob that the store has, too, whatever becomes of that. False if
    /// the store does not have it.
    pub(super) fn link(&self, store: &Store, digest: &Digest) -> Result<bool, DiskError> {
        match fs::hard_link(store.blob(digest), self.path(digest)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(DiskError::new("link to", &store.blob(digest), error)),
        }
    }

    /// What the spool has under the digest.
    pub(super) fn blob(&self, digest: &Digest) -> Result<Blob, DiskError> {
        let path = self.path(digest);
        let size = fs::metadata(&path).map_err(|e| DiskError::new("look at", &path, e))?.len();
        Ok(Blob { digest: digest.clone(), size })
    }

    pub(super) fn compression(&self, blob: &Blob) -> Result<Compression, DiskError> {
        Compression::of(self.file(blob)?).map_err(|e| DiskError::new("read", &self.path(&blob.digest), e))
    }
}

impl Keep for Spool {
    type File = tempfile::NamedTempFile;

    fn create(&mut self) -> Result<Self::File, DiskError> {
        tempfile::NamedTempFile::new_in(&self.directory)
            .map_err(|e| DiskError::new("make a file in", &self.directory, e))
    }

    fn keep(&mut self, file: Self::File, blob: &Blob) -> Result<(), DiskError> {
        let path = self.path(&blob.digest);
        file.persist(&path).map_err(|e| DiskError::new("make", &path, e.error))?;
        Ok(())
    }

    fn place(&self) -> &Path {
        &self.directory
    }
}

impl Fetch for Spool {
    fn open(&self, blob: &Blob) -> Result<impl Read, DiskError> {
        self.file(blob)
    }
}
