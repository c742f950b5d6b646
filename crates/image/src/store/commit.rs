//! Putting a load's result in place.

use std::fs;

use casemate_model::Digest;

use super::records::ImageRecord;
use super::spool::Spool;
use super::staging::{Journal, Staging};
use super::{LoadError, Lock, Store};
use crate::disk::{DiskError, sync_directory};

impl Store {
    /// Moves blobs and layers from staging to their places and writes the
    /// records. On failure the store is as it was.
    pub(super) fn commit(&self, staging: &Staging, spool: &Spool, images: Vec<ImageRecord>) -> Result<(), LoadError> {
        let lock = self.lock()?;
        // What a dead process had put in place must not be taken for the store's.
        self.clean(&lock)?;
        let result = self.put_in_place(&lock, staging, spool, images);
        if result.is_err() {
            self.take_back(&lock, staging.path())?;
        }
        result
    }

    fn put_in_place(
        &self,
        lock: &Lock,
        staging: &Staging,
        spool: &Spool,
        images: Vec<ImageRecord>,
    ) -> Result<(), LoadError> {
        let mut records = self.read_records()?;
        let layers = staging.path().join("layers");
        let mut journal = Journal::default();
        let mut moves = Vec::new();
        for image in images.iter().filter(|image| records.with_id(&image.id).is_none()) {
            for digest in image.blobs() {
                if !self.blob(digest).exists() {
                    journal.blob(digest);
                    moves.push((spool.path(digest), self.blob(digest)));
                }
            }
            for diff_id in image.layers.iter().map(|layer| &layer.diff_id) {
                let staged: &Digest = diff_id;
                if !self.layer(staged).exists() {
                    journal.layer(staged);
                    moves.push((layers.join(staged.hex()), self.layer(staged)));
                }
            }
        }
        moves.sort();
        moves.dedup();
        staging.write_journal(&journal)?;
        for (from, to) in &moves {
            fs::rename(from, to).map_err(|e| DiskError::new("put in place", to, e))?;
        }
        sync_directory(&self.blobs())?;
        sync_directory(&self.layers())?;
        for image in images {
            records.put(image);
        }
        self.write_records(lock, &records)?;
        Ok(())
    }
}
