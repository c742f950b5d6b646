//! Removing names and images, and what nobody needs after that.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use casemate_model::{ContainerId, Digest};

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
    /// The image, if it is gone.
    pub deleted: Option<Digest>,
}

/// Those for whom images and layers stay. They must not become more while the
/// store removes something for them, but for containers that hold their layers
/// ([`super::Hold`]).
#[derive(Clone, Debug, Default)]
pub struct Users {
    pub containers: Vec<User>,
    /// There are containers of which nobody can tell what they stand on: no
    /// layer goes.
    pub some_unknown: bool,
}

/// A container, as far as the store is concerned.
#[derive(Clone, Debug)]
pub struct User {
    pub container: ContainerId,
    pub image: Digest,
    pub layers: Vec<Digest>,
    pub running: bool,
}

impl Users {
    pub(super) fn any(&self, image: &Digest) -> Option<&User> {
        self.containers.iter().find(|user| user.image == *image)
    }

    fn running(&self, image: &Digest) -> Option<&User> {
        self.containers.iter().find(|user| user.image == *image && user.running)
    }

    fn need(&self, layer: &Digest) -> bool {
        self.some_unknown || self.containers.iter().any(|user| user.layers.contains(layer))
    }
}

/// How far a removal goes.
struct Plan {
    id: Digest,
    untagged: Vec<Reference>,
    /// Whether the image goes with its names.
    delete: bool,
}

impl Store {
    /// Takes a name from its image, or removes an image that is given by its id,
    /// by Docker's rules (moby, `ImageService.ImageDelete`):
    ///
    /// - The last name of an image that containers use goes only by `force`.
    /// - An image goes with its last name, unless a container runs on it.
    /// - By its id an image with several names, or one that containers use, goes
    ///   only by `force`; one on which a container runs never does.
    ///
    /// With an image goes every layer that no other image has, that no process
    /// holds and that none of `users` stands on.
    pub fn remove(&self, reference: &str, force: bool, users: &Users) -> Result<Removed, RemoveError> {
        let lock = self.lock()?;
        let mut records = self.read_records()?;
        let Plan { id, untagged, delete } = match records.find(reference)? {
            Match::Name(image, name) if image.remaining(&name).next().is_some() => {
                Plan { id: image.id.clone(), untagged: image.going_with(name), delete: false }
            }
            Match::Name(image, name) => {
                if let (false, Some(user)) = (force, users.any(&image.id)) {
                    return Err(RemoveError::NameInUse {
                        reference: reference.to_owned(),
                        container: user.container.clone(),
                        image: image.id.clone(),
                    });
                }
                let delete = users.running(&image.id).is_none();
                Plan { id: image.id.clone(), untagged: image.going_with(name), delete }
            }
            Match::Id(image) => {
                let id = image.id.clone();
                if let Some(user) = users.running(&id) {
                    return Err(RemoveError::Running { image: id, container: user.container.clone() });
                }
                if !force && !image.has_one_name() {
                    return Err(RemoveError::ManyNames { image: id });
                }
                if let (false, Some(user)) = (force, users.any(&id)) {
                    return Err(RemoveError::Stopped { image: id, container: user.container.clone() });
                }
                Plan { id, untagged: image.names.iter().chain(&image.digests).cloned().collect(), delete: true }
            }
        };
        records.take(&id, &untagged, delete);
        self.write_records(&lock, &records)?;
        self.sweep_locked(&lock, &records, users)?;
        Ok(Removed { untagged, deleted: delete.then_some(id) })
    }

    /// Removes blobs and layers that no image has, as [`Store::remove`] does:
    /// when a container is removed, its image's layers may have become free.
    pub fn sweep(&self, users: &Users) -> Result<(), RemoveError> {
        let lock = self.lock()?;
        let records = self.read_records()?;
        self.sweep_locked(&lock, &records, users)
    }

    pub(super) fn for_each_layer(&self, visit: &mut dyn FnMut(&Digest)) -> Result<(), DiskError> {
        for_each_digest(&self.layers(), &mut |_, diff_id| {
            visit(diff_id);
            Ok(())
        })
    }

    fn sweep_locked(&self, lock: &Lock, records: &Records, users: &Users) -> Result<(), RemoveError> {
        // What goes is first moved aside: a layer is either whole or not there.
        let trash = self.stage_locked(lock)?;
        for_each_digest(&self.layers(), &mut |path, diff_id| {
            if records.uses_layer(diff_id) || users.need(diff_id) {
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
    /// Takes names from an image, or the image with them.
    fn take(&mut self, id: &Digest, names: &[Reference], image_too: bool) {
        if image_too {
            self.images.retain(|image| image.id != *id);
        }
        for image in self.images.iter_mut().filter(|image| image.id == *id) {
            image.names.retain(|name| !names.contains(name));
            image.digests.retain(|name| !names.contains(name));
        }
    }
}

impl ImageRecord {
    /// What goes with a name: after a repository's last tag its digests mean
    /// nothing to anyone.
    fn going_with(&self, name: Reference) -> Vec<Reference> {
        let is_last_tag =
            name.tag().is_some() && !self.names.iter().any(|other| *other != name && other.same_repository(&name));
        let digests = self.digests.iter().filter(|digest| is_last_tag && digest.same_repository(&name));
        let digests: Vec<Reference> = digests.cloned().collect();
        [name].into_iter().chain(digests).collect()
    }

    /// The names and digests that the image has without this name.
    fn remaining(&self, name: &Reference) -> impl Iterator<Item = &Reference> {
        let going = self.going_with(name.clone());
        self.names.iter().chain(&self.digests).filter(move |name| !going.contains(name))
    }

    /// A tag with the digest that it was pulled by is one name.
    fn has_one_name(&self) -> bool {
        match (self.names.as_slice(), self.digests.as_slice()) {
            ([], _) | ([_], []) => self.digests.len() <= 1,
            ([name], [digest]) => name.same_repository(digest),
            _ => false,
        }
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
