//! `index.json` of an OCI image layout.

use std::collections::HashMap;

use casemate_model::Digest;
use oci_spec::image::{ANNOTATION_REF_NAME, Descriptor, ImageIndex, ImageManifest, MediaType, Platform};

use super::scan::blob_path;
use super::{ArchiveError, Blob, Fetch, PlannedImage, PlannedManifest, Source};
use crate::platform::Platform as Wanted;
use crate::reference::Reference;

pub(super) const INDEX: &str = "index.json";

/// The full name that containerd, Docker and BuildKit give an image.
pub(crate) const IMAGE_NAME: &str = "io.containerd.image.name";
/// BuildKit's mark on what is about an image and is none.
const ANNOTATION_REFERENCE_TYPE: &str = "vnd.docker.reference.type";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// An index of an index of an index is as deep as tools go.
const MAX_NESTING: usize = 4;

pub(super) fn images<F: Fetch>(source: &Source<'_, F>) -> Result<Vec<PlannedImage>, ArchiveError> {
    let index: ImageIndex = source.parse_json(INDEX, source.find(INDEX)?)?;
    source.check_count(index.manifests().len())?;
    // Several platforms of one image are entries with one name.
    let mut order: Vec<Option<Reference>> = Vec::new();
    let mut groups: HashMap<Option<Reference>, Vec<Descriptor>> = HashMap::new();
    for descriptor in index.manifests() {
        let name = name_of(descriptor)?;
        let group = groups.entry(name.clone()).or_default();
        if group.is_empty() {
            order.push(name);
        }
        group.push(descriptor.clone());
    }
    let mut images = Vec::new();
    for name in order {
        let candidates = groups.remove(&name).unwrap_or_default();
        let mut chosen = choose(&candidates, name.as_ref())?;
        if name.is_some() {
            chosen.truncate(1);
        }
        for descriptor in chosen {
            if let Some(mut image) = image(source, &descriptor, name.as_ref(), 0)? {
                image.names.extend(name.clone());
                images.push(image);
            }
        }
    }
    if images.is_empty() { Err(ArchiveError::NoImage) } else { Ok(images) }
}

/// The name that the descriptor's annotations give the image, if they do.
fn name_of(descriptor: &Descriptor) -> Result<Option<Reference>, ArchiveError> {
    let annotation = |key: &str| descriptor.annotations().as_ref().and_then(|annotations| annotations.get(key));
    if let Some(name) = annotation(IMAGE_NAME) {
        let parsed = name.parse::<Reference>();
        let parsed = parsed.map_err(|source| ArchiveError::Name { name: name.clone(), source })?;
        return Ok(Some(parsed.or_latest()));
    }
    // The specification leaves this one's form free: some write a whole name
    // into it, others a tag alone, which names no image.
    let name = annotation(ANNOTATION_REF_NAME).filter(|name| name.contains([':', '/']));
    Ok(name.and_then(|name| name.parse::<Reference>().ok()).map(Reference::or_latest))
}

/// Those that this host runs, the best first. An image that exists for one
/// platform only is taken as it is: emulation may run it.
fn choose(candidates: &[Descriptor], name: Option<&Reference>) -> Result<Vec<Descriptor>, ArchiveError> {
    let images: Vec<&Descriptor> = candidates.iter().filter(|descriptor| is_image(descriptor)).collect();
    let mut runnable: Vec<(u8, &Descriptor)> =
        images.iter().filter_map(|descriptor| Some((fitness(descriptor)?, *descriptor))).collect();
    runnable.sort_by_key(|(fitness, _)| std::cmp::Reverse(*fitness));
    match (runnable.is_empty(), images.as_slice()) {
        (true, [single]) => Ok(vec![(*single).clone()]),
        (true, [_, ..]) => Err(ArchiveError::Platform {
            image: name.map_or_else(|| "without a name".to_owned(), Reference::to_string),
            offered: images.iter().filter_map(|d| d.platform().as_ref()).map(describe).collect::<Vec<_>>().join(", "),
            host: Wanted::host().to_string(),
        }),
        _ => Ok(runnable.into_iter().map(|(_, descriptor)| descriptor.clone()).collect()),
    }
}

fn fitness(descriptor: &Descriptor) -> Option<u8> {
    match descriptor.platform() {
        Some(platform) => Wanted::host().fitness(
            &platform.os().to_string(),
            &platform.architecture().to_string(),
            platform.variant().as_deref(),
        ),
        None => Some(0),
    }
}

fn describe(platform: &Platform) -> String {
    let base = format!("{}/{}", platform.os(), platform.architecture());
    match platform.variant() {
        Some(variant) if !variant.is_empty() => format!("{base}/{variant}"),
        _ => base,
    }
}

fn is_image(descriptor: &Descriptor) -> bool {
    let about_an_image = descriptor
        .annotations()
        .as_ref()
        .is_some_and(|annotations| annotations.contains_key(ANNOTATION_REFERENCE_TYPE));
    (is_manifest(descriptor) || is_index(descriptor)) && !about_an_image
}

fn is_manifest(descriptor: &Descriptor) -> bool {
    match descriptor.media_type() {
        MediaType::ImageManifest => true,
        other => other.to_string() == DOCKER_MANIFEST,
    }
}

fn is_index(descriptor: &Descriptor) -> bool {
    match descriptor.media_type() {
        MediaType::ImageIndex => true,
        other => other.to_string() == DOCKER_LIST,
    }
}

/// The image behind a descriptor, without a name; none behind an empty index.
fn image<F: Fetch>(
    source: &Source<'_, F>,
    descriptor: &Descriptor,
    name: Option<&Reference>,
    nesting: usize,
) -> Result<Option<PlannedImage>, ArchiveError> {
    let (path, blob) = blob(source, descriptor)?;
    if is_index(descriptor) {
        if nesting == MAX_NESTING {
            return Err(ArchiveError::Nesting { path });
        }
        let index: ImageIndex = source.parse_json(&path, &blob)?;
        return match choose(index.manifests(), name)?.first() {
            Some(best) => image(source, best, name, nesting + 1),
            None => Ok(None),
        };
    }
    let manifest: ImageManifest = source.parse_json(&path, &blob)?;
    let (config_path, config) = self::blob(source, manifest.config())?;
    let layers = manifest.layers().iter().map(|layer| Ok(self::blob(source, layer)?.1));
    let layers = layers.collect::<Result<_, ArchiveError>>()?;
    let (configuration, layers) = source.configured_layers(&config_path, &config, layers)?;
    Ok(Some(PlannedImage {
        names: Vec::new(),
        config,
        manifest: PlannedManifest::InArchive(blob),
        architecture: configuration.architecture,
        created: configuration.created,
        layers,
    }))
}

/// The file a descriptor means. That it has the digest of its name was seen
/// when it was read.
fn blob<F: Fetch>(source: &Source<'_, F>, descriptor: &Descriptor) -> Result<(String, Blob), ArchiveError> {
    let text = descriptor.digest().to_string();
    let digest: Digest = text.parse().map_err(|_| ArchiveError::DigestAlgorithm { digest: text })?;
    let path = blob_path(&digest);
    let blob = source.find(&path)?.clone();
    if blob.digest != digest {
        return Err(ArchiveError::Digest { path, expected: digest, actual: blob.digest });
    }
    if blob.size != descriptor.size() {
        return Err(ArchiveError::Size { path, expected: descriptor.size(), actual: blob.size });
    }
    Ok((path, blob))
}
