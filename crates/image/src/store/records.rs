//! `images.json`: which images there are. The form on disk has types of its
//! own and a version.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use casemate_model::{Classify, Digest, ErrorClass};
use serde::{Deserialize, Serialize};

use super::{Lock, Store};
use crate::disk::{DiskError, replace_file};
use crate::reference::Reference;

const VERSION: u32 = 1;

/// All images of the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Records {
    pub(super) images: Vec<ImageRecord>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ImageRecord {
    pub(super) id: Digest,
    pub(super) manifest: Digest,
    /// Each with a tag; no name is in two records.
    pub(super) names: Vec<Reference>,
    /// Each with a digest: what registries call it.
    pub(super) digests: Vec<Reference>,
    pub(super) parent: Option<Digest>,
    /// When a name was given to it last.
    pub(super) tagged: Option<jiff::Timestamp>,
    pub(super) architecture: String,
    pub(super) created: Option<jiff::Timestamp>,
    pub(super) size: u64,
    pub(super) layers: Vec<StoredLayer>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoredLayer {
    pub(super) diff_id: Digest,
    pub(super) blob: Digest,
}

#[derive(Debug, thiserror::Error)]
pub enum RecordsError {
    #[error("cannot read the list of images {path:?}")]
    Read { path: PathBuf, source: io::Error },
    #[error("the list of images {path:?} is malformed")]
    Json { path: PathBuf, source: serde_json::Error },
    #[error("the list of images {path:?} has a malformed {field}")]
    Field { path: PathBuf, field: &'static str },
    #[error("the list of images {path:?} has the version {version}, and this program knows {VERSION}")]
    Version { path: PathBuf, version: u32 },
}

impl Classify for RecordsError {
    fn class(&self) -> ErrorClass {
        ErrorClass::Internal
    }
}

#[derive(Deserialize)]
struct VersionOnly {
    version: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DiskRecords {
    version: u32,
    images: Vec<DiskImage>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DiskImage {
    id: String,
    manifest: String,
    names: Vec<String>,
    #[serde(default)]
    digests: Vec<String>,
    #[serde(default)]
    parent: Option<String>,
    #[serde(default)]
    tagged: Option<String>,
    architecture: String,
    created: Option<String>,
    size: u64,
    layers: Vec<DiskLayer>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DiskLayer {
    diff_id: String,
    blob: String,
}

impl Records {
    pub(super) fn named(&self, name: &Reference) -> Option<&ImageRecord> {
        self.images.iter().find(|image| image.names.contains(name))
    }

    pub(super) fn with_id(&self, id: &Digest) -> Option<&ImageRecord> {
        self.images.iter().find(|image| image.id == *id)
    }

    /// Adds the image, or its names if it is there; its names are taken from
    /// whichever images had them.
    pub(super) fn put(&mut self, image: ImageRecord) {
        for known in &mut self.images {
            known.names.retain(|name| !image.names.contains(name));
        }
        match self.images.iter_mut().find(|known| known.id == image.id) {
            Some(known) => {
                known.names.extend(image.names);
                for digest in image.digests {
                    if !known.digests.contains(&digest) {
                        known.digests.push(digest);
                    }
                }
                known.tagged = image.tagged.or(known.tagged);
            }
            None => self.images.push(image),
        }
    }

    pub(super) fn uses_layer(&self, diff_id: &Digest) -> bool {
        self.images.iter().any(|image| image.layers.iter().any(|layer| layer.diff_id == *diff_id))
    }

    pub(super) fn uses_blob(&self, digest: &Digest) -> bool {
        self.images.iter().any(|image| image.blobs().any(|blob| blob == digest))
    }

    /// Whether another image was made from this one.
    pub(super) fn has_children(&self, id: &Digest) -> bool {
        self.images.iter().any(|image| image.parent.as_ref() == Some(id))
    }

    fn parse(path: &Path, json: &[u8]) -> Result<Self, RecordsError> {
        let malformed = |source| RecordsError::Json { path: path.to_owned(), source };
        // The version first: the rest of another version may look different.
        let VersionOnly { version } = serde_json::from_slice(json).map_err(malformed)?;
        if version != VERSION {
            return Err(RecordsError::Version { path: path.to_owned(), version });
        }
        let DiskRecords { version: _, images } = serde_json::from_slice(json).map_err(malformed)?;
        let images = images.into_iter().map(ImageRecord::from_disk).collect::<Result<_, _>>();
        images.map(|images| Self { images }).map_err(|field| RecordsError::Field { path: path.to_owned(), field })
    }

    fn to_json(&self) -> Vec<u8> {
        let images = self.images.iter().map(ImageRecord::to_disk).collect();
        serde_json::to_vec_pretty(&DiskRecords { version: VERSION, images })
            .expect("the records have no map with keys that are not text")
    }
}

impl ImageRecord {
    /// All files that the image consists of.
    pub(super) fn blobs(&self) -> impl Iterator<Item = &Digest> {
        [&self.id, &self.manifest].into_iter().chain(self.layers.iter().map(|layer| &layer.blob))
    }

    /// The error is the name of the malformed field.
    fn from_disk(disk: DiskImage) -> Result<Self, &'static str> {
        let DiskImage { id, manifest, names, digests, parent, tagged, architecture, created, size, layers } = disk;
        let layer = |DiskLayer { diff_id, blob }| {
            Ok(StoredLayer {
                diff_id: diff_id.parse().map_err(|_| "diff_id")?,
                blob: blob.parse().map_err(|_| "blob")?,
            })
        };
        Ok(Self {
            id: id.parse().map_err(|_| "id")?,
            manifest: manifest.parse().map_err(|_| "manifest")?,
            names: names.iter().map(|name| name.parse().map_err(|_| "name")).collect::<Result<_, _>>()?,
            digests: digests.iter().map(|name| name.parse().map_err(|_| "digest")).collect::<Result<_, _>>()?,
            parent: parent.map(|text| text.parse().map_err(|_| "parent")).transpose()?,
            tagged: tagged.map(|text| text.parse().map_err(|_| "tagged")).transpose()?,
            architecture,
            created: created.map(|text| text.parse().map_err(|_| "created")).transpose()?,
            size,
            layers: layers.into_iter().map(layer).collect::<Result<_, &'static str>>()?,
        })
    }

    fn to_disk(&self) -> DiskImage {
        let Self { id, manifest, names, digests, parent, tagged, architecture, created, size, layers } = self;
        let layer = |StoredLayer { diff_id, blob }: &StoredLayer| DiskLayer {
            diff_id: diff_id.to_string(),
            blob: blob.to_string(),
        };
        DiskImage {
            id: id.to_string(),
            manifest: manifest.to_string(),
            names: names.iter().map(Reference::canonical).collect(),
            digests: digests.iter().map(Reference::canonical).collect(),
            parent: parent.as_ref().map(Digest::to_string),
            tagged: tagged.map(|time| time.to_string()),
            architecture: architecture.clone(),
            created: created.map(|time| time.to_string()),
            size: *size,
            layers: layers.iter().map(layer).collect(),
        }
    }
}

impl Store {
    /// The records as they are; no lock is needed to read them.
    pub(super) fn read_records(&self) -> Result<Records, RecordsError> {
        let path = self.records();
        match fs::read(&path) {
            Ok(json) => Records::parse(&path, &json),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Records::default()),
            Err(source) => Err(RecordsError::Read { path, source }),
        }
    }

    pub(super) fn write_records(&self, _lock: &Lock, records: &Records) -> Result<(), DiskError> {
        replace_file(&self.records(), &self.directory.join("images.json.new"), &records.to_json())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(digit: char) -> Digest {
        format!("sha256:{}", digit.to_string().repeat(64)).parse().unwrap()
    }

    fn record(id: char, names: &[&str]) -> ImageRecord {
        ImageRecord {
            id: digest(id),
            manifest: digest('b'),
            names: names.iter().map(|name| name.parse().unwrap()).collect(),
            digests: vec![format!("busybox@{}", digest('f')).parse().unwrap()],
            parent: Some(digest('9')),
            tagged: Some("2024-05-02T10:11:12Z".parse().unwrap()),
            architecture: "amd64".into(),
            created: Some("2024-05-01T10:11:12.5Z".parse().unwrap()),
            size: 5,
            layers: vec![StoredLayer { diff_id: digest('c'), blob: digest('d') }],
        }
    }

    #[test]
    fn records_read_back() {
        let records = Records { images: vec![record('a', &["busybox:latest", "ghcr.io/x/y:1"]), record('e', &[])] };
        assert_eq!(Records::parse("x".as_ref(), &records.to_json()).unwrap(), records);
    }

    #[test]
    fn other_versions_and_damage_are_told_apart() {
        let parse = |json: &str| Records::parse("x".as_ref(), json.as_bytes()).unwrap_err();
        assert!(matches!(parse(r#"{"version":2,"new":1}"#), RecordsError::Version { version: 2, .. }));
        assert!(matches!(parse(r#"{"version":1,"images":[],"more":1}"#), RecordsError::Json { .. }));
        assert!(matches!(parse(""), RecordsError::Json { .. }));
        let json = String::from_utf8(Records { images: vec![record('a', &["a:b"])] }.to_json()).unwrap();
        assert!(matches!(parse(&json.replace("a:b", "a:/")), RecordsError::Field { field: "name", .. }));
    }

    #[test]
    fn a_name_moves_to_the_newest_image() {
        let mut records = Records::default();
        records.put(record('a', &["x:1", "y:1"]));
        records.put(record('e', &["x:1"]));
        records.put(record('a', &["z:1"]));
        let names =
            |id: char| records.with_id(&digest(id)).unwrap().names.iter().map(|n| n.to_string()).collect::<Vec<_>>();
        assert_eq!(names('a'), ["y:1", "z:1"]);
        assert_eq!(names('e'), ["x:1"]);
        // What a registry calls an image stays its own.
        assert_eq!(records.with_id(&digest('a')).unwrap().digests.len(), 1);
    }
}
