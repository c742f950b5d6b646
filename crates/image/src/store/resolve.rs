//! Finding images: all of them, or the one a user means.

use std::fs;

use casemate_model::Digest;

use super::records::{ImageRecord, Records, RecordsError};
use super::{ResolveError, Store};
use crate::configuration::Configuration;
use crate::disk::DiskError;
use crate::hash::digest_of;
use crate::image::Image;
use crate::reference::{ParseReferenceError, Reference};

/// A line of `casemate images`: there is one for each name of an image, and one
/// for an image without any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageRow {
    pub repository: Option<String>,
    pub tag: Option<String>,
    pub id: Digest,
    pub created: Option<jiff::Timestamp>,
    /// Sum of the sizes of the layers' files, in bytes.
    pub size: u64,
}

/// How a user's words led to an image.
pub(super) enum Match<'a> {
    /// By this name of it, which may be a digest that it was pulled by.
    Name(&'a ImageRecord, Reference),
    /// By its id, or by digest.
    Id(&'a ImageRecord),
}

impl<'a> Match<'a> {
    pub(super) fn record(&self) -> &'a ImageRecord {
        match self {
            Self::Name(record, _) | Self::Id(record) => record,
        }
    }
}

impl Store {
    /// All images, the newest first.
    pub fn images(&self) -> Result<Vec<ImageRow>, RecordsError> {
        let mut records = self.read_records()?;
        records.images.sort_by_key(|image| std::cmp::Reverse(image.created));
        let mut rows = Vec::new();
        for image in &records.images {
            let row = |name: Option<&Reference>| ImageRow {
                repository: name.map(Reference::repository),
                tag: name.and_then(Reference::tag).map(str::to_owned),
                id: image.id.clone(),
                created: image.created,
                size: image.size,
            };
            match image.names.is_empty() {
                // What a registry calls it at least says what it was.
                true => rows.push(row(image.digests.first())),
                false => rows.extend(image.names.iter().map(|name| row(Some(name)))),
            }
        }
        Ok(rows)
    }

    /// The image meant by a name with or without a tag, a name with the digest
    /// of its manifest, an id, or the beginning of an id. Names go first.
    pub fn resolve(&self, reference: &str) -> Result<Image, ResolveError> {
        let records = self.read_records()?;
        self.read_image(records.find(reference)?.record())
    }

    /// Reads the configuration, which must still have the digest that is its id.
    pub(super) fn read_image(&self, record: &ImageRecord) -> Result<Image, ResolveError> {
        let path = self.blob(&record.id);
        let json = fs::read(&path).map_err(|e| DiskError::new("read", &path, e))?;
        if digest_of(&json) != record.id {
            return Err(ResolveError::Damaged { id: record.id.clone() });
        }
        let configuration = Configuration::parse(&json)
            .map_err(|source| ResolveError::Configuration { id: record.id.clone(), source })?;
        let ImageRecord { id, manifest, names, digests, parent, tagged, architecture, created, size, layers } =
            record.clone();
        let layers = layers.into_iter().map(|layer| layer.diff_id).collect();
        let Configuration { variant, os, author, comment, config, history, .. } = configuration;
        Ok(Image {
            id,
            manifest,
            names,
            digests,
            parent,
            tagged,
            architecture,
            variant,
            os,
            created,
            author,
            comment,
            size,
            config,
            layers,
            history,
        })
    }
}

impl Records {
    pub(super) fn find(&self, text: &str) -> Result<Match<'_>, ResolveError> {
        let parsed = match text.parse::<Reference>() {
            Ok(reference) => reference.or_latest(),
            Err(error) => return self.find_by_id(text)?.ok_or_else(|| not_found_or(text, error)),
        };
        if let Some(digest) = parsed.digest() {
            let name = parsed.without_tag();
            if let Some(image) = self.images.iter().find(|image| image.digests.contains(&name)) {
                return Ok(Match::Name(image, name));
            }
            let has_name = |image: &&ImageRecord| image.names.iter().any(|name| name.same_repository(&parsed));
            let mut matching = self.images.iter().filter(|image| image.manifest == *digest || image.id == *digest);
            return matching.find(has_name).map(Match::Id).ok_or_else(|| not_found(&parsed));
        }
        if let Some(image) = self.named(&parsed) {
            return Ok(Match::Name(image, parsed));
        }
        self.find_by_id(text)?.ok_or_else(|| not_found(&parsed))
    }

    /// By a full id or manifest digest, or by the beginning of an id.
    fn find_by_id(&self, text: &str) -> Result<Option<Match<'_>>, ResolveError> {
        let prefix = text.strip_prefix("sha256:").unwrap_or(text);
        if prefix.is_empty() || !prefix.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Ok(None);
        }
        let mut matching = self.images.iter().filter(|image| image.id.hex().starts_with(prefix));
        match (matching.next(), matching.next()) {
            (Some(image), None) => Ok(Some(Match::Id(image))),
            (Some(_), Some(_)) => Err(ResolveError::Ambiguous { prefix: text.to_owned() }),
            (None, _) => Ok(self.images.iter().find(|image| image.manifest.hex() == prefix).map(Match::Id)),
        }
    }
}

fn not_found(reference: &Reference) -> ResolveError {
    ResolveError::NotFound { reference: reference.to_string() }
}

/// What is an id in form exists or not; anything else is malformed.
fn not_found_or(text: &str, error: ParseReferenceError) -> ResolveError {
    let is_id = text.parse::<Digest>().is_ok() || matches!(error, ParseReferenceError::LooksLikeId { .. });
    if is_id { ResolveError::NotFound { reference: text.to_owned() } } else { error.into() }
}
