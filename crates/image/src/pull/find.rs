//! From a name to an image's manifest and configuration: small documents, each
//! verified before it is read further.

use std::collections::HashSet;

use casemate_model::Digest;
use casemate_registry::{Client, Credentials, Endpoint, Repository};
use oci_spec::image::{Descriptor, ImageIndex, ImageManifest};
use serde::Deserialize;

use super::{PullError, PullProgress, PullRequest, Pulled, Puller};
use crate::archive::{Blob, PlannedLayer};
use crate::configuration::Configuration;
use crate::hash::digest_of;
use crate::limits::Limits;
use crate::platform::Platform;
use crate::reference::Reference;
use crate::store::Incoming;

/// An index of an index of an index is as deep as tools go.
const MAX_NESTING: usize = 4;

/// What configurations and layers of images are called (moby
/// `supportedMediaTypes`); the last ones are mistakes of old registries.
const IMAGE_TYPES: [&str; 2] = ["application/vnd.oci.image", "application/vnd.docker"];
const OLD_TYPES: [&str; 4] = ["application/octet-stream", "application/json", "text/html", ""];

pub(super) enum Found {
    /// The store has what the registry has.
    Current(Pulled),
    Image {
        repository: Repository,
        incoming: Box<Incoming>,
    },
}

/// What a document is, by its own word or by the registry's.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kind {
    #[serde(default)]
    schema_version: u32,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    manifests: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    config: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    fs_layers: Option<serde::de::IgnoredAny>,
}

/// A manifest that was verified, or has nothing to be verified by.
struct Document {
    digest: Digest,
    bytes: Vec<u8>,
}

/// The ways to ask a registry, of which one is taken after the other until an
/// answer counts.
pub(super) struct Endpoints<'a> {
    client: &'a Client,
    reference: &'a Reference,
    credentials: &'a Credentials,
    rest: std::vec::IntoIter<Endpoint>,
    last: PullError,
}

impl<'a> Endpoints<'a> {
    pub(super) async fn of(
        client: &'a Client,
        reference: &'a Reference,
        credentials: &'a Credentials,
    ) -> Result<Self, PullError> {
        let endpoints = client.endpoints(reference.domain()).await.map_err(PullError::Registry)?;
        let last = PullError::NoEndpoint { reference: reference.to_string() };
        Ok(Self { client, reference, credentials, rest: endpoints.into_iter(), last })
    }

    /// The next that answers.
    pub(super) async fn next(&mut self) -> Result<Repository, PullError> {
        for endpoint in self.rest.by_ref() {
            match self.client.connect(&endpoint, self.reference.path(), self.credentials).await {
                Ok(repository) => return Ok(repository),
                Err(error) => {
                    // A registry that speaks TLS is not asked without.
                    let is_last = error.is_answer() && !endpoint.is_mirror();
                    self.last = PullError::of_registry(error, self.reference);
                    if is_last {
                        break;
                    }
                }
            }
        }
        let none = PullError::NoEndpoint { reference: self.reference.to_string() };
        Err(std::mem::replace(&mut self.last, none))
    }

    /// What went wrong at the one taken last. Only a mirror's failure is made
    /// good by the next.
    pub(super) fn failed(&mut self, repository: &Repository, error: PullError) -> Result<(), PullError> {
        if !repository.is_mirror() {
            return Err(error);
        }
        self.last = error;
        Ok(())
    }
}

pub(super) async fn find(
    puller: &Puller,
    reference: &Reference,
    request: &PullRequest,
    progress: &mut (dyn FnMut(PullProgress) + Send),
) -> Result<Found, PullError> {
    let mut endpoints = Endpoints::of(&puller.client, reference, &request.credentials).await?;
    loop {
        let repository = endpoints.next().await?;
        match find_in(puller, &repository, reference, request.platform.as_ref(), progress).await {
            Ok(found) => return Ok(found),
            Err(error) => endpoints.failed(&repository, error)?,
        }
    }
}

async fn find_in(
    puller: &Puller,
    repository: &Repository,
    reference: &Reference,
    platform: Option<&Platform>,
    progress: &mut (dyn FnMut(PullProgress) + Send),
) -> Result<Found, PullError> {
    let limits = &puller.store.limits();
    let (name, wanted) = match (reference.digest(), reference.tag()) {
        (Some(digest), _) => (None, Some(digest.clone())),
        // The registry counts what is fetched, and this is not.
        (None, tag) => (Some(reference.clone()), repository.digest(tag.unwrap_or_default()).await),
    };
    let current = match (&name, &wanted) {
        (Some(name), Some(digest)) => puller.store.is_current(name, &reference.with_digest(digest.clone()))?,
        _ => None,
    };
    let fits = |image: &crate::Image| {
        let any = Platform::host();
        platform.unwrap_or(&any).fitness(&image.os, &image.architecture, image.variant.as_deref()).is_some()
    };
    if let (Some(image), Some(digest)) = (current.filter(fits), &wanted) {
        progress(pulling(reference));
        return Ok(Found::Current(Pulled { id: image.id, digest: digest.clone(), is_new: false }));
    }
    let text = match &wanted {
        Some(digest) => digest.to_string(),
        None => reference.tag().unwrap_or_default().to_owned(),
    };
    let top = document(repository, reference, &text, wanted.as_ref(), limits).await?;
    progress(pulling(reference));
    let digest = reference.with_digest(top.digest.clone());
    let manifest = choose(repository, reference, top, platform, limits).await?;
    let incoming = describe(repository, manifest, name, digest, limits).await?;
    Ok(Found::Image { repository: repository.clone(), incoming: Box::new(incoming) })
}

fn pulling(reference: &Reference) -> PullProgress {
    let tag_or_digest = match (reference.digest(), reference.tag()) {
        (None, Some(tag)) => tag.to_owned(),
        _ => reference.canonical(),
    };
    PullProgress::PullingFrom { tag_or_digest, repository: reference.path().to_owned() }
}

/// A manifest or index, which has the digest if one is wanted.
async fn document(
    repository: &Repository,
    reference: &Reference,
    text: &str,
    wanted: Option<&Digest>,
    limits: &Limits,
) -> Result<Document, PullError> {
    let limit = usize::try_from(limits.json).unwrap_or(usize::MAX);
    let manifest = repository.manifest(text, limit).await;
    let bytes = manifest.map_err(|error| PullError::of_registry(error, reference))?.bytes.to_vec();
    let digest = digest_of(&bytes);
    match wanted {
        Some(wanted) if *wanted != digest => Err(PullError::ManifestDigest { digest: wanted.clone() }),
        _ => Ok(Document { digest, bytes }),
    }
}

/// The manifest for the platform, through indexes if need be.
async fn choose(
    repository: &Repository,
    reference: &Reference,
    top: Document,
    platform: Option<&Platform>,
    limits: &Limits,
) -> Result<Document, PullError> {
    let mut document = top;
    for _ in 0..=MAX_NESTING {
        if !is_index(&document, reference)? {
            return Ok(document);
        }
        let index: ImageIndex =
            serde_json::from_slice(&document.bytes).map_err(|source| PullError::Json { what: "index", source })?;
        let best = best(index.manifests(), platform)?;
        let digest = digest(best)?;
        document = self::document(repository, reference, &digest.to_string(), Some(&digest), limits).await?;
    }
    Err(PullError::Nesting)
}

/// False if it is a manifest; whatever else it may be is an error.
fn is_index(document: &Document, reference: &Reference) -> Result<bool, PullError> {
    let kind: Kind =
        serde_json::from_slice(&document.bytes).map_err(|source| PullError::Json { what: "manifest", source })?;
    let media_type = kind.media_type.unwrap_or_default();
    if kind.schema_version == 1 || kind.fs_layers.is_some() {
        return Err(PullError::Schema1 { reference: reference.canonical() });
    }
    match (kind.manifests.is_some(), kind.config.is_some()) {
        // One that can be read as both could mean one thing here and another
        // to who signed it.
        (true, false) if !media_type.contains(".manifest.v") || media_type.contains(".list.") => Ok(true),
        (false, true) if !media_type.contains(".index.") && !media_type.contains(".list.") => Ok(false),
        _ => Err(PullError::Format),
    }
}

fn best<'a>(manifests: &'a [Descriptor], platform: Option<&Platform>) -> Result<&'a Descriptor, PullError> {
    let host = Platform::host();
    let wanted = platform.unwrap_or(&host);
    let fitness = |descriptor: &Descriptor| match descriptor.platform() {
        Some(offered) => {
            wanted.fitness(&offered.os().to_string(), &offered.architecture().to_string(), offered.variant().as_deref())
        }
        // Of one that does not say, anything can be thought.
        None => platform.is_none().then_some(0),
    };
    let fitting = manifests.iter().enumerate().filter_map(|(at, found)| Some((fitness(found)?, at, found)));
    // Of equals the first.
    let best = fitting.max_by_key(|(fitness, at, _)| (*fitness, std::cmp::Reverse(*at)));
    best.map(|(_, _, found)| found).ok_or_else(|| PullError::Platform { platform: wanted.clone() })
}

/// All that the store is told of the image.
async fn describe(
    repository: &Repository,
    manifest: Document,
    name: Option<Reference>,
    top: Reference,
    limits: &Limits,
) -> Result<Incoming, PullError> {
    let parsed: ImageManifest =
        serde_json::from_slice(&manifest.bytes).map_err(|source| PullError::Json { what: "manifest", source })?;
    check_media_type(parsed.config())?;
    if parsed.layers().len() > limits.layers {
        return Err(PullError::TooManyLayers { layers: parsed.layers().len(), limit: limits.layers });
    }
    let mut blobs = Vec::new();
    for layer in parsed.layers() {
        check_media_type(layer)?;
        blobs.push(blob("layer", layer, limits.unpacked)?);
    }
    check_same_sizes(&blobs)?;
    let config = configuration(repository, &blob("configuration", parsed.config(), limits.json)?).await?;
    let unusable = |source| PullError::Configuration { digest: config.digest.clone(), source };
    let configuration = Configuration::parse(&config.bytes).map_err(unusable)?;
    if !matches!(configuration.os.as_str(), "linux" | "") {
        return Err(PullError::Os { os: configuration.os });
    }
    if configuration.layers.len() != blobs.len() {
        return Err(PullError::LayerCount);
    }
    let layers = configuration.layers.iter().zip(blobs);
    Ok(Incoming {
        name,
        digest: top,
        manifest: manifest.bytes,
        architecture: configuration.architecture,
        created: configuration.created,
        layers: layers.map(|(diff_id, blob)| PlannedLayer { blob, diff_id: diff_id.clone() }).collect(),
        config: config.bytes,
    })
}

/// A blob that is named twice cannot have two sizes.
fn check_same_sizes(blobs: &[Blob]) -> Result<(), PullError> {
    let digests: HashSet<&Digest> = blobs.iter().map(|blob| &blob.digest).collect();
    let pairs: HashSet<(&Digest, u64)> = blobs.iter().map(|blob| (&blob.digest, blob.size)).collect();
    if digests.len() == pairs.len() { Ok(()) } else { Err(PullError::Format) }
}

async fn configuration(repository: &Repository, blob: &Blob) -> Result<Document, PullError> {
    let mut body = repository.blob(&blob.digest, 0).await.map_err(PullError::Registry)?;
    let mut bytes = Vec::new();
    while let Some(chunk) = body.chunk().await.map_err(PullError::Registry)? {
        if bytes.len() + chunk.len() > usize::try_from(blob.size).unwrap_or(usize::MAX) {
            return Err(PullError::BlobSize { digest: blob.digest.clone(), expected: blob.size });
        }
        bytes.extend_from_slice(&chunk);
    }
    let digest = digest_of(&bytes);
    match digest == blob.digest {
        true => Ok(Document { digest, bytes }),
        false => Err(PullError::ConfigDigest { digest: blob.digest.clone() }),
    }
}

fn check_media_type(descriptor: &Descriptor) -> Result<(), PullError> {
    let media_type = descriptor.media_type().to_string();
    let lower = media_type.to_ascii_lowercase();
    let is_image = IMAGE_TYPES
        .iter()
        .any(|known| lower.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')));
    if is_image || OLD_TYPES.contains(&lower.as_str()) { Ok(()) } else { Err(PullError::MediaType { media_type }) }
}

fn blob(what: &'static str, descriptor: &Descriptor, limit: u64) -> Result<Blob, PullError> {
    let size = descriptor.size();
    if size > limit {
        return Err(PullError::TooLarge { what, size, limit });
    }
    Ok(Blob { digest: digest(descriptor)?, size })
}

fn digest(descriptor: &Descriptor) -> Result<Digest, PullError> {
    let text = descriptor.digest().to_string();
    text.parse().map_err(|_| PullError::DigestAlgorithm { digest: text })
}
