//! The store on a real disk. Loading needs root, as unpacking does.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use casemate_model::{Classify, ContainerId, ErrorClass};

use super::{LoadError, LoadProgress, RemoveError, Removed, ResolveError, Store, User, Users};
use crate::archive::ArchiveError;
use crate::fixture::{
    SampleImage, archive, blob_path, directory, docker_files, file, gzip, hard_link, manifest_descriptor, names,
    not_root, oci_archive, tar, zstd,
};
use crate::limits::Limits;
use crate::reference::Reference;

pub(super) struct Home {
    scratch: tempfile::TempDir,
    pub(super) store: Store,
}

impl Home {
    pub(super) fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let store = Store::open(scratch.path()).unwrap();
        // The lock's file is there from its first use on.
        drop(store.lock().unwrap());
        Self { scratch, store }
    }

    pub(super) fn load(&self, bytes: &[u8]) -> Result<Vec<super::LoadedImage>, LoadError> {
        self.store.load(bytes, &mut |_| {})
    }

    fn files(&self) -> Vec<String> {
        names(&self.store.directory)
    }

    fn digests_in(&self, directory: PathBuf) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(directory).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn is_staging_empty(&self) -> bool {
        self.digests_in(self.store.staging()).is_empty()
    }
}

fn layer(content: &[u8]) -> Vec<u8> {
    tar(&[directory("dir"), file("dir/file", content), hard_link("link", "dir/file")])
}

fn sample(content: &[u8], compress: fn(&[u8]) -> Vec<u8>) -> SampleImage {
    SampleImage::new(&[layer(b"base"), layer(content)], compress)
}

fn plain(bytes: &[u8]) -> Vec<u8> {
    bytes.to_vec()
}

fn docker(image: &SampleImage, tags: &[&str]) -> Vec<u8> {
    archive(&docker_files(&[(image, tags)]))
}

fn nobody() -> Users {
    Users::default()
}

/// One container on this image.
fn a_user(image: &SampleImage, running: bool) -> Users {
    let container = ContainerId::from_random([0xc0; 32]);
    let layers = vec![image.diff_id(0), image.diff_id(1)];
    Users { containers: vec![User { container, image: image.id(), layers, running }], some_unknown: false }
}

#[test]
fn an_image_loads_from_every_form_and_is_one() {
    if not_root() {
        return;
    }
    let home = Home::new();
    let mut ids = Vec::new();
    for compress in [plain, gzip, zstd] {
        let image = sample(b"top", compress);
        let value = manifest_descriptor(&image, Some("docker.io/library/app:oci"), None);
        for bytes in [docker(&image, &["app:docker"]), oci_archive(&[&image], &[value])] {
            for outer in [plain, gzip, zstd] {
                ids.extend(home.load(&outer(&bytes)).unwrap().into_iter().map(|loaded| loaded.id));
            }
        }
    }
    let image = sample(b"top", plain);
    assert_eq!(ids, vec![image.id(); 18]);
    let resolved = home.store.resolve("app:docker").unwrap();
    assert_eq!(resolved, home.store.resolve("app:oci").unwrap());
    assert_eq!(resolved.layers, [image.diff_id(0), image.diff_id(1)]);
    assert_eq!((resolved.size, resolved.architecture.as_str()), (7, "amd64"));
    assert_eq!((resolved.config.env, resolved.config.cmd), (vec!["PATH=/bin".to_owned()], vec!["sh".to_owned()]));
    let read = |index: usize| fs::read_to_string(home.store.layer_dir(&image.diff_id(index)).join("link")).unwrap();
    assert_eq!((read(0), read(1)), ("base".into(), "top".into()));
    let rows = home.store.images().unwrap();
    let listed: Vec<_> = rows.iter().map(|row| (row.repository.as_deref(), row.tag.as_deref())).collect();
    assert_eq!(listed, [(Some("app"), Some("docker")), (Some("app"), Some("oci"))]);
    assert!(home.is_staging_empty());
    // The first form that came is kept: manifest, configuration, two layers.
    assert_eq!(home.digests_in(home.store.blobs()).len(), 4);
    for blob in home.digests_in(home.store.blobs()) {
        let bytes = fs::read(home.store.blobs().join(&blob)).unwrap();
        assert_eq!(blob_path(&bytes), format!("blobs/sha256/{blob}"));
    }
}

#[test]
fn several_images_come_at_once_and_progress_is_told() {
    if not_root() {
        return;
    }
    let home = Home::new();
    let (one, two) = (sample(b"one", gzip), sample(b"two", gzip));
    let bytes = archive(&docker_files(&[(&one, &["one", "also/one:1"]), (&two, &[])]));
    let mut read = 0;
    let mut told = Vec::new();
    let loaded = home.store.load(&bytes[..], &mut |progress| match progress {
        LoadProgress::Reading { bytes } => read = bytes,
        LoadProgress::Unpacking { layer, layers, bytes, of, .. } if bytes == of => told.push((layer, layers)),
        LoadProgress::Unpacking { bytes, of, .. } => assert!(bytes <= of),
        LoadProgress::Exists { layer, layers, .. } => told.push((layer + 100, layers)),
    });
    let loaded = loaded.unwrap();
    assert_eq!(loaded[0].names.iter().map(ToString::to_string).collect::<Vec<_>>(), ["one:latest", "also/one:1"]);
    assert_eq!((loaded[1].id.clone(), loaded[1].names.len()), (two.id(), 0));
    assert!(read as usize > bytes.len() / 2);
    told.dedup();
    assert_eq!(told, [(1, 3), (2, 3), (3, 3)]);
    let mut again = Vec::new();
    home.store
        .load(&bytes[..], &mut |progress| {
            if let LoadProgress::Exists { layer, .. } = progress {
                again.push(layer);
            }
        })
        .unwrap();
    assert_eq!(again, [1, 2, 3]);
    let rows = home.store.images().unwrap();
    assert_eq!(rows.iter().filter(|row| row.repository.is_none()).count(), 1);
}

#[test]
fn a_failed_load_leaves_nothing() {
    if not_root() {
        return;
    }
    let home = Home::new();
    home.load(&docker(&sample(b"here before", gzip), &["before"])).unwrap();
    let before = home.files();
    let image = sample(b"new", gzip);
    let good = docker(&image, &["new"]);
    for cut in (0..good.len() - 1024).step_by(211) {
        let error = home.load(&good[..cut]).unwrap_err();
        assert!(matches!(error.class(), ErrorClass::Protocol | ErrorClass::InvalidArgument), "{cut}: {error:?}");
        assert_eq!(home.files(), before, "cut at {cut}");
    }
    // Layers that are not what the configuration says, or not layers at all.
    let mut swapped = sample(b"new", gzip);
    swapped.layers[1].1 = gzip(&layer(b"other"));
    assert!(matches!(home.load(&docker(&swapped, &["new"])), Err(LoadError::DiffId { .. })));
    let mut padded = sample(b"new", plain);
    padded.layers[1].1.extend([0; 512]);
    assert!(matches!(home.load(&docker(&padded, &["new"])), Err(LoadError::DiffId { .. })));
    let mut known = sample(b"here before", gzip);
    known.layers[1].1 = gzip(&layer(b"not what is there"));
    let error = home.load(&docker(&known, &["new"])).unwrap_err();
    assert!(matches!(error, LoadError::DiffId { .. }), "a layer that exists is no excuse: {error:?}");
    let escape = SampleImage::new(&[tar(&[file("../../x", b"x")])], gzip);
    assert!(matches!(home.load(&docker(&escape, &["new"])), Err(LoadError::Unpack { .. })));
    let mut cut = sample(b"new", gzip);
    cut.layers[1].1.truncate(60);
    let error = home.load(&docker(&cut, &["new"])).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Protocol, "{error:?}");
    let xz = SampleImage::new(&[layer(b"x")], |_| b"\xfd7zXZ\0\0and so on".to_vec());
    assert!(matches!(home.load(&docker(&xz, &["new"])), Err(LoadError::LayerCompression { .. })));
    let mut second = sample(b"second", gzip);
    second.layers[1].1 = gzip(&layer(b"other"));
    let both = archive(&docker_files(&[(&image, &["new"]), (&second, &["bad"])]));
    assert!(matches!(home.load(&both), Err(LoadError::DiffId { .. })));
    assert_eq!(home.files(), before);
    assert!(matches!(home.store.resolve("new"), Err(ResolveError::NotFound { .. })));
}

#[test]
fn a_bomb_is_defused() {
    if not_root() {
        return;
    }
    let mut home = Home::new();
    let before = home.files();
    home.store.limits = Limits { unpacked: 1 << 20, ..Limits::default() };
    let layer = tar(&[file("bomb", &vec![0; 64 << 20])]);
    for compress in [gzip, zstd] {
        let image = SampleImage::new(std::slice::from_ref(&layer), compress);
        let error = home.load(&docker(&image, &["bomb"])).unwrap_err();
        assert_eq!(error.class(), ErrorClass::Protocol, "{error:?}");
        assert_eq!(home.files(), before);
    }
}

#[test]
fn a_name_moves_and_an_old_image_stays_without() {
    if not_root() {
        return;
    }
    let home = Home::new();
    let (old, new) = (sample(b"old", gzip), sample(b"new", gzip));
    home.load(&docker(&old, &["app"])).unwrap();
    home.load(&docker(&new, &["app"])).unwrap();
    assert_eq!(home.store.resolve("app").unwrap().id, new.id());
    assert!(home.store.resolve(old.id().short()).unwrap().names.is_empty());
}

#[test]
fn images_are_found_the_ways_docker_finds_them() {
    if not_root() {
        return;
    }
    let home = Home::new();
    let images: Vec<SampleImage> = (0..20_u8).map(|n| sample(&[n], plain)).collect();
    for (n, image) in images.iter().enumerate() {
        home.load(&docker(image, &[&format!("app:{n}")])).unwrap();
    }
    let image = &images[3];
    let (id, hex) = (image.id().to_string(), image.id().hex().to_owned());
    let manifest = home.store.resolve("app:3").unwrap().manifest;
    for text in [
        "app:3",
        "library/app:3",
        "docker.io/app:3",
        &id,
        &hex,
        &hex[..12],
        &id[..20],
        &format!("app@{manifest}"),
        &manifest.to_string(),
    ] {
        assert_eq!(home.store.resolve(text).map(|image| image.id).unwrap(), image.id(), "{text}");
    }
    // Twenty images, sixteen digits.
    let first = |image: &SampleImage| image.id().hex()[..1].to_owned();
    let shared = images.iter().map(first).find(|a| images.iter().filter(|b| first(b) == *a).count() > 1).unwrap();
    assert!(matches!(home.store.resolve(&shared), Err(ResolveError::Ambiguous { .. })));
    for (text, shown) in [
        ("foo", "foo:latest"),
        ("app", "app:latest"),
        ("ghcr.io/a/b:c", "ghcr.io/a/b:c"),
        (&format!("other@{manifest}")[..], &format!("other@{manifest}")[..]),
        (&"0".repeat(64), &"0".repeat(64)),
    ] {
        let error = home.store.resolve(text).unwrap_err();
        assert_eq!(error.to_string(), format!("No such image: {shown}"));
        assert_eq!(error.class(), ErrorClass::NotFound);
    }
    assert_eq!(home.store.resolve("A b").unwrap_err().class(), ErrorClass::InvalidArgument);
    // A name goes before the beginning of an id.
    home.load(&docker(&images[5], &[&hex[..4]])).unwrap();
    assert_eq!(home.store.resolve(&hex[..4]).unwrap().id, images[5].id());
}

#[test]
fn a_damaged_configuration_is_noticed() {
    if not_root() {
        return;
    }
    let home = Home::new();
    let image = sample(b"x", plain);
    home.load(&docker(&image, &["app"])).unwrap();
    fs::write(home.store.blob(&image.id()), b"{}").unwrap();
    assert!(matches!(home.store.resolve("app"), Err(ResolveError::Damaged { .. })));
}

#[test]
fn removing_frees_what_nobody_needs() {
    if not_root() {
        return;
    }
    let home = Home::new();
    let (one, two) = (sample(b"one", gzip), sample(b"two", gzip));
    home.load(&archive(&docker_files(&[(&one, &["one", "uno"]), (&two, &["two"])]))).unwrap();
    let layers = |home: &Home| home.digests_in(home.store.layers()).len();
    let error = home.store.remove(one.id().short(), false, &nobody()).unwrap_err();
    assert!(matches!(error, RemoveError::ManyNames { .. }));
    let removed = home.store.remove("one", false, &nobody()).unwrap();
    assert_eq!((removed.untagged[0].to_string().as_str(), removed.deleted, layers(&home)), ("one:latest", None, 3));
    assert!(home.store.resolve("one").is_err() && home.store.resolve("uno").is_ok());

    // A container stands on it: by force the image goes, the layers stay until
    // they are free.
    let user = a_user(&one, false);
    let top = one.diff_id(1);
    let removed = home.store.remove("uno", true, &user).unwrap();
    assert_eq!((removed.deleted, layers(&home)), (Some(one.id()), 3));
    home.store.sweep(&Users { some_unknown: true, ..nobody() }).unwrap();
    assert_eq!(layers(&home), 3, "an unknown container may stand on it");
    home.store.sweep(&nobody()).unwrap();
    assert_eq!(layers(&home), 2, "the base is the other image's too");
    assert!(!home.store.layer_dir(&top).exists());

    // Held by a process.
    let image = home.store.resolve("two").unwrap();
    let hold = home.store.hold(&image).unwrap();
    home.store.remove(&two.id().to_string(), false, &nobody()).unwrap();
    assert_eq!(layers(&home), 2);
    drop(hold);
    home.store.sweep(&nobody()).unwrap();
    assert_eq!((layers(&home), home.digests_in(home.store.blobs()).len()), (0, 0));
    assert!(matches!(home.store.hold(&image), Err(ResolveError::NotFound { .. })));
    assert!(matches!(
        home.store.remove("two", true, &nobody()),
        Err(RemoveError::Resolve(ResolveError::NotFound { .. }))
    ));
    assert!(home.is_staging_empty());
}

/// As moby's `daemon/images/image_delete.go` has it, word for word.
#[test]
fn images_in_use_are_kept_by_dockers_rules() {
    if not_root() {
        return;
    }
    let home = Home::new();
    let image = sample(b"x", gzip);
    let (id, container) = (image.id(), ContainerId::from_random([0xc0; 32]));
    let (id, short, container) = (id.to_string(), id.short(), container.short());
    let (stopped, running) = (a_user(&image, false), a_user(&image, true));
    let load = |names: &[&str]| drop(home.load(&docker(&image, names)).unwrap());
    let refused = |reference: &str, force: bool, users: &Users| {
        let before = home.store.images().unwrap();
        let error = home.store.remove(reference, force, users).unwrap_err();
        assert_eq!(error.class(), ErrorClass::Conflict);
        assert_eq!(home.store.images().unwrap(), before, "{error}");
        error.to_string()
    };
    let removed = |reference: &str, force: bool, users: &Users| {
        let Removed { untagged, deleted } = home.store.remove(reference, force, users).unwrap();
        let untagged: Vec<String> = untagged.iter().map(ToString::to_string).collect();
        (untagged.join(" "), deleted.is_some())
    };

    load(&["app"]);
    for users in [&stopped, &running] {
        let expected = format!(
            "conflict: unable to remove repository reference \"app\" (must force) \
             - container {container} is using its referenced image {short}"
        );
        assert_eq!(refused("app", false, users), expected);
    }
    let in_use = |force: &str, kind: &str| {
        format!("conflict: unable to delete {short} ({force}) - image is being used by {kind} container {container}")
    };
    assert_eq!(refused(&id, false, &stopped), in_use("must be forced", "stopped"));
    for force in [false, true] {
        assert_eq!(refused(short, force, &running), in_use("cannot be forced", "running"));
    }
    // Of several names one can always go.
    load(&["also"]);
    let many =
        format!("conflict: unable to delete {short} (must be forced) - image is referenced in multiple repositories");
    assert_eq!(refused(&id, false, &stopped), many);
    assert_eq!(refused(&id, false, &running), in_use("cannot be forced", "running"));
    assert_eq!(removed("also", false, &running), ("also:latest".to_owned(), false));
    // By force the last one too; the image stays as long as a container runs on it.
    assert_eq!(removed("app", true, &running), ("app:latest".to_owned(), false));
    let rows = home.store.images().unwrap();
    assert_eq!((rows.len(), &rows[0].repository, rows[0].id.to_string()), (1, &None, id.clone()));
    assert_eq!(refused(&id, true, &running), in_use("cannot be forced", "running"));
    assert_eq!(refused(&id, false, &stopped), in_use("must be forced", "stopped"));
    assert_eq!(removed(&id, true, &stopped), (String::new(), true));

    load(&["app"]);
    assert_eq!(removed("app", true, &stopped), ("app:latest".to_owned(), true));
    load(&["app", "also"]);
    assert_eq!(removed(&id, true, &stopped), ("app:latest also:latest".to_owned(), true));
    load(&["app"]);
    assert_eq!(removed(short, false, &nobody()), ("app:latest".to_owned(), true));
    assert!(home.store.images().unwrap().is_empty());
}

#[test]
fn the_built_in_image_is_loaded_once() {
    if not_root() {
        return;
    }
    let home = Home::new();
    let path = home.scratch.path().join("builtin.tar");
    fs::write(&path, docker(&sample(b"x", gzip), &["busybox"])).unwrap();
    let name: Reference = "busybox".parse().unwrap();
    assert!(home.store.load_builtin(&name, &path).unwrap());
    assert!(!home.store.load_builtin(&name, &path).unwrap());
    assert!(!home.store.load_builtin(&name, Path::new("/nowhere")).unwrap());
    home.store.remove("busybox", false, &nobody()).unwrap();
    assert!(home.store.load_builtin(&name, &path).unwrap());
    let other: Reference = "other".parse().unwrap();
    let error = home.store.load_builtin(&other, Path::new("/nowhere")).unwrap_err();
    assert!(matches!(error, LoadError::Disk(_)));
}

/// Reads as the archive and, when half of it was read, does something.
struct Interrupted<'a, F: FnMut()> {
    bytes: &'a [u8],
    half: usize,
    then: Option<F>,
}

impl<F: FnMut()> Read for Interrupted<'_, F> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let then = if self.bytes.len() < self.half { self.then.take() } else { None };
        if let Some(mut then) = then {
            then();
        }
        let length = buffer.len().min(512);
        self.bytes.read(&mut buffer[..length])
    }
}

#[test]
fn loads_and_removals_at_the_same_time_do_not_disturb_each_other() {
    if not_root() {
        return;
    }
    let home = Home::new();
    let image = sample(b"x", gzip);
    let bytes = docker(&image, &["app"]);
    let root = home.scratch.path();
    // Another process opens, loads the same image, and removes it again, while
    // this one is half-way: it cleans up after the dead, not after the living.
    let elsewhere = || {
        let store = Store::open(root).unwrap();
        store.load(&bytes[..], &mut |_| {}).unwrap();
        store.remove("app", false, &nobody()).unwrap();
    };
    let archive = Interrupted { bytes: &bytes, half: bytes.len() / 2, then: Some(elsewhere) };
    home.store.load(archive, &mut |_| {}).unwrap();
    assert_eq!(home.store.resolve("app").unwrap().id, image.id());
    assert!(home.store.layer_dir(&image.diff_id(1)).join("link").exists());
    assert!(home.is_staging_empty());

    let results: Vec<_> = std::thread::scope(|scope| {
        let load = |n: u8| {
            let image = sample(&[n % 2], gzip);
            let bytes = docker(&image, &[&format!("t{n}")]);
            scope.spawn(move || Store::open(root).unwrap().load(&bytes[..], &mut |_| {}).map(|_| ()))
        };
        let threads: Vec<_> = (0..6).map(load).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    for n in 0..6 {
        let image = home.store.resolve(&format!("t{n}")).unwrap();
        assert!(image.layers.iter().all(|layer| home.store.layer_dir(layer).join("link").exists()));
    }
    assert!(home.is_staging_empty());
}

#[test]
fn what_a_killed_load_left_is_taken_back() {
    if not_root() {
        return;
    }
    let home = Home::new();
    home.load(&docker(&sample(b"here before", gzip), &["before"])).unwrap();
    let before = home.files();
    // The state on disk of a process killed between putting layers and blobs in
    // place and writing the records: a whole store, less the new record.
    let records = fs::read(home.store.records()).unwrap();
    let image = sample(b"new", gzip);
    home.load(&docker(&image, &["new"])).unwrap();
    fs::write(home.store.records(), records).unwrap();
    let dead = home.store.staging().join("dead");
    fs::create_dir_all(dead.join("layers/half")).unwrap();
    fs::write(dead.join("layers/half/file"), "x").unwrap();
    let mut journal = super::staging::Journal::default();
    for diff_id in [image.diff_id(0), image.diff_id(1)] {
        journal.layer(&diff_id);
    }
    for (path, bytes) in [image.blobs(), sample(b"here before", gzip).blobs()].concat() {
        assert!(path.ends_with(crate::hash::digest_of(&bytes).hex()));
        journal.blob(&crate::hash::digest_of(&bytes));
    }
    // The manifest of a docker archive is the store's own work.
    for blob in home.digests_in(home.store.blobs()) {
        journal.blob(&format!("sha256:{blob}").parse().unwrap());
    }
    fs::write(dead.join("journal.json"), serde_json::to_vec(&journal).unwrap()).unwrap();

    let again = Store::open(home.scratch.path()).unwrap();
    assert_eq!(home.files(), before, "only what no record uses went");
    assert!(again.resolve("before").is_ok());
    // Without a journal: killed earlier, or by something else.
    fs::create_dir_all(dead.join("deep/er")).unwrap();
    fs::write(home.store.staging().join("stray"), "x").unwrap();
    home.load(&docker(&image, &["new"])).unwrap();
    assert!(home.is_staging_empty());
}

#[test]
fn the_store_is_closed_to_other_users() {
    let home = Home::new();
    let mode = home.store.directory.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn an_archive_without_images_says_so() {
    let home = Home::new();
    let error = home.load(&tar(&[file("readme", b"x")])).unwrap_err();
    assert!(matches!(error, LoadError::Archive(ArchiveError::NoImage)));
    assert_eq!(error.class(), ErrorClass::InvalidArgument);
    let error = home.load(b"BZh91AY&SY").unwrap_err();
    assert_eq!(error.hint().as_deref(), Some("decompress the archive first: bzip2 -d < FILE | casemate load"));
}
