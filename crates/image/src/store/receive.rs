//! The store's half of a pull: a thread that stages what the downloads bring,
//! in the order of the layers, and puts the image in place at the end.
//!
//! ```text
//! stage ─▶ say what is needed ─▶ (per layer) wait for its download, unpack ─▶ sync ─▶ commit
//! ```
//! The staging directory is shared with the threads that write downloads into
//! it; the last of them to go removes it. A pull that is given up closes the
//! channel and sets the flag: then nothing is put in place.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use casemate_model::Digest;
use tokio::sync::{mpsc, oneshot};

use super::layers::Layers;
use super::load::sync_all;
use super::records::ImageRecord;
use super::spool::Spool;
use super::staging::Staging;
use super::{LoadError, RecordsError, Store};
use crate::archive::{Blob, PlannedImage, PlannedLayer, PlannedManifest};
use crate::disk::DiskError;
use crate::image::Image;
use crate::manifest;
use crate::pull::Cancelled;
use crate::reference::Reference;

/// An image as a registry describes it.
#[derive(Debug)]
pub(crate) struct Incoming {
    /// The name that it gets; none if it was asked for by digest.
    pub(crate) name: Option<Reference>,
    pub(crate) digest: Reference,
    pub(crate) config: Vec<u8>,
    pub(crate) manifest: Vec<u8>,
    pub(crate) architecture: String,
    pub(crate) created: Option<jiff::Timestamp>,
    /// Lowest first.
    pub(crate) layers: Vec<PlannedLayer>,
}

/// What the store lacks.
pub(crate) struct Needs {
    /// Of `Incoming::layers`, in order; each blob once.
    pub(crate) layers: Vec<usize>,
    pub(crate) place: Place,
}

/// Where downloads are written. It does not keep the staging directory.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    staging: Weak<Staging>,
    spool: Spool,
}

/// Keeps the staging directory as long as something is written to it.
pub(crate) struct Writing {
    _staging: Arc<Staging>,
    spool: Spool,
}

/// What becomes of a layer, by its place in `Incoming::layers`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Progress {
    Extracting { layer: usize, bytes: u64 },
    Complete { layer: usize },
}

impl Place {
    /// None if the pull is over.
    pub(crate) fn open(&self) -> Option<Writing> {
        let staging = self.staging.upgrade()?;
        Some(Writing { _staging: staging, spool: self.spool.clone() })
    }
}

impl Writing {
    pub(crate) fn directory(&self) -> PathBuf {
        self.spool.directory()
    }

    /// Where the blob is to be when it is complete and verified.
    pub(crate) fn path(&self, digest: &Digest) -> PathBuf {
        self.spool.path(digest)
    }
}

impl Store {
    /// The image that has this name and was pulled by this digest.
    pub(crate) fn is_current(&self, name: &Reference, digest: &Reference) -> Result<Option<Image>, RecordsError> {
        let records = self.read_records()?;
        let current = records.named(name).filter(|image| image.digests.contains(digest));
        Ok(current.and_then(|image| self.read_image(image).ok()))
    }

    /// Takes an image in. `arrived` brings each needed layer when its blob is
    /// in place; the result is the image's id, and whether its name is new to
    /// it.
    pub(crate) fn receive(
        &self,
        incoming: Incoming,
        cancelled: &Cancelled,
        needs: oneshot::Sender<Needs>,
        mut arrived: mpsc::Receiver<usize>,
        progress: &dyn Fn(Progress),
    ) -> Result<Option<(Digest, bool)>, LoadError> {
        let staging = {
            let lock = self.lock()?;
            self.clean(&lock)?;
            Arc::new(self.stage_locked(&lock)?)
        };
        let spool = Spool::new(&staging)?;
        let mut layers = Layers::new(self, &staging, &spool)?.cancelled_by(cancelled.flag());
        let needed = self.needed(&incoming, &mut layers, &spool)?;
        let place = Place { staging: Arc::downgrade(&staging), spool: spool.clone() };
        if needs.send(Needs { layers: needed.clone(), place }).is_err() {
            return Ok(None);
        }
        let mut ready = HashSet::new();
        for layer in needed {
            while !ready.contains(&layer) {
                match arrived.blocking_recv() {
                    Some(layer) => drop(ready.insert(layer)),
                    None => return Ok(None),
                }
            }
            let unpacked = layers.unpack(&incoming.layers[layer], &mut |bytes| {
                progress(Progress::Extracting { layer, bytes });
            });
            if cancelled.is_set() {
                return Ok(None);
            }
            unpacked?;
            progress(Progress::Complete { layer });
        }
        let record = self.describe(incoming, &layers, &spool)?;
        sync_all(staging.path())?;
        // The last moment to change one's mind.
        if cancelled.is_set() {
            return Ok(None);
        }
        let (id, name) = (record.id.clone(), record.names.first().cloned());
        let before = self.read_records()?;
        let is_new = match &name {
            Some(name) => before.named(name).is_none_or(|image| image.id != id),
            None => before.with_id(&id).is_none_or(|image| !image.digests.contains(&record.digests[0])),
        };
        self.commit(&staging, &spool, vec![record])?;
        Ok(Some((id, is_new)))
    }

    /// The layers to download: those that the store has are held instead.
    fn needed(&self, incoming: &Incoming, layers: &mut Layers<'_>, spool: &Spool) -> Result<Vec<usize>, LoadError> {
        let mut seen = HashSet::new();
        let mut needed = Vec::new();
        for (index, layer) in incoming.layers.iter().enumerate() {
            if !seen.insert(&layer.diff_id) {
                continue;
            }
            if layers.hold_stored(&layer.diff_id)? {
                let blob = layers.stored_blob(&layer.diff_id).cloned();
                if let Some(blob) = blob
                    && spool.link(self, &blob)?
                {
                    continue;
                }
                layers.forget(&layer.diff_id);
            }
            needed.push(index);
        }
        Ok(needed)
    }

    /// The image's record, its files being in the spool. The registry's manifest
    /// stays unless the store has a layer in another form.
    fn describe(&self, incoming: Incoming, layers: &Layers<'_>, spool: &Spool) -> Result<ImageRecord, LoadError> {
        let Incoming { name, digest, config, manifest, architecture, created, layers: offered } = incoming;
        let id = spool.add(&config)?;
        let mut kept: Vec<PlannedLayer> = Vec::new();
        for layer in &offered {
            let known = kept.iter().find(|known| known.diff_id == layer.diff_id).map(|known| known.blob.clone());
            let blob = match (known, layers.stored_blob(&layer.diff_id)) {
                (Some(blob), _) => blob,
                (None, Some(stored)) if spool.path(stored).exists() => spool.blob(stored)?,
                (None, _) => layer.blob.clone(),
            };
            kept.push(PlannedLayer { blob, diff_id: layer.diff_id.clone() });
        }
        let config = Blob { digest: id, size: config.len() as u64 };
        let manifest = match kept.iter().zip(&offered).all(|(kept, offered)| kept.blob.digest == offered.blob.digest) {
            true => manifest,
            false => {
                let with_form = kept.iter().map(|layer| Ok((layer.blob.clone(), spool.compression(&layer.blob)?)));
                manifest::make(&config, &with_form.collect::<Result<Vec<_>, DiskError>>()?)
            }
        };
        let record = layers.record(PlannedImage {
            names: name.into_iter().collect(),
            config,
            manifest: PlannedManifest::Made(manifest),
            architecture,
            created,
            layers: kept,
        })?;
        Ok(ImageRecord { digests: vec![digest], ..record })
    }
}
