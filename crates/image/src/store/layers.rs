//! The layers of images that come into the store: unpacked in staging, once
//! each, and seen to be what they claim to be.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use casemate_model::Digest;
use casemate_tree::{TarReader, unpack_layer};
use serde::{Deserialize, Serialize};

use super::hold::LayerHold;
use super::load::LoadProgress;
use super::records::{ImageRecord, Records, StoredLayer};
use super::spool::Spool;
use super::staging::Staging;
use super::{LoadError, Store};
use crate::archive::{Blob, PlannedImage, PlannedLayer, PlannedManifest};
use crate::compression::{DecompressError, decompress};
use crate::disk::DiskError;
use crate::hash::HashingReader;

const LAYER_VERSION: u32 = 1;

/// `layer.json`, beside an unpacked layer.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LayerRecord {
    version: u32,
    /// Sum of the files' sizes, in bytes.
    pub(super) size: u64,
    /// Bytes of those that are holes.
    pub(super) holes: u64,
}

impl Store {
    pub(super) fn layer_record(&self, diff_id: &Digest) -> Result<LayerRecord, DiskError> {
        let path = self.layer(diff_id).join("layer.json");
        let json = fs::read(&path).map_err(|e| DiskError::new("read", &path, e))?;
        let record: LayerRecord = serde_json::from_slice(&json).map_err(|e| DiskError::new("parse", &path, e))?;
        match record.version {
            LAYER_VERSION => Ok(record),
            _ => Err(DiskError::new("use the version of", &path, io::ErrorKind::Unsupported)),
        }
    }
}

/// The layers of a load: those of the store, held, and those new in staging.
pub(super) struct Layers<'a> {
    store: &'a Store,
    spool: &'a Spool,
    directory: PathBuf,
    records: Records,
    sizes: HashMap<Digest, u64>,
    /// Pairs of a layer as it came and its diff id that were seen to match.
    checked: HashSet<(Digest, Digest)>,
    holds: Vec<LayerHold>,
    /// Set by whoever no longer wants the result.
    cancelled: Arc<AtomicBool>,
}

impl<'a> Layers<'a> {
    pub(super) fn new(store: &'a Store, staging: &Staging, spool: &'a Spool) -> Result<Self, LoadError> {
        let records = store.read_records()?;
        let known = records.images.iter().flat_map(|image| &image.layers);
        let checked = known.map(|layer| (layer.blob.clone(), layer.diff_id.clone())).collect();
        let directory = staging.directory("layers")?;
        Ok(Self {
            store,
            spool,
            directory,
            records,
            sizes: HashMap::new(),
            checked,
            holds: Vec::new(),
            cancelled: Arc::default(),
        })
    }

    /// Reading ends with an error once this is set.
    pub(super) fn cancelled_by(mut self, cancelled: Arc<AtomicBool>) -> Self {
        self.cancelled = cancelled;
        self
    }

    /// What the store has of the layer is no use: it is to be unpacked.
    pub(super) fn forget(&mut self, diff_id: &Digest) {
        self.sizes.remove(diff_id);
    }

    /// The blob that the store has the layer from, if it has it.
    pub(super) fn stored_blob(&self, diff_id: &Digest) -> Option<&Digest> {
        let mut stored = self.records.images.iter().flat_map(|image| &image.layers);
        stored.find(|layer| layer.diff_id == *diff_id).map(|layer| &layer.blob)
    }

    /// Sees to it that every layer of the images is in the store or in staging,
    /// and is what it claims to be.
    pub(super) fn stage_all(
        &mut self,
        images: &[PlannedImage],
        progress: &mut dyn FnMut(LoadProgress<'_>),
    ) -> Result<(), LoadError> {
        let mut seen = HashSet::new();
        let all = images.iter().flat_map(|image| &image.layers);
        let unique: Vec<&PlannedLayer> =
            all.filter(|layer| seen.insert((&layer.blob.digest, &layer.diff_id))).collect();
        let layers = unique.len();
        for (index, planned) in unique.into_iter().enumerate() {
            let (layer, diff_id) = (index + 1, &planned.diff_id);
            let report = &mut |bytes| {
                progress(LoadProgress::Unpacking { layer, layers, diff_id, bytes, of: planned.blob.size });
            };
            if self.sizes.contains_key(diff_id) || self.hold_stored(diff_id)? {
                self.check(planned, report)?;
                progress(LoadProgress::Exists { layer, layers, diff_id });
            } else {
                self.unpack(planned, report)?;
            }
        }
        Ok(())
    }

    /// Whether the store has the layer. Only what its records name counts: the
    /// rest may be about to go.
    pub(super) fn hold_stored(&mut self, diff_id: &Digest) -> Result<bool, LoadError> {
        if !self.records.uses_layer(diff_id) {
            return Ok(false);
        }
        let Some(hold) = self.store.hold_layer(diff_id)? else {
            return Ok(false);
        };
        self.holds.push(hold);
        self.sizes.insert(diff_id.clone(), self.store.layer_record(diff_id)?.size);
        Ok(true)
    }

    pub(super) fn unpack(&mut self, planned: &PlannedLayer, report: &mut dyn FnMut(u64)) -> Result<(), LoadError> {
        let directory = self.directory.join(planned.diff_id.hex());
        let (stream, size) = self.unpack_into(&directory, &planned.blob, &planned.diff_id, report)?;
        self.finish(planned, stream)?;
        self.sizes.insert(planned.diff_id.clone(), size);
        Ok(())
    }

    /// Unpacks a layer that nobody has said the diff id of.
    pub(super) fn unpack_unknown(&mut self, blob: Blob) -> Result<PlannedLayer, LoadError> {
        let directory = self.directory.join("unknown");
        let report = &mut |_| {};
        let (stream, size) = self.unpack_into(&directory, &blob, &blob.digest, report)?;
        let read = |source| LoadError::ReadLayer { diff_id: blob.digest.clone(), source };
        let (diff_id, _) = stream.finish().map_err(read)?;
        if !self.sizes.contains_key(&diff_id) && !self.hold_stored(&diff_id)? {
            let to = self.directory.join(diff_id.hex());
            fs::rename(&directory, &to).map_err(|e| DiskError::new("put in place", &to, e))?;
            self.sizes.insert(diff_id.clone(), size);
        }
        Ok(PlannedLayer { blob, diff_id })
    }

    /// Returns what is left of the stream, and the size of the layer's files.
    fn unpack_into<'r>(
        &self,
        directory: &Path,
        blob: &Blob,
        called: &Digest,
        report: &'r mut dyn FnMut(u64),
    ) -> Result<(HashingReader<impl Read + use<'r>>, u64), LoadError> {
        let diff = directory.join("diff");
        fs::create_dir_all(&diff).map_err(|e| DiskError::new("make the directory", &diff, e))?;
        let root = File::open(&diff).map_err(|e| DiskError::new("open", &diff, e))?;
        let mut tar = TarReader::new(HashingReader::new(self.open(blob, called, report)?));
        let unpacked = unpack_layer(&mut tar, root.into(), &self.store.limits.layer())
            .map_err(|source| LoadError::Unpack { diff_id: called.clone(), source })?;
        let record = LayerRecord { version: LAYER_VERSION, size: unpacked.size, holes: unpacked.holes };
        let path = directory.join("layer.json");
        let json = serde_json::to_vec(&record).expect("a layer's record is numbers");
        fs::write(&path, json).map_err(|e| DiskError::new("write", &path, e))?;
        Ok((tar.into_inner(), unpacked.size))
    }

    /// Reads a layer that needs no unpacking, unless it was seen before.
    fn check(&mut self, planned: &PlannedLayer, report: &mut dyn FnMut(u64)) -> Result<(), LoadError> {
        let pair = (planned.blob.digest.clone(), planned.diff_id.clone());
        if pair.0 == pair.1 || self.checked.contains(&pair) {
            return Ok(());
        }
        let stream = HashingReader::new(self.open(&planned.blob, &planned.diff_id, report)?);
        self.finish(planned, stream)
    }

    /// The layer's tar stream.
    fn open<'r>(
        &self,
        blob: &Blob,
        called: &Digest,
        report: &'r mut dyn FnMut(u64),
    ) -> Result<impl Read + use<'r>, LoadError> {
        let diff_id = || called.clone();
        let cancelled = Arc::clone(&self.cancelled);
        let file = Reported { file: self.spool.file(blob)?, bytes: 0, report, cancelled };
        let (_, stream) = decompress(file).map_err(|error| match error {
            DecompressError::Read(source) => LoadError::ReadLayer { diff_id: diff_id(), source },
            DecompressError::Unsupported(compression) => {
                LoadError::LayerCompression { diff_id: diff_id(), compression }
            }
        })?;
        Ok(stream.take(self.store.limits.unpacked))
    }

    /// Reads the rest and compares the digest of all.
    fn finish<R: Read>(&mut self, planned: &PlannedLayer, stream: HashingReader<R>) -> Result<(), LoadError> {
        let (actual, _) =
            stream.finish().map_err(|source| LoadError::ReadLayer { diff_id: planned.diff_id.clone(), source })?;
        if actual != planned.diff_id {
            let (blob, expected) = (planned.blob.digest.clone(), planned.diff_id.clone());
            return Err(LoadError::DiffId { blob, expected, actual });
        }
        self.checked.insert((planned.blob.digest.clone(), actual));
        Ok(())
    }

    pub(super) fn record(&self, image: PlannedImage) -> Result<ImageRecord, LoadError> {
        let PlannedImage { names, config, manifest, architecture, created, layers } = image;
        let manifest = match manifest {
            PlannedManifest::InArchive(blob) => blob.digest,
            PlannedManifest::Made(json) => self.spool.add(&json)?,
        };
        let sizes = layers.iter().filter_map(|layer| self.sizes.get(&layer.diff_id));
        let size = sizes.fold(0, |sum: u64, size| sum.saturating_add(*size));
        let stored = |PlannedLayer { blob, diff_id }| StoredLayer { diff_id, blob: blob.digest };
        let layers = layers.into_iter().map(stored).collect();
        let tagged = (!names.is_empty()).then(jiff::Timestamp::now);
        Ok(ImageRecord {
            id: config.digest,
            manifest,
            names,
            digests: Vec::new(),
            parent: None,
            tagged,
            architecture,
            created,
            size,
            layers,
        })
    }
}

/// Tells how far a file was read.
struct Reported<'r> {
    file: File,
    bytes: u64,
    report: &'r mut dyn FnMut(u64),
    cancelled: Arc<AtomicBool>,
}

impl Read for Reported<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(io::Error::other("cancelled"));
        }
        let read = self.file.read(buffer)?;
        self.bytes += read as u64;
        (self.report)(self.bytes);
        Ok(read)
    }
}
