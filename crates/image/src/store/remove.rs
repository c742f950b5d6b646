//! Removing names and images, and what nobody needs after that.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use casemate_model::Digest;

use super::hold::claim;
use super::records::{ImageRecord, Records};
use super::resolve::Match;
use super::staging::remove_path;
use super::{Lock, RemoveError, Store};
use crate::disk::DiskError;
use crate::reference::Reference;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    pub untagged: Vec<Reference>,
    /// The image, if no name of it was left.
    pub deleted: Option<Digest>,
}

impl Store {
    /// Takes a name from its image, or removes an image that is given by its id
    /// (with several names: only if `force`). An image without names goes, with
    /// every layer that no other image has, that no process holds and that
    /// `in_use` does not claim for a container.
    pub fn remove(
        &self,
        reference: &str,
        force: bool,
        in_use: &dyn Fn(&Digest) -> bool,
    ) -> Result<Removed, RemoveError> {
        let lock = self.lock()?;
        let mut records = self.read_records()?;
        let (id, untagged) = match records.find(reference)? {
            Match::Name(image, name) => (image.id.clone(), vec![name]),
            Match::Id(image) if image.names.len() > 1 && !force => {
                return Err(RemoveError::ManyNames { short: image.id.short().to_owned() });
            }
            Match::Id(image) => (image.id.clone(), image.names.clone()),
        };
        let deleted = records.take_names(&id, &untagged).then_some(id);
        self.write_records(&lock, &records)?;
        self.sweep_locked(&lock, &records, in_use)?;
        Ok(Removed { untagged, deleted })
    }

    /// Removes blobs and layers that no image has, as [`Store::remove`] does:
    /// when a container is removed, its image's layers may have become free.
    pub fn sweep(&self, in_use: &dyn Fn(&Digest) -> bool) -> Result<(), RemoveError> {
        let lock = self.lock()?;
        let records = self.read_records()?;
        self.sweep_locked(&lock, &records, in_use)
    }

    fn sweep_locked(
        &self,
        lock: &Lock,
        records: &Records,
        in_use: &dyn Fn(&Digest) -> bool,
    ) -> Result<(), RemoveError> {
        // What goes is first moved aside: a layer is either whole or not there.
        let trash = self.stage_locked(lock)?;
        for_each_digest(&self.layers(), &mut |path, diff_id| {
            if records.uses_layer(diff_id) || in_use(diff_id) {
                return Ok(());
            }
            let Some(_claim) = claim(path)? else {
                return Ok(());
            };
            let to = trash.path().join(diff_id.hex());
            fs::rename(path, &to).map_err(|e| DiskError::new("move aside", path, e))
        })?;
        for_each_digest(&self.blobs(), &mut |path, digest| {
            if records.uses_blob(digest) { Ok(()) } else { remove_path(path) }
        })?;
        Ok(())
    }
}

impl Records {
    /// True if the image is gone with its last name.
    fn take_names(&mut self, id: &Digest, names: &[Reference]) -> bool {
        let before = self.images.len();
        self.images.retain_mut(|image: &mut ImageRecord| {
            if image.id != *id {
                return true;
            }
            image.names.retain(|name| !names.contains(name));
            !image.names.is_empty()
        });
        self.images.len() < before
    }
}

/// Entries of the store's directories are named by digests; others are not its.
fn for_each_digest(
    directory: &Path,
    visit: &mut dyn FnMut(&Path, &Digest) -> Result<(), DiskError>,
) -> Result<(), DiskError> {
    let failed = |e| DiskError::new("read", directory, e);
    for entry in fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().map(OsStr::as_bytes).map(String::from_utf8_lossy).unwrap_or_default();
        if let Ok(digest) = format!("sha256:{name}").parse() {
            visit(&path, &digest)?;
        }
    }
    Ok(())
}
