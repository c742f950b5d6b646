//! The images of one engine, on its disk.
//!
//! ```text
//! <root>/images/
//!   lock                     held while anything below is put in place or removed
//!   images.json              which images there are, with their names
//!   blobs/sha256/<hex>       manifests, configurations, layers as they came
//!   layers/<diff id>/
//!     diff/                  the layer unpacked, as overlayfs wants it
//!     layer.json             its sizes
//!     layer.erofs            the same as an image; made when first asked for
//!   staging/<random>/        work of one process, which holds a lock on it
//! ```
//!
//! Any number of processes may use one store. Everything is made in a staging
//! directory and put in place, under the lock, by renaming; `images.json`,
//! replaced last, is what makes it count. A process that dies leaves a staging
//! directory whose lock nobody holds. The next that opens the store or puts
//! something in place removes it, with whatever its journal says it had put in
//! place without finishing.
//!
//! Readers take no lock: they see `images.json` before or after a change.
//! Whoever uses layers takes a [`Hold`] on them, or has them named in a
//! container's record, which the engine reports when something is removed.
//!
//! Durability: a load syncs the file system once before it puts anything in
//! place, `images.json` is synced before and after its rename; what `load` has
//! reported survives a power cut.

mod commit;
mod erofs;
mod error;
mod history;
mod hold;
mod layers;
mod list;
mod load;
mod make;
mod prune;
mod receive;
mod records;
mod remove;
mod resolve;
mod save;
mod spool;
mod staging;
mod tag;

pub use erofs::{ErofsError, ErofsImage};
pub use error::{LoadError, OpenError, RemoveError, ResolveError};
pub use history::HistoryRow;
pub use hold::Hold;
pub use list::{ImageSummary, LabelFilter, ListFilter};
pub use load::{LoadProgress, LoadedImage};
pub use make::{ImportError, ImportRequest, MakeRequest};
pub use prune::{PruneFilter, Pruned};
pub(crate) use receive::{Incoming, Needs, Place, Progress};
pub use records::RecordsError;
pub use remove::{Removed, User, Users};
pub use resolve::ImageRow;
pub use save::SaveError;
pub use tag::TagError;

use std::fs::{self, File};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use casemate_model::Digest;
use rustix::fs::{FlockOperation, flock};

use crate::disk::DiskError;
use crate::limits::Limits;

/// Cheap to clone; clones are the same store.
#[derive(Clone, Debug)]
pub struct Store {
    directory: PathBuf,
    limits: Limits,
}

/// The right to put things in place and to remove them; ends with the value.
struct Lock(#[expect(dead_code, reason = "an open file is what holds the lock")] File);

impl Store {
    /// Opens the store below the engine's directory, and makes it if there is
    /// none. What dead processes left is removed.
    pub fn open(root: &Path) -> Result<Self, OpenError> {
        let directory = root.join("images");
        let store = Self { directory, limits: Limits::default() };
        for directory in [store.blobs(), store.layers(), store.staging()] {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&directory)
                .map_err(|e| DiskError::new("make the directory", &directory, e))?;
        }
        let staging = store.staging();
        let mut leftovers = fs::read_dir(&staging).map_err(|e| DiskError::new("read", &staging, e))?;
        if leftovers.next().is_some() {
            let lock = store.lock()?;
            store.clean(&lock)?;
        }
        Ok(store)
    }

    /// Where a layer is, or would be: the directory for overlayfs.
    pub fn layer_dir(&self, diff_id: &Digest) -> PathBuf {
        self.layer(diff_id).join("diff")
    }

    pub(crate) fn limits(&self) -> Limits {
        self.limits.clone()
    }

    fn lock(&self) -> Result<Lock, DiskError> {
        let path = self.directory.join("lock");
        let file = File::options().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = file.map_err(|e| DiskError::new("open", &path, e))?;
        flock(&file, FlockOperation::LockExclusive).map_err(|e| DiskError::new("lock", &path, e))?;
        Ok(Lock(file))
    }

    fn blobs(&self) -> PathBuf {
        self.directory.join("blobs/sha256")
    }

    fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.hex())
    }

    fn layers(&self) -> PathBuf {
        self.directory.join("layers")
    }

    fn layer(&self, diff_id: &Digest) -> PathBuf {
        self.layers().join(diff_id.hex())
    }

    fn staging(&self) -> PathBuf {
        self.directory.join("staging")
    }

    fn records(&self) -> PathBuf {
        self.directory.join("images.json")
    }
}

#[cfg(test)]
mod tests;
