//! `save`: images of the store in one archive, as Docker 25 and later write it:
//! an OCI image layout with a `manifest.json` beside it for older readers. The
//! same images are the same bytes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};

use casemate_model::{Classify, Digest, ErrorClass};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tar::{EntryType, Header};

use super::records::{ImageRecord, Records, RecordsError};
use super::resolve::Match;
use super::spool::Spool;
use super::{ResolveError, Store};
use crate::archive::{IMAGE_NAME, blob_path};
use crate::disk::DiskError;
use crate::reference::Reference;

#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// Nothing but a damaged store lacks them.
    #[error("the image {id} is damaged: its blob {blob} is missing")]
    Missing { id: Digest, blob: Digest },
    #[error("cannot write the archive")]
    Write(#[source] io::Error),
    #[error(transparent)]
    Records(#[from] RecordsError),
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl Classify for SaveError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Resolve(source) => source.class(),
            Self::Missing { .. } => ErrorClass::Internal,
            Self::Write(source) => crate::disk::class_of(source),
            Self::Records(source) => source.class(),
            Self::Disk(source) => source.class(),
        }
    }
}

/// An image with the names that it is saved under.
struct Saved {
    record: ImageRecord,
    names: Vec<Reference>,
}

/// What tells how a manifest is to be read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MediaTypeOnly {
    #[serde(default)]
    media_type: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ManifestItem {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

impl Store {
    /// Writes the images, each once. A repository without a tag means all its
    /// tags, a name with a tag that one, an id none: as `docker save` has it.
    pub fn save(&self, references: &[&str], to: impl Write) -> Result<(), SaveError> {
        let (staging, images) = {
            let lock = self.lock()?;
            let records = self.read_records()?;
            let images = select(&records, references)?;
            let staging = self.stage_locked(&lock)?;
            let spool = Spool::new(&staging)?;
            // From now on it does not matter if they are removed.
            for Saved { record, .. } in &images {
                for blob in record.blobs() {
                    if !spool.link(self, blob)? {
                        return Err(SaveError::Missing { id: record.id.clone(), blob: blob.clone() });
                    }
                }
            }
            (staging, images)
        };
        let spool = Spool::new(&staging)?;
        let mut files = BTreeMap::new();
        files.insert("oci-layout".to_owned(), Content::Bytes(br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()));
        files.insert("index.json".to_owned(), Content::Bytes(index(&spool, &images)?));
        files.insert("manifest.json".to_owned(), Content::Bytes(manifest(&images)));
        for blob in images.iter().flat_map(|image| image.record.blobs()) {
            files.insert(blob_path(blob), Content::Blob(blob.clone()));
        }
        write(&spool, files, to)
    }
}

enum Content {
    Bytes(Vec<u8>),
    Blob(Digest),
}

fn write(spool: &Spool, files: BTreeMap<String, Content>, to: impl Write) -> Result<(), SaveError> {
    let mut tar = tar::Builder::new(to);
    for directory in ["blobs/", "blobs/sha256/"] {
        tar.append_data(&mut header(EntryType::Directory, 0), directory, io::empty()).map_err(SaveError::Write)?;
    }
    for (path, content) in files {
        match content {
            Content::Bytes(bytes) => {
                let mut header = header(EntryType::Regular, bytes.len() as u64);
                tar.append_data(&mut header, path, bytes.as_slice()).map_err(SaveError::Write)?;
            }
            Content::Blob(digest) => {
                let blob = spool.blob(&digest)?;
                let file: File = spool.file(&blob)?;
                let mut header = header(EntryType::Regular, blob.size);
                tar.append_data(&mut header, path, file).map_err(SaveError::Write)?;
            }
        }
    }
    tar.into_inner().and_then(|mut to| to.flush()).map_err(SaveError::Write)
}

fn header(kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(if kind == EntryType::Directory { 0o755 } else { 0o644 });
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn index(spool: &Spool, images: &[Saved]) -> Result<Vec<u8>, SaveError> {
    let mut manifests = Vec::new();
    for Saved { record, names } in images {
        let blob = spool.blob(&record.manifest)?;
        let path = spool.path(&record.manifest);
        let json = std::fs::read(&path).map_err(|e| DiskError::new("read", &path, e))?;
        let media_type = serde_json::from_slice::<MediaTypeOnly>(&json).ok().and_then(|manifest| manifest.media_type);
        let descriptor = json!({
            "mediaType": media_type.as_deref().unwrap_or("application/vnd.oci.image.manifest.v1+json"),
            "digest": record.manifest.to_string(),
            "size": blob.size,
        });
        for name in names {
            let mut named = descriptor.clone();
            named["annotations"] = json!({
                IMAGE_NAME: name.canonical(),
                "org.opencontainers.image.ref.name": name.tag().unwrap_or_default(),
            });
            manifests.push(named);
        }
        if names.is_empty() {
            manifests.push(descriptor);
        }
    }
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": manifests,
    });
    Ok(serde_json::to_vec(&index).expect("an index has no map with keys that are not text"))
}

fn manifest(images: &[Saved]) -> Vec<u8> {
    let item = |Saved { record, names }: &Saved| ManifestItem {
        config: blob_path(&record.id),
        repo_tags: (!names.is_empty()).then(|| names.iter().map(ToString::to_string).collect()),
        layers: record.layers.iter().map(|layer| blob_path(&layer.blob)).collect(),
    };
    let items: Vec<ManifestItem> = images.iter().map(item).collect();
    serde_json::to_vec(&items).expect("a manifest has no map with keys that are not text")
}

fn select(records: &Records, references: &[&str]) -> Result<Vec<Saved>, ResolveError> {
    let mut images: Vec<Saved> = Vec::new();
    let mut add = |record: &ImageRecord, name: Option<&Reference>| {
        let at = images.iter().position(|image| image.record.id == record.id).unwrap_or_else(|| {
            images.push(Saved { record: record.clone(), names: Vec::new() });
            images.len() - 1
        });
        let names = &mut images[at].names;
        names.extend(name.filter(|name| !names.contains(name)).cloned());
    };
    for text in references {
        let repository = text.parse::<Reference>().ok().filter(|name| name.tag().is_none() && name.digest().is_none());
        let mut found = false;
        for record in &records.images {
            for name in &record.names {
                if repository.as_ref().is_some_and(|repository| repository.same_repository(name)) {
                    add(record, Some(name));
                    found = true;
                }
            }
        }
        if !found {
            match records.find(text)? {
                Match::Name(record, name) => add(record, Some(&name).filter(|name| name.tag().is_some())),
                Match::Id(record) => add(record, None),
            }
        }
    }
    Ok(images)
}
