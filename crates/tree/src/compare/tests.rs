//! Changes made through a real overlay, as a container makes them.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};

use rustix::fs::{XattrFlags, setxattr};

use super::*;
use crate::fixture::{Overlay, describe, not_root, path_of};
use crate::tarball::TarReader;

fn layers(overlay: &Overlay, mount_points: &[(&str, bool)]) -> Layers {
    let point = |&(path, is_directory): &(&str, bool)| MountPoint { path: path.into(), is_directory };
    Layers {
        upper: fs::File::open(overlay.upper()).unwrap().into(),
        lower: fs::File::open(overlay.lower()).unwrap().into(),
        mount_points: mount_points.iter().map(point).collect(),
    }
}

/// As `docker diff` prints it.
fn list(layers: &Layers) -> Vec<String> {
    let mut found = Vec::new();
    list_changes(layers, |kind, path| {
        let letter = match kind {
            ChangeKind::Modified => 'C',
            ChangeKind::Added => 'A',
            ChangeKind::Deleted => 'D',
        };
        found.push(format!("{letter} {}", String::from_utf8_lossy(path)));
        Ok(())
    })
    .unwrap();
    found
}

fn entry_names(layers: &Layers) -> Vec<String> {
    let mut bytes = Vec::new();
    crate::pack_layer(layers, &mut bytes).unwrap();
    let mut reader = TarReader::new(&bytes[..]);
    let mut found = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        found.push(String::from_utf8_lossy(&entry.path).into_owned());
    }
    found
}

fn base(overlay: &Overlay) {
    let at = |path: &str| overlay.lower().join(path);
    for directory in ["etc/sub", "gone/deep", "again", "opaque/inner", "untouched"] {
        fs::create_dir_all(at(directory)).unwrap();
    }
    for file in
        ["etc/a", "etc/b", "etc/sub/c", "gone/deep/d", "again/old", "again/same", "opaque/x", "opaque/inner/y", "time"]
    {
        fs::write(at(file), "before").unwrap();
    }
    fs::create_dir(at("was-dir")).unwrap();
    fs::write(at("was-dir/in"), "").unwrap();
    fs::write(at("was-file"), "").unwrap();
}

#[test]
fn changes_are_told_as_docker_tells_them() {
    if not_root() {
        return;
    }
    let overlay = Overlay::new();
    base(&overlay);
    let root = overlay.mount();
    let at = |path: &str| path_of(&root, path);
    assert_eq!(list(&layers(&overlay, &[])), Vec::<String>::new());

    fs::write(at("etc/a"), "after!").unwrap();
    fs::remove_file(at("etc/b")).unwrap();
    // Opened for writing and left as it was.
    let time = fs::metadata(at("etc/sub/c")).unwrap().modified().unwrap();
    fs::File::options().append(true).open(at("etc/sub/c")).unwrap().set_modified(time).unwrap();
    fs::remove_dir_all(at("gone")).unwrap();
    fs::create_dir_all(at("new/deep")).unwrap();
    fs::write(at("new/deep/file"), "").unwrap();
    symlink("/nowhere", at("new/link")).unwrap();
    // Removed and made again: what was in it is hidden.
    fs::remove_dir_all(at("again")).unwrap();
    fs::create_dir(at("again")).unwrap();
    fs::write(at("again/same"), "other").unwrap();
    fs::write(at("again/new"), "").unwrap();
    fs::set_permissions(at("untouched"), PermissionsExt::from_mode(0o700)).unwrap();
    fs::remove_dir_all(at("was-dir")).unwrap();
    fs::write(at("was-dir"), "file now").unwrap();
    fs::remove_file(at("was-file")).unwrap();
    fs::create_dir(at("was-file")).unwrap();
    fs::write(at("was-file/in"), "").unwrap();
    let expected = [
        "C /again",
        "D /again/old",
        "A /again/new",
        "C /again/same",
        "C /etc",
        "C /etc/a",
        "D /etc/b",
        "D /gone",
        "A /new",
        "A /new/deep",
        "A /new/deep/file",
        "A /new/link",
        "C /untouched",
        "C /was-dir",
        "C /was-file",
        "A /was-file/in",
    ];
    assert_eq!(list(&layers(&overlay, &[])), expected);
    let expected = [
        "again/",
        "again/.wh..wh..opq",
        "again/new",
        "again/same",
        "etc/",
        "etc/a",
        "etc/.wh.b",
        "etc/sub/",
        "etc/sub/c",
        ".wh.gone",
        "new/",
        "new/deep/",
        "new/deep/file",
        "new/link",
        "untouched/",
        "was-dir",
        "was-file/",
        "was-file/in",
    ];
    assert_eq!(entry_names(&layers(&overlay, &[])), expected);
}

/// The layer put on what it was made from gives what the container saw.
#[test]
fn a_layer_restores_what_it_was_made_of() {
    if not_root() {
        return;
    }
    let overlay = Overlay::new();
    base(&overlay);
    let root = overlay.mount();
    let at = |path: &str| path_of(&root, path);
    fs::write(at("etc/a"), vec![3; 300_000]).unwrap();
    fs::hard_link(at("etc/a"), at("hard")).unwrap();
    chown(at("etc/sub/c"), Some(5), Some(6)).unwrap();
    fs::remove_dir_all(at("opaque")).unwrap();
    fs::create_dir(at("opaque")).unwrap();
    fs::set_permissions(at("opaque"), PermissionsExt::from_mode(0o1700)).unwrap();
    fs::write(at("opaque/new"), "").unwrap();
    fs::remove_file(at("time")).unwrap();
    setxattr(at("was-file"), "user.note", b"note", XattrFlags::empty()).unwrap();
    let sparse = fs::File::create(at("sparse")).unwrap();
    sparse.set_len(1 << 40).unwrap();
    drop(sparse);
    let mut bytes = Vec::new();
    crate::pack_layer(&layers(&overlay, &[]), &mut bytes).unwrap();
    assert!(bytes.len() < 400_000, "holes are no data: {}", bytes.len());
    fs::remove_file(at("sparse")).unwrap();

    let copy = Overlay::new();
    let copied =
        std::process::Command::new("cp").args(["-a", "-T"]).arg(overlay.lower()).arg(copy.lower()).status().unwrap();
    assert!(copied.success());
    let upper = fs::File::open(copy.upper()).unwrap();
    let limits = crate::Limits { entries: 100, bytes: 1 << 41, directory_names: 1 << 20 };
    crate::unpack_layer(&mut TarReader::new(&bytes[..]), upper.into(), &limits).unwrap();
    let copied = copy.mount();
    assert_eq!(fs::metadata(path_of(&copied, "sparse")).unwrap().len(), 1 << 40);
    fs::remove_file(path_of(&copied, "sparse")).unwrap();
    let essence = |root: &OwnedFd| {
        let mut tree = describe(&path_of(root, ""));
        // The root itself is not in a layer.
        tree.remove(".");
        tree.values_mut().for_each(|description| description.mtime.1 = 0);
        // Directories on the way are not in it if only their content changed.
        tree.into_iter().map(|(name, d)| (name, (d.kind, d.mode, d.owner, d.content, d.same_as, d.xattrs))).collect()
    };
    let (expected, found): (std::collections::BTreeMap<_, _>, std::collections::BTreeMap<_, _>) =
        (essence(&root), essence(&copied));
    assert_eq!(found, expected);
}

#[test]
fn what_was_made_to_mount_on_is_no_change() {
    if not_root() {
        return;
    }
    let overlay = Overlay::new();
    fs::create_dir(overlay.lower().join("dev")).unwrap();
    let root = overlay.mount();
    let at = |path: &str| path_of(&root, path);
    let mode = |path: &str, mode| fs::set_permissions(at(path), PermissionsExt::from_mode(mode)).unwrap();
    for directory in ["proc", "etc"] {
        fs::create_dir(at(directory)).unwrap();
        mode(directory, 0o755);
    }
    for file in ["etc/hosts", "etc/hostname"] {
        fs::write(at(file), "").unwrap();
        mode(file, 0o644);
    }
    let points = [("proc", true), ("dev", true), ("etc/hosts", false), ("etc/hostname", false)];
    let of = || (list(&layers(&overlay, &points)), entry_names(&layers(&overlay, &points)));
    assert_eq!(of(), (vec![], vec![]));
    assert_eq!(list(&layers(&overlay, &points[..2])), ["A /etc", "A /etc/hostname", "A /etc/hosts"]);
    // Beside them, and to them.
    fs::write(at("etc/mine"), "").unwrap();
    assert_eq!(of().0, ["C /etc", "A /etc/mine"]);
    assert_eq!(of().1, ["etc/", "etc/mine"]);
    fs::write(at("etc/hosts"), "x").unwrap();
    mode("proc", 0o700);
    assert_eq!(of().0, ["C /etc", "C /etc/hosts", "A /etc/mine", "C /proc"]);
}

/// A name cannot make a layer delete another file, or hide a directory.
#[test]
fn names_do_not_become_marks() {
    if not_root() {
        return;
    }
    let overlay = Overlay::new();
    base(&overlay);
    let root = overlay.mount();
    let at = |path: &str| path_of(&root, path);
    for name in [".wh.time", "etc/.wh..wh..opq", "etc/.wh.a"] {
        fs::write(at(name), "").unwrap();
    }
    fs::create_dir(at(".wh.etc")).unwrap();
    fs::write(at(".wh.etc/file"), "").unwrap();
    fs::write(at("etc/.whale"), "").unwrap();
    assert_eq!(entry_names(&layers(&overlay, &[])), ["etc/", "etc/.whale"]);
    assert_eq!(list(&layers(&overlay, &[])).len(), 7);
}
