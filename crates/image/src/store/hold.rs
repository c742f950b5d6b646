//! Keeping layers from being removed while they are in use.
//!
//! A hold is a shared flock on each layer's directory; a layer is removed only
//! by whoever gets the exclusive one, and without waiting for it. Holds of a
//! process end with it.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use casemate_model::Digest;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::{ResolveError, Store};
use crate::disk::DiskError;
use crate::image::Image;

/// The layers stay as long as this value does.
#[derive(Debug)]
pub struct Hold(#[expect(dead_code, reason = "open files are what holds the locks")] Vec<LayerHold>);

#[derive(Debug)]
pub(super) struct LayerHold(#[expect(dead_code, reason = "an open file is what holds the lock")] File);

impl Store {
    /// Holds an image's layers, from before they are used until the record of a
    /// container that names them is written. The image may have been removed
    /// since it was resolved: that is [`ResolveError::NotFound`].
    pub fn hold(&self, image: &Image) -> Result<Hold, ResolveError> {
        let hold = |diff_id: &Digest| match self.hold_layer(diff_id)? {
            Some(hold) => Ok(hold),
            None => Err(ResolveError::NotFound { reference: image.id.to_string() }),
        };
        image.layers.iter().map(hold).collect::<Result<_, _>>().map(Hold)
    }

    /// None if there is no such layer.
    pub(super) fn hold_layer(&self, diff_id: &Digest) -> Result<Option<LayerHold>, DiskError> {
        let path = self.layer(diff_id);
        let directory = match File::open(&path) {
            Ok(directory) => directory,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(DiskError::new("open", &path, error)),
        };
        flock(&directory, FlockOperation::LockShared).map_err(|e| DiskError::new("lock", &path, e))?;
        // It may have been removed between the two.
        let is_there = is_at(&directory, &path).map_err(|e| DiskError::new("look at", &path, e))?;
        Ok(is_there.then_some(LayerHold(directory)))
    }
}

fn is_at(directory: &File, path: &Path) -> io::Result<bool> {
    let ours = directory.metadata()?;
    match path.metadata() {
        Ok(there) => Ok((there.dev(), there.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The right to remove a layer's directory, if nobody holds it.
pub(super) fn claim(path: &Path) -> Result<Option<File>, DiskError> {
    let directory = File::open(path).map_err(|e| DiskError::new("open", path, e))?;
    match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(directory)),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(DiskError::new("lock", path, error)),
    }
}
