//! Image archives: what `docker save` writes, in its old and new layout, and
//! OCI image layouts in a tar file.
//!
//! The order of an archive's entries is free, so it is first read through, each
//! file being kept under its digest (`scan`); then its JSON is read to find out
//! which images it holds (`plan`). Both work on any place to keep files in, so
//! that the same code is fuzzed in memory. Nothing is ever written under a name
//! that comes from the archive.

mod docker;
mod error;
mod oci;
mod scan;

pub use error::ArchiveError;
pub(crate) use oci::IMAGE_NAME;
pub(crate) use scan::{Keep, blob_path, scan};

use std::collections::HashMap;
use std::io::Read;

use casemate_model::Digest;

use crate::compression::Compression;
use crate::configuration::Configuration;
use crate::disk::DiskError;
use crate::limits::Limits;
use crate::reference::Reference;

/// A file of the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Blob {
    pub(crate) digest: Digest,
    /// In bytes.
    pub(crate) size: u64,
}

/// The files of an archive by their names, and where links point.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    files: HashMap<String, Blob>,
    links: HashMap<String, String>,
}

/// Reads the kept files back.
pub(crate) trait Fetch {
    fn open(&self, blob: &Blob) -> Result<impl Read, DiskError>;
}

/// An image that the archive holds completely.
#[derive(Debug)]
pub(crate) struct PlannedImage {
    pub(crate) names: Vec<Reference>,
    pub(crate) config: Blob,
    pub(crate) manifest: PlannedManifest,
    pub(crate) architecture: String,
    pub(crate) created: Option<jiff::Timestamp>,
    /// Lowest first.
    pub(crate) layers: Vec<PlannedLayer>,
}

#[derive(Debug)]
pub(crate) enum PlannedManifest {
    InArchive(Blob),
    /// Old archives have none; it is made from what they say.
    Made(Vec<u8>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlannedLayer {
    /// The layer as the archive has it, possibly compressed.
    pub(crate) blob: Blob,
    /// The digest of the layer's tar stream.
    pub(crate) diff_id: Digest,
}

/// An archive with its kept files: what the readers of its JSON work on.
struct Source<'a, F> {
    contents: &'a Contents,
    fetch: &'a F,
    limits: &'a Limits,
}

/// Finds the images of an archive. Images with the same configuration are one.
pub(crate) fn plan(
    contents: &Contents,
    fetch: &impl Fetch,
    limits: &Limits,
) -> Result<Vec<PlannedImage>, ArchiveError> {
    let source = Source { contents, fetch, limits };
    let found = if contents.files.contains_key(oci::INDEX) {
        let mut images = oci::images(&source)?;
        if contents.files.contains_key(docker::MANIFEST) {
            docker::add_names(&source, &mut images)?;
        }
        images
    } else if contents.files.contains_key(docker::MANIFEST) {
        docker::images(&source)?
    } else {
        return Err(ArchiveError::NoImage);
    };
    let mut images: Vec<PlannedImage> = Vec::new();
    for image in found {
        match images.iter_mut().find(|known| known.config.digest == image.config.digest) {
            Some(known) => known.add_names(image.names, limits)?,
            None => images.push(image),
        }
    }
    Ok(images)
}

impl PlannedImage {
    fn add_names(&mut self, names: Vec<Reference>, limits: &Limits) -> Result<(), ArchiveError> {
        for name in names {
            if !self.names.contains(&name) {
                self.names.push(name);
            }
            if self.names.len() > limits.images {
                return Err(ArchiveError::TooManyImages { limit: limits.images });
            }
        }
        Ok(())
    }
}

impl Contents {
    /// The file of that name, if need be through links.
    fn find(&self, path: &str) -> Option<&Blob> {
        // Old archives link a repeated layer to its first occurrence; a chain
        // that is longer than this goes round.
        const MAX_LINKS: usize = 16;
        let mut path = scan::clean_path(path)?;
        for _ in 0..MAX_LINKS {
            if let Some(blob) = self.files.get(&path) {
                return Some(blob);
            }
            path = self.links.get(&path)?.clone();
        }
        None
    }
}

impl<F: Fetch> Source<'_, F> {
    fn find(&self, path: &str) -> Result<&Blob, ArchiveError> {
        self.contents.find(path).ok_or_else(|| ArchiveError::Missing { path: path.to_owned() })
    }

    /// A file that is JSON, whole.
    fn read_json(&self, path: &str, blob: &Blob) -> Result<Vec<u8>, ArchiveError> {
        let limit = self.limits.json;
        if blob.size > limit {
            return Err(ArchiveError::TooLarge { path: path.to_owned(), limit });
        }
        let mut bytes = Vec::new();
        let mut file = self.fetch.open(blob)?;
        file.read_to_end(&mut bytes).map_err(|e| DiskError::new("read", path.as_ref(), e))?;
        Ok(bytes)
    }

    fn parse_json<T: serde::de::DeserializeOwned>(&self, path: &str, blob: &Blob) -> Result<T, ArchiveError> {
        serde_json::from_slice(&self.read_json(path, blob)?)
            .map_err(|source| ArchiveError::Json { path: path.to_owned(), source })
    }

    /// The configuration and the layers it lists, matched with the files that
    /// are said to hold them.
    fn configured_layers(
        &self,
        path: &str,
        config: &Blob,
        blobs: Vec<Blob>,
    ) -> Result<(Configuration, Vec<PlannedLayer>), ArchiveError> {
        let configuration = Configuration::parse(&self.read_json(path, config)?)
            .map_err(|source| ArchiveError::Configuration { path: path.to_owned(), source })?;
        // Docker wrote none before it ran on anything but Linux.
        if !matches!(configuration.os.as_str(), "linux" | "") {
            return Err(ArchiveError::Os { path: path.to_owned(), os: configuration.os });
        }
        if configuration.layers.len() != blobs.len() {
            return Err(ArchiveError::LayerCount {
                path: path.to_owned(),
                listed: configuration.layers.len(),
                given: blobs.len(),
            });
        }
        if blobs.len() > self.limits.layers {
            return Err(ArchiveError::TooManyLayers { path: path.to_owned(), limit: self.limits.layers });
        }
        let layers = configuration.layers.iter().zip(blobs);
        let layers = layers.map(|(diff_id, blob)| PlannedLayer { blob, diff_id: diff_id.clone() }).collect();
        Ok((configuration, layers))
    }

    fn check_count(&self, images: usize) -> Result<(), ArchiveError> {
        let limit = self.limits.images;
        if images > limit { Err(ArchiveError::TooManyImages { limit }) } else { Ok(()) }
    }

    fn compression(&self, blob: &Blob) -> Result<Compression, ArchiveError> {
        let file = self.fetch.open(blob)?;
        Compression::of(file).map_err(|e| DiskError::new("read", blob.digest.hex().as_ref(), e).into())
    }
}

#[cfg(test)]
mod tests;
