//! What the tests are made of: images and archives, well-formed and not.

use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use casemate_model::Digest;
pub(crate) use casemate_tree::fixture::{
    Description, Item, describe, directory, file, hard_link, names, not_root, symlink, tar,
};
use serde_json::{Value, json};

use crate::hash::digest_of;

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

/// An image: the streams of its layers, uncompressed and as the archive has them.
pub(crate) struct SampleImage {
    pub(crate) config: Vec<u8>,
    pub(crate) layers: Vec<(Vec<u8>, Vec<u8>)>,
}

impl SampleImage {
    pub(crate) fn new(layers: &[Vec<u8>], compress: fn(&[u8]) -> Vec<u8>) -> Self {
        Self::for_platform(layers, compress, "amd64", "2024-01-02T03:04:05Z")
    }

    pub(crate) fn for_platform(
        layers: &[Vec<u8>],
        compress: fn(&[u8]) -> Vec<u8>,
        architecture: &str,
        created: &str,
    ) -> Self {
        let diff_ids: Vec<String> = layers.iter().map(|layer| digest_of(layer).to_string()).collect();
        let config = json!({
            "architecture": architecture, "os": "linux", "created": created,
            "config": {"Env": ["PATH=/bin"], "Cmd": ["sh"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let layers = layers.iter().map(|layer| (layer.clone(), compress(layer))).collect();
        Self { config: serde_json::to_vec(&config).unwrap(), layers }
    }

    pub(crate) fn id(&self) -> Digest {
        digest_of(&self.config)
    }

    pub(crate) fn diff_id(&self, layer: usize) -> Digest {
        digest_of(&self.layers[layer].0)
    }

    pub(crate) fn manifest(&self) -> Vec<u8> {
        let layers: Vec<Value> = self
            .layers
            .iter()
            .map(|(_, stored)| descriptor("application/vnd.oci.image.layer.v1.tar+gzip", stored))
            .collect();
        serde_json::to_vec(&json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("application/vnd.oci.image.config.v1+json", &self.config),
            "layers": layers,
        }))
        .unwrap()
    }

    /// The files of an OCI layout that belong to the image.
    pub(crate) fn blobs(&self) -> Vec<(String, Vec<u8>)> {
        let layers = self.layers.iter().map(|(_, stored)| stored.clone());
        layers.chain([self.config.clone(), self.manifest()]).map(|bytes| (blob_path(&bytes), bytes)).collect()
    }
}

pub(crate) fn blob_path(bytes: &[u8]) -> String {
    format!("blobs/sha256/{}", digest_of(bytes).hex())
}

pub(crate) fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": digest_of(bytes).to_string(), "size": bytes.len()})
}

/// The descriptor of a manifest in an index, with a name and a platform.
pub(crate) fn manifest_descriptor(image: &SampleImage, name: Option<&str>, platform: Option<&str>) -> Value {
    let mut value = descriptor("application/vnd.oci.image.manifest.v1+json", &image.manifest());
    if let Some(name) = name {
        value["annotations"] = json!({"io.containerd.image.name": name});
    }
    if let Some(architecture) = platform {
        value["platform"] = json!({"os": "linux", "architecture": architecture});
    }
    value
}

pub(crate) fn index(manifests: &[Value]) -> Vec<u8> {
    serde_json::to_vec(&json!({"schemaVersion": 2, "manifests": manifests})).unwrap()
}

/// A tar file of these files, in this order.
pub(crate) fn archive(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    tar(&files.iter().map(|(path, data)| file(path, data)).collect::<Vec<_>>())
}

/// An OCI layout with these descriptors in its index.
pub(crate) fn oci_archive(images: &[&SampleImage], manifests: &[Value]) -> Vec<u8> {
    let mut files = vec![("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec())];
    files.extend(images.iter().flat_map(|image| image.blobs()));
    files.push(("index.json".to_owned(), index(manifests)));
    files.sort();
    files.dedup();
    archive(&files)
}

/// The files of what `docker save` wrote before Docker 25.
pub(crate) fn docker_files(images: &[(&SampleImage, &[&str])]) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    let mut items = Vec::new();
    for (image, tags) in images {
        let config = format!("{}.json", image.id().hex());
        let mut layers = Vec::new();
        for (index, (_, stored)) in image.layers.iter().enumerate() {
            let path = format!("{}{index}/layer.tar", &image.id().hex()[..62]);
            files.push((path.clone(), stored.clone()));
            layers.push(path);
        }
        files.push((config.clone(), image.config.clone()));
        items.push(json!({"Config": config, "RepoTags": tags, "Layers": layers}));
    }
    files.push(("manifest.json".to_owned(), serde_json::to_vec(&items).unwrap()));
    files
}

/// A mounted EROFS image, for this process's eyes only.
pub(crate) struct MountedErofs(OwnedFd);

impl MountedErofs {
    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
    }
}

/// Mounts the image without a loop device. None, with the reason, if the kernel
/// does not do that.
pub(crate) fn mount_erofs(image: &Path) -> Option<MountedErofs> {
    use rustix::mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount,
        fsopen,
    };
    let mounted = fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC).and_then(|context| {
        fsconfig_set_string(&context, "source", image)?;
        fsconfig_set_flag(&context, "ro")?;
        fsconfig_create(&context)?;
        fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_RDONLY)
    });
    let reason = |e| format!("skipped in part: this kernel does not mount an EROFS file without a device: {e}\n");
    mounted.map(MountedErofs).map_err(|e| std::io::stderr().write_all(reason(e).as_bytes())).ok()
}
