//! `manifest.json`, as `docker save` has written it since Docker 1.10.

use serde::Deserialize;

use super::{ArchiveError, Blob, Fetch, PlannedImage, PlannedLayer, PlannedManifest, Source};
use crate::manifest;
use crate::reference::Reference;
use casemate_model::Digest;

pub(super) const MANIFEST: &str = "manifest.json";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ManifestItem {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Option<Vec<String>>,
}

pub(super) fn images<F: Fetch>(source: &Source<'_, F>) -> Result<Vec<PlannedImage>, ArchiveError> {
    read(source)?.into_iter().map(|item| image(source, item)).collect()
}

/// Adds the tags given here to images found otherwise.
pub(super) fn add_names<F: Fetch>(source: &Source<'_, F>, images: &mut [PlannedImage]) -> Result<(), ArchiveError> {
    for item in read(source)? {
        let config = source.find(&item.config)?;
        if let Some(image) = images.iter_mut().find(|image| image.config.digest == config.digest) {
            image.add_names(names(item.repo_tags)?, source.limits)?;
        }
    }
    Ok(())
}

fn read<F: Fetch>(source: &Source<'_, F>) -> Result<Vec<ManifestItem>, ArchiveError> {
    let items: Vec<ManifestItem> = source.parse_json(MANIFEST, source.find(MANIFEST)?)?;
    source.check_count(items.len())?;
    for item in &items {
        source.check_count(item.repo_tags.as_ref().map_or(0, Vec::len))?;
    }
    Ok(items)
}

fn image<F: Fetch>(source: &Source<'_, F>, item: ManifestItem) -> Result<PlannedImage, ArchiveError> {
    let config = source.find(&item.config)?.clone();
    check_name(&item.config, &config)?;
    let paths = item.layers.unwrap_or_default();
    let blobs = paths.iter().map(|path| source.find(path).cloned()).collect::<Result<_, _>>()?;
    let (configuration, layers) = source.configured_layers(&item.config, &config, blobs)?;
    Ok(PlannedImage {
        names: names(item.repo_tags)?,
        manifest: PlannedManifest::Made(make_manifest(source, &config, &layers)?),
        config,
        architecture: configuration.architecture,
        created: configuration.created,
        layers,
    })
}

fn names(tags: Option<Vec<String>>) -> Result<Vec<Reference>, ArchiveError> {
    let parse = |name: String| match name.parse::<Reference>() {
        Ok(reference) => Ok(reference.or_latest()),
        Err(source) => Err(ArchiveError::Name { name, source }),
    };
    tags.into_iter().flatten().map(parse).collect()
}

/// Old archives name the configuration after its digest.
fn check_name(path: &str, config: &Blob) -> Result<(), ArchiveError> {
    let stem = path.strip_suffix(".json").map(|stem| format!("sha256:{stem}").parse::<Digest>());
    match stem {
        Some(Ok(expected)) if expected != config.digest => {
            Err(ArchiveError::Digest { path: path.to_owned(), expected, actual: config.digest.clone() })
        }
        _ => Ok(()),
    }
}

fn make_manifest<F: Fetch>(
    source: &Source<'_, F>,
    config: &Blob,
    layers: &[PlannedLayer],
) -> Result<Vec<u8>, ArchiveError> {
    let layers = layers.iter().map(|layer| Ok((layer.blob.clone(), source.compression(&layer.blob)?)));
    Ok(manifest::make(config, &layers.collect::<Result<Vec<_>, ArchiveError>>()?))
}
