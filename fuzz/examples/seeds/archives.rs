//! Small images as `docker save` and an OCI layout have them.

use std::io::Write;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{EntryType, Header};

/// Words of the formats: file names, fields, media types, pax keys.
pub(crate) fn words() -> [&'static str; 18] {
    [
        "oci-layout",
        "index.json",
        "manifest.json",
        "blobs/sha256/",
        "sha256:",
        "\"imageLayoutVersion\":",
        "\"RepoTags\":",
        "\"Layers\":",
        "\"manifests\":",
        "\"diff_ids\":",
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.layer.v1.tar+zstd",
        ".wh.",
        ".wh..wh..opq",
        "ustar",
        "GNU.sparse.map",
        "GNU.sparse.realsize",
        "SCHILY.xattr.",
    ]
}

pub(crate) fn all() -> Vec<Vec<u8>> {
    let layers = [first_layer(), second_layer()];
    let mut seeds = vec![docker(&layers), oci(&layers, plain), oci(&layers, gzip), oci(&layers, zstd)];
    seeds.extend(layers.iter().cloned());
    seeds.push(gzip(&layers[0]));
    seeds.push(zstd(&layers[1]));
    seeds.push(old_gnu_sparse());
    seeds
}

fn plain(bytes: &[u8]) -> Vec<u8> {
    bytes.to_vec()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("memory takes every byte")
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 9).expect("memory gives and takes every byte")
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

struct Tar(tar::Builder<Vec<u8>>);

impl Tar {
    fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    fn entry(&mut self, path: &str, kind: EntryType, link: &str, data: &[u8]) {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_700_000_000);
        header.set_size(data.len() as u64);
        header.set_device_major(1).and_then(|()| header.set_device_minor(3)).expect("a ustar header");
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        self.0.append(&header, data).expect("memory takes every byte");
    }

    fn file(&mut self, path: &str, data: &[u8]) {
        self.entry(path, EntryType::Regular, "", data);
    }

    fn pax(&mut self, records: &[(&str, &[u8])]) {
        self.0.append_pax_extensions(records.iter().copied()).expect("memory takes every byte");
    }

    fn end(self) -> Vec<u8> {
        self.0.into_inner().expect("memory takes every byte")
    }
}

fn first_layer() -> Vec<u8> {
    let mut tar = Tar::new();
    tar.entry("bin/", EntryType::Directory, "", b"");
    tar.file("bin/sh", b"#!");
    tar.entry("bin/ash", EntryType::Link, "bin/sh", b"");
    tar.entry("sh", EntryType::Symlink, "bin/sh", b"");
    tar.entry("null", EntryType::Char, "", b"");
    tar.pax(&[("path", b"a/longer/name"), ("SCHILY.xattr.user.a", b"b"), ("mtime", b"1.5"), ("size", b"3")]);
    tar.file("short", b"abc");
    tar.end()
}

fn second_layer() -> Vec<u8> {
    let mut tar = Tar::new();
    tar.entry("bin/.wh.ash", EntryType::Regular, "", b"");
    tar.entry("etc/.wh..wh..opq", EntryType::Regular, "", b"");
    tar.pax(&[
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", b"sparse"),
        ("GNU.sparse.realsize", b"4096"),
    ]);
    let mut data = b"1\n1024\n4\n".to_vec();
    data.resize(512, 0);
    data.extend_from_slice(b"data");
    tar.file("GNUSparseFile.0/sparse", &data);
    tar.entry("././@LongLink", EntryType::GNULongName, "", b"a/name/that/was/too/long\0");
    tar.file("a/name", b"x");
    tar.end()
}

/// The older form: the map is in the header.
fn old_gnu_sparse() -> Vec<u8> {
    let mut header = Header::new_gnu();
    header.set_path("sparse").expect("a short name");
    header.set_entry_type(EntryType::GNUSparse);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(4);
    let gnu = header.as_gnu_mut().expect("a GNU header");
    gnu.sparse[0].offset[..11].copy_from_slice(b"00000002000");
    gnu.sparse[0].numbytes[..11].copy_from_slice(b"00000000004");
    gnu.realsize[..11].copy_from_slice(b"00000010000");
    header.set_cksum();
    let mut tar = Tar::new();
    tar.0.append(&header, &b"data"[..]).expect("memory takes every byte");
    tar.end()
}

fn config(layers: &[Vec<u8>]) -> Vec<u8> {
    let diff_ids: Vec<String> = layers.iter().map(|layer| format!("sha256:{}", digest(layer))).collect();
    let config = json!({
        "architecture": "amd64", "os": "linux", "created": "2024-01-02T03:04:05Z",
        "config": {
            "Env": ["PATH=/bin"], "Cmd": ["sh"], "Entrypoint": ["/bin/sh"], "WorkingDir": "/", "User": "0:0",
            "StopSignal": "SIGTERM", "ExposedPorts": {"80/tcp": {}}, "Volumes": {"/data": {}}, "Labels": {"a": "b"},
        },
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    config.to_string().into_bytes()
}

fn docker(layers: &[Vec<u8>]) -> Vec<u8> {
    let config = config(layers);
    let config_path = format!("{}.json", digest(&config));
    let paths: Vec<String> = (0..layers.len()).map(|index| format!("{index}/layer.tar")).collect();
    let mut tar = Tar::new();
    for (path, layer) in paths.iter().zip(layers) {
        tar.file(path, layer);
    }
    tar.file(&config_path, &config);
    let manifest = json!([{"Config": config_path, "RepoTags": ["seed:1"], "Layers": paths}]);
    tar.file("manifest.json", manifest.to_string().as_bytes());
    tar.end()
}

fn oci(layers: &[Vec<u8>], compress: fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let config = config(layers);
    let stored: Vec<Vec<u8>> = layers.iter().map(|layer| compress(layer)).collect();
    let layer_type = "application/vnd.oci.image.layer.v1.tar";
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": stored.iter().map(|layer| descriptor(layer_type, layer)).collect::<Vec<_>>(),
    });
    let manifest = manifest.to_string().into_bytes();
    let mut named = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
    named["annotations"] = json!({"io.containerd.image.name": "docker.io/library/seed:1"});
    named["platform"] = json!({"os": "linux", "architecture": "amd64"});
    let mut tar = Tar::new();
    tar.file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
    for blob in stored.iter().chain([&config, &manifest]) {
        tar.file(&format!("blobs/sha256/{}", digest(blob)), blob);
    }
    tar.file("index.json", json!({"schemaVersion": 2, "manifests": [named]}).to_string().as_bytes());
    tar.end()
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": format!("sha256:{}", digest(bytes)), "size": bytes.len()})
}
