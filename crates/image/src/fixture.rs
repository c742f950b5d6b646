//! What the tests are made of: layers and archives, well-formed and not, and
//! comparable descriptions of file trees.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use casemate_model::Digest;
use serde_json::{Value, json};
use tar::{EntryType, Header};

use crate::hash::digest_of;

/// An entry of a tar stream, as raw as the test wants it.
#[derive(Clone, Copy)]
pub(crate) struct Item<'a> {
    pub(crate) path: &'a str,
    pub(crate) kind: EntryType,
    pub(crate) mode: u32,
    pub(crate) owner: (u64, u64),
    pub(crate) mtime: u64,
    pub(crate) link: &'a str,
    pub(crate) device: (u32, u32),
    pub(crate) data: &'a [u8],
    pub(crate) pax: &'a [(&'a str, &'a [u8])],
}

impl Default for Item<'_> {
    fn default() -> Self {
        Self {
            path: "",
            kind: EntryType::Regular,
            mode: 0o644,
            owner: (0, 0),
            mtime: 1_600_000_000,
            link: "",
            device: (0, 0),
            data: b"",
            pax: &[],
        }
    }
}

pub(crate) fn file<'a>(path: &'a str, data: &'a [u8]) -> Item<'a> {
    Item { path, data, ..Item::default() }
}

pub(crate) fn directory(path: &str) -> Item<'_> {
    Item { path, kind: EntryType::Directory, mode: 0o755, ..Item::default() }
}

pub(crate) fn symlink<'a>(path: &'a str, link: &'a str) -> Item<'a> {
    Item { path, link, kind: EntryType::Symlink, mode: 0o777, ..Item::default() }
}

pub(crate) fn hard_link<'a>(path: &'a str, link: &'a str) -> Item<'a> {
    Item { path, link, kind: EntryType::Link, ..Item::default() }
}

/// A tar stream of these entries. Names are written as they are, without the
/// `tar` crate's care for `..` and slashes.
pub(crate) fn tar(items: &[Item<'_>]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for item in items {
        builder.append_pax_extensions(item.pax.iter().copied()).unwrap();
        let mut header = Header::new_ustar();
        header.as_old_mut().name[..item.path.len()].copy_from_slice(item.path.as_bytes());
        header.as_old_mut().linkname[..item.link.len()].copy_from_slice(item.link.as_bytes());
        header.set_entry_type(item.kind);
        header.set_mode(item.mode);
        header.set_uid(item.owner.0);
        header.set_gid(item.owner.1);
        header.set_mtime(item.mtime);
        header.set_size(item.data.len() as u64);
        header.set_device_major(item.device.0).unwrap();
        header.set_device_minor(item.device.1).unwrap();
        header.set_cksum();
        builder.append(&header, item.data).unwrap();
    }
    builder.into_inner().unwrap()
}

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

/// Everything about one file that a layer carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Description {
    pub(crate) kind: String,
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    pub(crate) mtime: (i64, i64),
    pub(crate) content: Option<(u64, Digest)>,
    /// The first path of the same file, if it has several.
    pub(crate) same_as: Option<String>,
    pub(crate) xattrs: BTreeMap<String, Vec<u8>>,
}

/// All files below `root` by their paths, sorted; the root itself is `.`.
fn walk(root: &Path) -> Vec<(String, PathBuf, Metadata)> {
    let mut paths = vec![root.join(".")];
    let mut found = Vec::new();
    while let Some(path) = paths.pop() {
        let metadata = path.symlink_metadata().unwrap();
        if metadata.is_dir() {
            paths.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        let relative = path.strip_prefix(root).unwrap().to_string_lossy().trim_start_matches("./").to_owned();
        found.push((if relative.is_empty() { ".".to_owned() } else { relative }, path, metadata));
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

/// All files below `root` with all about them.
pub(crate) fn describe(root: &Path) -> BTreeMap<String, Description> {
    let mut first_of_inode: BTreeMap<u64, String> = BTreeMap::new();
    let mut tree = BTreeMap::new();
    for (relative, path, metadata) in walk(root) {
        let kind = metadata.file_type();
        let kind = if kind.is_symlink() {
            format!("link to {}", std::fs::read_link(&path).unwrap().to_string_lossy())
        } else if kind.is_char_device() || kind.is_block_device() {
            format!("device {:o} {:x}", metadata.mode() >> 12, metadata.rdev())
        } else {
            format!("type {:o}", metadata.mode() >> 12)
        };
        let content = metadata.is_file().then(|| hash_file(&path));
        let same_as = if metadata.is_dir() || metadata.nlink() == 1 {
            None
        } else {
            Some(first_of_inode.entry(metadata.ino()).or_insert_with(|| relative.clone()).clone())
        };
        let description = Description {
            kind,
            mode: metadata.mode() & 0o7777,
            owner: (metadata.uid(), metadata.gid()),
            mtime: (metadata.mtime(), metadata.mtime_nsec()),
            content,
            same_as,
            xattrs: xattrs(&path),
        };
        tree.insert(relative, description);
    }
    tree
}

fn hash_file(path: &Path) -> (u64, Digest) {
    let mut reader = crate::hash::HashingReader::new(std::fs::File::open(path).unwrap());
    std::io::copy(&mut reader.by_ref(), &mut std::io::sink()).unwrap();
    let (digest, size) = reader.finish().unwrap();
    (size, digest)
}

pub(crate) fn xattrs(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut names = vec![0; 65536];
    let length = rustix::fs::llistxattr(path, &mut names[..]).unwrap();
    names.truncate(length);
    let mut found = BTreeMap::new();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; 65536];
        let length = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
        value.truncate(length);
        found.insert(String::from_utf8_lossy(name).into_owned(), value);
    }
    found
}

/// What GNU tar makes of a directory.
pub(crate) fn gnu_tar(directory: &Path, options: &[&str]) -> Vec<u8> {
    let output = Command::new("tar")
        .args(["--numeric-owner", "--sort=name"])
        .args(options)
        .arg("-C")
        .arg(directory)
        .args(["-cf", "-", "."])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "tar: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Names of all files below `root`, for "nothing was left".
pub(crate) fn names(root: &Path) -> Vec<String> {
    walk(root).into_iter().map(|(relative, ..)| relative).collect()
}

/// Unpacking makes devices and changes owners. True, with a line that says so,
/// if the tests may not.
pub(crate) fn not_root() -> bool {
    let refused = !rustix::process::geteuid().is_root();
    if refused {
        let _ = std::io::stderr().write_all(b"skipped: needs root\n");
    }
    refused
}
