//! Image archives: `docker save`'s and OCI layouts, made from layers, and the
//! layers of the built-in image to stand on.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{EntryType, Header};

use crate::prefix::{Prefix, program};
use crate::tree::{LongNames, Node, tar};

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    pub fn apply(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::None => bytes.to_vec(),
            Self::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("gzip in memory")
            }
            Self::Zstd => zstd::encode_all(bytes, 1).expect("zstd in memory"),
        }
    }

    fn media_type(self) -> &'static str {
        match self {
            Self::None => "application/vnd.oci.image.layer.v1.tar",
            Self::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }
}

/// An image before it is in an archive.
#[derive(Clone, Debug)]
pub struct Image {
    /// `name:tag`.
    pub name: String,
    /// Tar streams, lowest first.
    pub layers: Vec<Vec<u8>>,
    /// The configuration's `config` object.
    pub config: Value,
}

impl Image {
    /// The built-in image's layers with more on top.
    pub fn on_busybox(prefix: &Prefix, name: &str, more: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let layers = busybox_layers(&prefix.busybox()).into_iter().chain(more).collect();
        let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        Self { name: name.to_owned(), layers, config: json!({"Env": [path], "Cmd": ["sh"]}) }
    }

    pub fn configuration(&self) -> Vec<u8> {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let diff_ids: Vec<String> = self.layers.iter().map(|layer| format!("sha256:{}", sha256(layer))).collect();
        let configuration = json!({
            "architecture": architecture,
            "os": "linux",
            "created": "2024-05-06T07:08:09Z",
            "config": self.config,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        to_bytes(&configuration)
    }

    /// As `docker save` writes it.
    pub fn docker_save(&self) -> Vec<u8> {
        let configuration = self.configuration();
        let config_name = format!("{}.json", sha256(&configuration));
        let layer_names: Vec<String> = self.layers.iter().map(|layer| format!("{}/layer.tar", sha256(layer))).collect();
        let manifest = json!([{"Config": config_name, "RepoTags": [self.name], "Layers": layer_names}]);
        let mut files = vec![(config_name.clone(), configuration)];
        for (name, layer) in layer_names.iter().zip(&self.layers) {
            // Two layers may be the same one.
            if !files.iter().any(|(known, _)| known == name) {
                files.push((name.clone(), layer.clone()));
            }
        }
        files.push(("manifest.json".to_owned(), to_bytes(&manifest)));
        pack(&files)
    }

    /// An OCI layout, with the compression of each layer in turn.
    pub fn oci(&self, compressions: &[Compression]) -> Vec<u8> {
        let configuration = self.configuration();
        let mut blobs: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        let mut layers = Vec::new();
        for (layer, compression) in self.layers.iter().zip(compressions.iter().cycle()) {
            let stored = compression.apply(layer);
            layers.push(descriptor(compression.media_type(), &stored));
            blobs.insert(sha256(&stored), stored);
        }
        let manifest = to_bytes(&json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("application/vnd.oci.image.config.v1+json", &configuration),
            "layers": layers,
        }));
        let mut entry = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
        entry["annotations"] = json!({
            "io.containerd.image.name": format!("docker.io/library/{}", self.name),
            "org.opencontainers.image.ref.name": self.name.rsplit(':').next(),
        });
        blobs.insert(sha256(&configuration), configuration);
        blobs.insert(sha256(&manifest), manifest);
        let index = to_bytes(&json!({"schemaVersion": 2, "manifests": [entry]}));
        let mut files = vec![
            ("oci-layout".to_owned(), to_bytes(&json!({"imageLayoutVersion": "1.0.0"}))),
            ("index.json".to_owned(), index),
        ];
        files.extend(blobs.into_iter().map(|(digest, blob)| (format!("blobs/sha256/{digest}"), blob)));
        pack(&files)
    }
}

fn to_bytes(value: &Value) -> Vec<u8> {
    serde_json::to_vec(value).expect("JSON in memory")
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": format!("sha256:{}", sha256(bytes)), "size": bytes.len()})
}

/// A tar stream of plain files.
pub fn pack(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(bytes.len() as u64);
        builder.append_data(&mut header, name, bytes.as_slice()).expect("a tar stream in memory");
    }
    builder.into_inner().expect("a tar stream in memory")
}

/// The uncompressed layers of the built-in image, lowest first.
pub fn busybox_layers(archive: &Path) -> Vec<Vec<u8>> {
    let files = unpack(&fs::read(archive).expect("the built-in image"));
    let json = |name: &str| -> Option<Value> { serde_json::from_slice(files.get(name)?).ok() };
    let names: Vec<String> = match json("manifest.json") {
        Some(manifest) => strings(&manifest[0]["Layers"]),
        None => {
            let index = json("index.json").expect("an archive of images");
            let manifest = json(&blob(&index["manifests"][0])).expect("the image's manifest");
            manifest["layers"].as_array().expect("layers").iter().map(blob).collect()
        }
    };
    names.iter().map(|name| uncompressed(&files[name])).collect()
}

fn strings(value: &Value) -> Vec<String> {
    let list = value.as_array().expect("a list");
    list.iter().map(|item| item.as_str().expect("a string").to_owned()).collect()
}

fn blob(descriptor: &Value) -> String {
    format!("blobs/{}", descriptor["digest"].as_str().expect("a digest").replace(':', "/"))
}

fn unpack(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(archive).entries().expect("a tar stream") {
        let mut entry = entry.expect("an entry");
        let name = entry.path().expect("a name").to_string_lossy().trim_start_matches("./").to_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).expect("an entry's bytes");
        files.insert(name, bytes);
    }
    files
}

fn uncompressed(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    match bytes {
        [0x1f, 0x8b, ..] => drop(flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut plain).expect("gzip")),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => plain = zstd::decode_all(bytes).expect("zstd"),
        _ => plain = bytes.to_vec(),
    }
    plain
}

/// A layer with a program of the host and the libraries it needs, where they
/// are on the host.
pub fn program_layer(name: &str) -> Vec<u8> {
    let path = program(name).unwrap_or_else(|| panic!("{name} is missing: 'make test' installs it"));
    let ldd = Command::new("ldd").arg(&path).output().expect("ldd");
    let text = String::from_utf8_lossy(&ldd.stdout).into_owned();
    let libraries = text.split_ascii_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from);
    let mut nodes: BTreeMap<String, Node> = BTreeMap::new();
    for file in libraries.chain([path]) {
        let inside = file.to_string_lossy().trim_start_matches('/').to_owned();
        for (end, _) in inside.match_indices('/') {
            nodes.entry(inside[..end].to_owned()).or_insert_with(|| Node::dir(&inside[..end]));
        }
        let bytes = fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        nodes.insert(inside.clone(), Node::file(&inside, bytes).mode(0o755));
    }
    let nodes: Vec<Node> = nodes.into_values().collect();
    tar(&nodes, LongNames::Gnu)
}
