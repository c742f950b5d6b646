//! `load`: from an archive to images in the store.
//!
//! ```text
//! stage ─▶ keep the archive's files ─▶ plan ─▶ unpack what is new ─▶ sync ─▶ commit
//! ```
//! Whatever fails on the way, the staging directory goes and the store is as
//! it was.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use casemate_model::Digest;
use casemate_tree::{TarReader, unpack_layer};
use rustix::fs::syncfs;
use serde::{Deserialize, Serialize};

use super::hold::LayerHold;
use super::records::{ImageRecord, Records, StoredLayer};
use super::staging::Staging;
use super::{LoadError, Store};
use crate::archive::{self, Blob, Fetch, Keep, PlannedImage, PlannedLayer, PlannedManifest};
use crate::compression::{DecompressError, decompress};
use crate::disk::DiskError;
use crate::hash::{HashingReader, digest_of};
use crate::reference::Reference;

const LAYER_VERSION: u32 = 1;

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

/// The archive's files, in a directory of the staging directory.
struct Spool {
    directory: PathBuf,
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
        let mut spool = Spool { directory: staging.directory("blobs")? };
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
        self.commit(&staging, &spool.directory, images)?;
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

/// One sync for all files: fewer and larger writes than one for each.
fn sync_all(staging: &Path) -> Result<(), DiskError> {
    let directory = File::open(staging).map_err(|e| DiskError::new("open", staging, e))?;
    syncfs(&directory).map_err(|e| DiskError::new("sync the file system of", staging, e))
}

/// The layers of a load: those of the store, held, and those new in staging.
struct Layers<'a> {
    store: &'a Store,
    spool: &'a Spool,
    directory: PathBuf,
    records: Records,
    sizes: HashMap<Digest, u64>,
    /// Pairs of a layer as it came and its diff id that were seen to match.
    checked: HashSet<(Digest, Digest)>,
    holds: Vec<LayerHold>,
}

impl<'a> Layers<'a> {
    fn new(store: &'a Store, staging: &Staging, spool: &'a Spool) -> Result<Self, LoadError> {
        let records = store.read_records()?;
        let known = records.images.iter().flat_map(|image| &image.layers);
        let checked = known.map(|layer| (layer.blob.clone(), layer.diff_id.clone())).collect();
        let directory = staging.directory("layers")?;
        Ok(Self { store, spool, directory, records, sizes: HashMap::new(), checked, holds: Vec::new() })
    }

    /// Sees to it that every layer of the images is in the store or in staging,
    /// and is what it claims to be.
    fn stage_all(
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
    fn hold_stored(&mut self, diff_id: &Digest) -> Result<bool, LoadError> {
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

    fn unpack(&mut self, planned: &PlannedLayer, report: &mut dyn FnMut(u64)) -> Result<(), LoadError> {
        let diff_id = &planned.diff_id;
        let directory = self.directory.join(diff_id.hex());
        let diff = directory.join("diff");
        fs::create_dir_all(&diff).map_err(|e| DiskError::new("make the directory", &diff, e))?;
        let root = File::open(&diff).map_err(|e| DiskError::new("open", &diff, e))?;
        let mut tar = TarReader::new(HashingReader::new(self.open(planned, report)?));
        let unpacked = unpack_layer(&mut tar, root.into(), &self.store.limits.layer())
            .map_err(|source| LoadError::Unpack { diff_id: diff_id.clone(), source })?;
        self.finish(planned, tar.into_inner())?;
        let record = LayerRecord { version: LAYER_VERSION, size: unpacked.size, holes: unpacked.holes };
        let path = directory.join("layer.json");
        let json = serde_json::to_vec(&record).expect("a layer's record is numbers");
        fs::write(&path, json).map_err(|e| DiskError::new("write", &path, e))?;
        self.sizes.insert(diff_id.clone(), unpacked.size);
        Ok(())
    }

    /// Reads a layer that needs no unpacking, unless it was seen before.
    fn check(&mut self, planned: &PlannedLayer, report: &mut dyn FnMut(u64)) -> Result<(), LoadError> {
        let pair = (planned.blob.digest.clone(), planned.diff_id.clone());
        if pair.0 == pair.1 || self.checked.contains(&pair) {
            return Ok(());
        }
        let stream = HashingReader::new(self.open(planned, report)?);
        self.finish(planned, stream)
    }

    /// The layer's tar stream.
    fn open<'r>(
        &self,
        planned: &PlannedLayer,
        report: &'r mut dyn FnMut(u64),
    ) -> Result<impl Read + use<'r>, LoadError> {
        let diff_id = || planned.diff_id.clone();
        let file = Reported { file: self.spool.file(&planned.blob)?, bytes: 0, report };
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

    fn record(&self, image: PlannedImage) -> Result<ImageRecord, LoadError> {
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
}

impl Read for Reported<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.bytes += read as u64;
        (self.report)(self.bytes);
        Ok(read)
    }
}

impl Spool {
    fn path(&self, digest: &Digest) -> PathBuf {
        self.directory.join(digest.hex())
    }

    fn file(&self, blob: &Blob) -> Result<File, DiskError> {
        let path = self.path(&blob.digest);
        File::open(&path).map_err(|e| DiskError::new("open", &path, e))
    }

    fn add(&self, bytes: &[u8]) -> Result<Digest, DiskError> {
        let digest = digest_of(bytes);
        let path = self.path(&digest);
        fs::write(&path, bytes).map_err(|e| DiskError::new("write", &path, e))?;
        Ok(digest)
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
