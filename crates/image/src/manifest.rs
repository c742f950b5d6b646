//! Manifests of images that have none that fits, so that all images in the
//! store have the same form.

use oci_spec::image::{DescriptorBuilder, ImageManifestBuilder, MediaType, SCHEMA_VERSION};

use crate::archive::Blob;
use crate::compression::Compression;

/// The OCI manifest of a configuration and its layers. It depends on nothing
/// but the content.
pub(crate) fn make(config: &Blob, layers: &[(Blob, Compression)]) -> Vec<u8> {
    let descriptor = |media_type: MediaType, blob: &Blob| {
        let digest: oci_spec::image::Digest =
            blob.digest.to_string().parse().expect("a digest of ours is one of OCI's");
        let built = DescriptorBuilder::default().media_type(media_type).digest(digest).size(blob.size).build();
        built.expect("all required fields are set")
    };
    let layers = layers.iter().map(|(blob, compression)| {
        let media_type = match compression {
            Compression::Gzip => MediaType::ImageLayerGzip,
            Compression::Zstd => MediaType::ImageLayerZstd,
            // Layers in a format that is not supported fail when they are unpacked.
            Compression::None | Compression::Bzip2 | Compression::Xz => MediaType::ImageLayer,
        };
        descriptor(media_type, blob)
    });
    let manifest = ImageManifestBuilder::default()
        .schema_version(SCHEMA_VERSION)
        .media_type(MediaType::ImageManifest)
        .config(descriptor(MediaType::ImageConfig, config))
        .layers(layers.collect::<Vec<_>>())
        .build()
        .expect("all required fields are set");
    serde_json::to_vec(&manifest).expect("a manifest has no map with keys that are not text")
}
