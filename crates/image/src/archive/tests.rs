//! What archives say, in memory.

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;

use casemate_model::Digest;
use serde_json::json;

use super::{ArchiveError, Blob, Fetch, Keep, PlannedImage, plan, scan};
use crate::disk::DiskError;
use crate::fixture::{
    SampleImage, archive, blob_path, descriptor, docker_files, file, gzip, index, manifest_descriptor, oci_archive,
    symlink, tar, zstd,
};
use crate::limits::Limits;

type Files = Vec<(String, Vec<u8>)>;

#[derive(Default)]
struct Memory(HashMap<Digest, Vec<u8>>);

impl Keep for Memory {
    type File = Vec<u8>;

    fn create(&mut self) -> Result<Vec<u8>, DiskError> {
        Ok(Vec::new())
    }

    fn keep(&mut self, file: Vec<u8>, blob: &Blob) -> Result<(), DiskError> {
        self.0.insert(blob.digest.clone(), file);
        Ok(())
    }

    fn place(&self) -> &Path {
        Path::new("memory")
    }
}

impl Fetch for Memory {
    fn open(&self, blob: &Blob) -> Result<impl Read, DiskError> {
        Ok(self.0[&blob.digest].as_slice())
    }
}

fn read_with(bytes: &[u8], limits: &Limits) -> Result<Vec<PlannedImage>, ArchiveError> {
    let mut memory = Memory::default();
    let contents = scan(bytes, &mut memory, limits, &mut |_| {})?;
    plan(&contents, &memory, limits)
}

fn read(bytes: &[u8]) -> Result<Vec<PlannedImage>, ArchiveError> {
    read_with(bytes, &Limits::default())
}

fn sample(content: &[u8]) -> SampleImage {
    SampleImage::new(&[tar(&[file("a", content)]), tar(&[file("b", content)])], gzip)
}

fn platforms(bytes: &[u8]) -> Result<Vec<String>, ArchiveError> {
    Ok(read(bytes)?.into_iter().map(|image| image.architecture).collect())
}

fn names(image: &PlannedImage) -> Vec<String> {
    image.names.iter().map(ToString::to_string).collect()
}

/// This host's architecture and one that it is not.
fn architectures() -> (&'static str, &'static str) {
    if cfg!(target_arch = "aarch64") { ("arm64", "amd64") } else { ("amd64", "arm64") }
}

#[test]
fn docker_archives_of_either_order() {
    let (one, two) = (sample(b"1"), sample(b"2"));
    let mut files = docker_files(&[(&one, &["one", "x/one:1"]), (&two, &[])]);
    for _ in 0..2 {
        let images = read(&archive(&files)).unwrap();
        assert_eq!(images.len(), 2);
        assert_eq!(names(&images[0]), ["one:latest", "x/one:1"]);
        assert_eq!(images[0].config.digest, one.id());
        assert_eq!(images[0].layers[1].diff_id, one.diff_id(1));
        assert!(images[1].names.is_empty());
        files.reverse();
    }
    for compress in [gzip, zstd] {
        assert_eq!(read(&compress(&archive(&files))).unwrap().len(), 2);
    }
}

#[test]
fn repeated_layers_are_links_in_old_archives() {
    let image = SampleImage::new(&[tar(&[file("a", b"a")])], |bytes| bytes.to_vec());
    let json = json!([{"Config": "c.json", "RepoTags": null, "Layers": ["two/layer.tar"]}]).to_string();
    let layer = &image.layers[0].0;
    let items = [
        file("./c.json", &image.config),
        file("one/layer.tar", layer),
        symlink("two/layer.tar", "../one/layer.tar"),
        file("manifest.json", json.as_bytes()),
    ];
    assert_eq!(read(&tar(&items)).unwrap()[0].layers[0].blob.digest, image.diff_id(0));
    let round = [items[0], symlink("two/layer.tar", "layer.tar"), items[3]];
    assert!(matches!(read(&tar(&round)), Err(ArchiveError::Missing { path }) if path == "two/layer.tar"));
}

#[test]
fn oci_layouts_by_their_annotations() {
    let image = sample(b"1");
    let full = manifest_descriptor(&image, Some("docker.io/library/busybox:1"), None);
    let images = read(&oci_archive(&[&image], &[full])).unwrap();
    assert_eq!(names(&images[0]), ["busybox:1"]);
    for (annotation, expected) in
        [("ghcr.io/x:y", vec!["ghcr.io/x:y"]), ("app:2", vec!["app:2"]), ("latest", vec![]), ("No/Name", vec![])]
    {
        let mut value = manifest_descriptor(&image, None, None);
        value["annotations"] = json!({"org.opencontainers.image.ref.name": annotation});
        let images = read(&oci_archive(&[&image], &[value])).unwrap();
        assert_eq!(names(&images[0]), expected, "{annotation}");
    }
    let bad = manifest_descriptor(&image, Some("UPPER"), None);
    assert!(matches!(read(&oci_archive(&[&image], &[bad])), Err(ArchiveError::Name { .. })));
}

#[test]
fn archives_with_both_forms_lose_no_name() {
    let image = sample(b"1");
    let value = manifest_descriptor(&image, Some("docker.io/library/one:latest"), None);
    let mut files = image.blobs();
    files.push(("index.json".into(), index(&[value])));
    let layers: Vec<String> = image.layers.iter().map(|(_, stored)| blob_path(stored)).collect();
    let manifest = json!([{"Config": blob_path(&image.config), "RepoTags": ["one:latest", "two:2"], "Layers": layers}]);
    files.push(("manifest.json".into(), manifest.to_string().into_bytes()));
    let images = read(&archive(&files)).unwrap();
    assert_eq!(images.len(), 1);
    assert_eq!(names(&images[0]), ["one:latest", "two:2"]);
}

#[test]
fn of_several_platforms_the_hosts_is_taken() {
    let (host, other) = architectures();
    let layers = [tar(&[file("a", b"a")])];
    let ours = SampleImage::for_platform(&layers, gzip, host, "2024-01-01T00:00:00Z");
    let theirs = SampleImage::for_platform(&layers, gzip, other, "2024-01-01T00:00:00Z");
    let both = |name| [manifest_descriptor(&theirs, name, Some(other)), manifest_descriptor(&ours, name, Some(host))];
    for name in [Some("app:1"), None] {
        assert_eq!(platforms(&oci_archive(&[&ours, &theirs], &both(name))).unwrap(), [host]);
    }
    // The same as an index within the index, beside what is no image.
    let mut attestation = manifest_descriptor(&theirs, None, Some("unknown"));
    attestation["platform"]["os"] = json!("unknown");
    attestation["annotations"] = json!({"vnd.docker.reference.type": "attestation-manifest"});
    let nested = index(&[&both(None)[..], &[attestation]].concat());
    let mut outer = descriptor("application/vnd.oci.image.index.v1+json", &nested);
    outer["annotations"] = json!({"io.containerd.image.name": "app:1"});
    let mut files = [ours.blobs(), theirs.blobs()].concat();
    files.sort();
    files.dedup();
    files.push((blob_path(&nested), nested));
    files.push(("index.json".into(), index(&[outer])));
    assert_eq!(platforms(&archive(&files)).unwrap(), [host]);

    // An image for one platform only is taken as it is.
    let single = [manifest_descriptor(&theirs, Some("app:1"), Some(other))];
    assert_eq!(platforms(&oci_archive(&[&theirs], &single)).unwrap(), [other]);
    let foreign = [
        manifest_descriptor(&theirs, Some("app:1"), Some("mips")),
        manifest_descriptor(&theirs, Some("app:1"), Some("s390x")),
    ];
    let error = platforms(&oci_archive(&[&theirs], &foreign)).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("the image app:1 is for linux/mips, linux/s390x, and this host is linux/{host}")
    );
}

#[test]
fn an_index_in_an_index_has_an_end() {
    let image = sample(b"1");
    let mut files = image.blobs();
    let mut inner = index(&[manifest_descriptor(&image, None, None)]);
    for _ in 0..6 {
        let value = descriptor("application/vnd.oci.image.index.v1+json", &inner);
        files.push((blob_path(&inner), inner));
        inner = index(&[value]);
    }
    files.push(("index.json".into(), inner));
    assert!(matches!(read(&archive(&files)), Err(ArchiveError::Nesting { .. })));
}

#[test]
fn other_systems_images_are_refused() {
    let config = json!({"architecture": "amd64", "os": "windows", "rootfs": {"type": "layers", "diff_ids": []}});
    let json = json!([{"Config": "c", "RepoTags": [], "Layers": []}]).to_string();
    let bytes = tar(&[file("c", config.to_string().as_bytes()), file("manifest.json", json.as_bytes())]);
    assert!(matches!(read(&bytes), Err(ArchiveError::Os { os, .. }) if os == "windows"));
}

#[test]
fn what_does_not_fit_together_is_named() {
    let image = sample(b"1");
    let good = docker_files(&[(&image, &["a"])]);
    let change = |edit: &dyn Fn(&mut Files)| {
        let mut files = good.clone();
        edit(&mut files);
        read(&archive(&files)).unwrap_err()
    };
    let position = |name: &str| good.iter().position(|(path, _)| path.ends_with(name)).unwrap();
    let (config, manifest) = (good.len() - 2, position("manifest.json"));
    assert!(matches!(change(&|files| drop(files.remove(0))), ArchiveError::Missing { .. }));
    assert!(matches!(change(&|files| drop(files.remove(config))), ArchiveError::Missing { .. }));
    assert!(matches!(change(&|files| drop(files.remove(manifest))), ArchiveError::NoImage));
    assert!(matches!(change(&|files| files[config].1.push(b' ')), ArchiveError::Digest { .. }));
    assert!(matches!(change(&|files| files[manifest].1.truncate(20)), ArchiveError::Json { .. }));
    let twice = |files: &mut Files| files.push((files[0].0.clone(), b"other".to_vec()));
    assert!(matches!(change(&twice), ArchiveError::Duplicate { .. }));
    let one_less = json!([{"Config": good[config].0, "RepoTags": ["a"], "Layers": [good[0].0]}]).to_string();
    let error = change(&|files| files[manifest].1 = one_less.clone().into_bytes());
    assert!(matches!(error, ArchiveError::LayerCount { listed: 2, given: 1, .. }));
    let outside = json!([{"Config": "../../../etc/passwd", "Layers": []}]).to_string();
    let error = change(&|files| files[manifest].1 = outside.clone().into_bytes());
    assert!(matches!(error, ArchiveError::Missing { .. }));
    let mut repeated = good.clone();
    repeated.push(good[0].clone());
    assert!(read(&archive(&repeated)).is_ok(), "the same file twice is harmless");

    let mut value = manifest_descriptor(&image, None, None);
    value["size"] = json!(5);
    assert!(matches!(read(&oci_archive(&[&image], &[value.clone()])), Err(ArchiveError::Size { expected: 5, .. })));
    value["digest"] = json!(format!("sha512:{}", "0".repeat(128)));
    assert!(matches!(read(&oci_archive(&[&image], &[value])), Err(ArchiveError::DigestAlgorithm { .. })));
    let mut files = image.blobs();
    files[0].1.push(0);
    assert!(matches!(read(&archive(&files)), Err(ArchiveError::Digest { .. })));
    assert!(matches!(read(b"BZh91AY&SY"), Err(ArchiveError::Compression(_))));
    assert!(matches!(read(b""), Err(ArchiveError::NoImage)));
    assert!(matches!(read(b"no archive at all"), Err(ArchiveError::Tar(_))));
}

#[test]
fn excess_is_refused() {
    let image = sample(b"1");
    let bytes = archive(&docker_files(&[(&image, &["a", "b", "c"]), (&sample(b"2"), &[])]));
    let error = |limits: Limits| read_with(&bytes, &limits).unwrap_err();
    assert!(matches!(error(Limits { json: 100, ..Limits::default() }), ArchiveError::TooLarge { limit: 100, .. }));
    assert!(matches!(error(Limits { archive_entries: 3, ..Limits::default() }), ArchiveError::TooManyEntries { .. }));
    assert!(matches!(error(Limits { images: 1, ..Limits::default() }), ArchiveError::TooManyImages { .. }));
    assert!(matches!(error(Limits { layers: 1, ..Limits::default() }), ArchiveError::TooManyLayers { .. }));
    assert!(matches!(error(Limits { unpacked: 400, ..Limits::default() }), ArchiveError::TooMuch { .. }));
    assert!(matches!(error(Limits { archive_path: 30, ..Limits::default() }), ArchiveError::TooLarge { .. }));
    // A few kilobytes that would become a terabyte of a device's data.
    let bomb = zstd(&[tar(&[file("x", b"")])[..512].to_vec(), vec![0; 1 << 22]].concat());
    assert!(matches!(read(&bomb), Err(ArchiveError::NoImage)));
}

#[test]
fn every_cut_of_an_archive_is_an_error() {
    let image = sample(&[3; 3000]);
    let value = manifest_descriptor(&image, Some("a"), None);
    for bytes in [oci_archive(&[&image], &[value]), archive(&docker_files(&[(&image, &["a"])]))] {
        let end = bytes.len() - 1024;
        for cut in (0..end).step_by(97) {
            assert!(read(&bytes[..cut]).is_err(), "{cut} of {}", bytes.len());
        }
        let packed = gzip(&bytes);
        for cut in (0..packed.len()).step_by(41) {
            assert!(read(&packed[..cut]).is_err(), "{cut} of {}", packed.len());
        }
    }
}
