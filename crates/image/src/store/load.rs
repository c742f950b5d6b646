//! `load`: from an archive to images in the store.
//!
//! ```text
//! stage ─▶ keep the archive's files ─▶ plan ─▶ unpack what is new ─▶ sync ─▶ commit
//! ```
//! Whatever fails on the way, the staging directory goes and the store is as
//! it was.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use casemate_model::Digest;
use rustix::fs::syncfs;

use super::layers::Layers;
use super::spool::Spool;
use super::{LoadError, Store};
use crate::archive;
use crate::disk::DiskError;
use crate::reference::Reference;

/// What a load is doing. Calls come at least every 128 KiB of progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadProgress<'a> {
    /// Bytes of the archive's uncompressed tar stream read so far.
    Reading { bytes: u64 },
    /// Layer `layer` (from 1) of `layers`; `bytes` of its `of` bytes as the
    /// archive has them.
    Unpacking { layer: usize, layers: usize, diff_id: &'a Digest, bytes: u64, of: u64 },
    /// The store has that layer already.
    Exists { layer: usize, layers: usize, diff_id: &'a Digest },
}

/// An image that the archive held; now it is in the store, if it was not before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedImage {
    pub id: Digest,
    /// The names that the archive gave it.
    pub names: Vec<Reference>,
}

impl Store {
    /// Loads the images of an archive: `docker save`'s or an OCI layout, plain
    /// or compressed, from a stream that is read to its end. Either all of them
    /// are in the store afterwards, or nothing has changed.
    pub fn load(
        &self,
        archive: impl Read,
        progress: &mut dyn FnMut(LoadProgress<'_>),
    ) -> Result<Vec<LoadedImage>, LoadError> {
        let staging = {
            let lock = self.lock()?;
            self.clean(&lock)?;
            self.stage_locked(&lock)?
        };
        let mut spool = Spool::new(&staging)?;
        let report = &mut |bytes| progress(LoadProgress::Reading { bytes });
        let contents = archive::scan(archive, &mut spool, &self.limits, report)?;
        let planned = archive::plan(&contents, &spool, &self.limits)?;
        let mut layers = Layers::new(self, &staging, &spool)?;
        layers.stage_all(&planned, progress)?;
        let mut images = Vec::new();
        let mut loaded = Vec::new();
        for image in planned {
            loaded.push(LoadedImage { id: image.config.digest.clone(), names: image.names.clone() });
            images.push(layers.record(image)?);
        }
        sync_all(staging.path())?;
        self.commit(&staging, &spool, images)?;
        Ok(loaded)
    }

    /// Loads the archive at `path` unless the store has an image of that name.
    /// True if it was loaded now.
    pub fn load_builtin(&self, name: &Reference, path: &Path) -> Result<bool, LoadError> {
        if self.read_records()?.named(&name.clone().or_latest()).is_some() {
            return Ok(false);
        }
        let archive = File::open(path).map_err(|e| DiskError::new("open", path, e))?;
        self.load(archive, &mut |_| {})?;
        Ok(true)
    }
}

/// One sync for all files: fewer and larger writes than one for each.
pub(super) fn sync_all(staging: &Path) -> Result<(), DiskError> {
    let directory = File::open(staging).map_err(|e| DiskError::new("open", staging, e))?;
    syncfs(&directory).map_err(|e| DiskError::new("sync the file system of", staging, e))
}
