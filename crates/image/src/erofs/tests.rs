//! The kernel reads what was written, and so does `fsck.erofs`, where there are
//! such: what they find is what the directory holds.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use proptest::prelude::*;
use rustix::fs::{CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, lsetxattr, makedev, mknodat, utimensat};
use tempfile::TempDir;

use super::{BLOCK, Holes, WriteError};
use crate::fixture::{Description, describe, mount_erofs, not_root};

struct Bed {
    dir: TempDir,
}

impl Bed {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("root")).unwrap();
        Self { dir }
    }

    fn root(&self) -> std::path::PathBuf {
        self.dir.path().join("root")
    }

    fn file(&self, path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) {
        fs::write(self.root().join(path), bytes).unwrap();
    }

    fn write(&self, holes: Holes) -> Result<(std::path::PathBuf, u64), WriteError> {
        let path = self.dir.path().join("image");
        let image = File::create(&path).unwrap();
        let root = File::open(self.root()).unwrap();
        let length = super::write(&root.into(), &image, holes)?;
        assert_eq!((image.metadata().unwrap().len(), length % BLOCK), (length, 0));
        Ok((path, length))
    }

    /// Writes an image and holds it against the directory.
    #[track_caller]
    fn check(&self, holes: Holes) -> u64 {
        let (image, length) = self.write(holes).unwrap();
        let expected = describe(&self.root());
        if let Some(mounted) = mount_erofs(&image) {
            assert_same(&describe(&mounted.path()), &expected);
            let metadata = |path: &Path| fs::symlink_metadata(path).unwrap();
            for path in expected.keys() {
                // Of the host's directories the number of links means nothing.
                let (ours, theirs) = (metadata(&mounted.path().join(path)), metadata(&self.root().join(path)));
                assert!(ours.is_dir() || ours.nlink() == theirs.nlink(), "{path}");
            }
        }
        // Version 1.5 takes holes out of what it extracts.
        if holes == Holes::Filled {
            self.check_by_fsck(&image, &expected);
        }
        length
    }

    /// What it extracts lacks attributes; in 1.5 links are copies, and sockets
    /// and devices come with what mode they come.
    fn check_by_fsck(&self, image: &Path, expected: &BTreeMap<String, Description>) {
        let to = self.dir.path().join("extracted");
        let mut command = Command::new("fsck.erofs");
        let output = match command.arg(format!("--extract={}", to.display())).arg(image).output() {
            Ok(output) => output,
            Err(error) => {
                let _ = writeln!(io::stderr(), "skipped in part: fsck.erofs (erofs-utils): {error}");
                return;
            }
        };
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let essence = |tree: &BTreeMap<String, Description>| -> BTreeMap<String, _> {
            let essence = |(path, d): (&String, &Description)| (path.clone(), (d.kind.clone(), d.content, d.owner));
            tree.iter().map(essence).collect()
        };
        assert_same(&essence(&describe(&to)), &essence(expected));
        fs::remove_dir_all(&to).unwrap();
    }
}

#[track_caller]
fn assert_same<T: PartialEq + std::fmt::Debug>(found: &BTreeMap<String, T>, expected: &BTreeMap<String, T>) {
    for path in found.keys().chain(expected.keys()) {
        assert_eq!(found.get(path), expected.get(path), "{path}");
    }
}

fn set_mtime(path: &Path, seconds: i64, nanoseconds: i64) {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

#[test]
fn everything_a_layer_can_hold() {
    if not_root() {
        return;
    }
    let bed = Bed::new();
    let root = bed.root();
    fs::set_permissions(&root, fs::Permissions::from_mode(0o1777)).unwrap();
    fs::create_dir(root.join("dir")).unwrap();
    bed.file("dir/large", (0..100_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<u8>>());
    bed.file("dir/small", "small");
    fs::hard_link(root.join("dir/large"), root.join("same")).unwrap();
    fs::hard_link(root.join("dir/large"), root.join("dir/again")).unwrap();
    symlink("dir/large", root.join("link")).unwrap();
    let node = |name: &str, kind, device| {
        mknodat(CWD, root.join(name), kind, Mode::from_raw_mode(0o640), device).unwrap();
    };
    node("null", FileType::CharacterDevice, makedev(1, 3));
    node("disk", FileType::BlockDevice, makedev(259, 70_000));
    node("whiteout", FileType::CharacterDevice, 0);
    node("pipe", FileType::Fifo, 0);
    node("socket", FileType::Socket, 0);
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for (path, name, value) in [
        ("dir/small", "user.binary", &b"\0a\n"[..]),
        ("dir/small", "user.empty", b""),
        ("dir/small", "user.long", &[b'v'; 3000]),
        ("dir", "trusted.overlay.opaque", b"y"),
        ("link", "trusted.of-a-link", b"x"),
        ("dir/large", "security.capability", &capability),
    ] {
        lsetxattr(root.join(path), name, value, XattrFlags::empty()).unwrap();
    }
    std::os::unix::fs::lchown(root.join("link"), Some(70_000), Some(3_000_000)).unwrap();
    std::os::unix::fs::chown(root.join("dir/small"), Some(4_000_000_000), Some(1)).unwrap();
    fs::set_permissions(root.join("dir/small"), fs::Permissions::from_mode(0o6755)).unwrap();
    for (path, seconds, nanoseconds) in [
        ("dir/small", 0, 0),
        ("link", 9_000_000_000, 999_999_999),
        ("null", 1, 1),
        (".", 1_700_000_000, 5),
        ("dir", -5, 7),
    ] {
        set_mtime(&root.join(path), seconds, nanoseconds);
    }
    let length = bed.check(Holes::Filled);
    assert_eq!(length, bed.check(Holes::Kept), "there are no holes");
}

#[test]
fn an_access_list_is_kept() {
    if not_root() {
        return;
    }
    let bed = Bed::new();
    bed.file("x", "x");
    // Version 2; owner, user 5, group, mask, others (linux/posix_acl_xattr.h).
    let entries: [(u16, u16, u32); 5] =
        [(1, 6, u32::MAX), (2, 4, 5), (4, 4, u32::MAX), (16, 4, u32::MAX), (32, 0, u32::MAX)];
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (tag, rights, id) in entries {
        list.extend(tag.to_le_bytes());
        list.extend(rights.to_le_bytes());
        list.extend(id.to_le_bytes());
    }
    match lsetxattr(bed.root().join("x"), "system.posix_acl_access", &list, XattrFlags::empty()) {
        Err(rustix::io::Errno::OPNOTSUPP) => return,
        set => set.unwrap(),
    }
    bed.check(Holes::Filled);
}

#[test]
fn an_empty_directory() {
    if not_root() {
        return;
    }
    assert_eq!(Bed::new().check(Holes::Filled), BLOCK);
}

/// 255 bytes is what Linux allows.
#[test]
fn names_of_every_length_in_directories_of_every_size() {
    if not_root() {
        return;
    }
    let bed = Bed::new();
    for length in 1..=255 {
        bed.file("n".repeat(length), length.to_string());
        bed.file(format!("{}\u{7f}", "m".repeat(length.min(254))), "");
    }
    let multibyte = "\u{fc}".repeat(127) + "!";
    bed.file(&multibyte, "");
    // Before and behind `.` and `..` in the order of bytes.
    for name in ["-", "!", "...", ".a", "/".trim_matches('/'), " ", "~"].into_iter().filter(|name| !name.is_empty()) {
        bed.file(name, name);
    }
    for count in [0, 1, 100, 195, 196, 197, 1000] {
        let dir = format!("with-{count}");
        fs::create_dir(bed.root().join(&dir)).unwrap();
        (0..count).for_each(|number| bed.file(format!("{dir}/{number:09}"), ""));
    }
    bed.check(Holes::Filled);
}

#[test]
fn sizes_around_the_ends_of_blocks() {
    if not_root() {
        return;
    }
    let bed = Bed::new();
    let sizes =
        [0, 1, 4031, 4032, 4033, 4064, 4095, 4096, 4097, 8127, 8128, 8129, 8191, 8192, 8193, 65_535, 65_536, 65_537];
    for size in sizes {
        for number in 0..5 {
            let bytes: Vec<u8> = (0..size).map(|at| (at * 7 + number + size) as u8).collect();
            bed.file(format!("{size}-{number}"), bytes);
        }
    }
    for length in [1, 50, 3000, 4031, 4032, 4033, 4095] {
        symlink("l".repeat(length), bed.root().join(format!("link-{length}"))).unwrap();
    }
    bed.check(Holes::Filled);
}

#[test]
fn deep_directories() {
    if not_root() {
        return;
    }
    let bed = Bed::new();
    // As deep as fsck.erofs 1.5 goes.
    let deep = ["d"; 200].join("/");
    fs::create_dir_all(bed.root().join(&deep)).unwrap();
    bed.file(format!("{deep}/file"), "deep");
    bed.check(Holes::Filled);
}

#[test]
fn holes_of_large_files_are_kept() {
    if not_root() {
        return;
    }
    let bed = Bed::new();
    let sparse = |name: &str, size: u64, stretches: &[(u64, u64)]| {
        let file = File::create(bed.root().join(name)).unwrap();
        file.set_len(size).unwrap();
        for (offset, length) in stretches {
            file.write_all_at(&vec![1; *length as usize], *offset).unwrap();
        }
    };
    sparse("two-bytes", (20 << 20) + 5, &[(1_000_000, 1), (20_000_001, 1)]);
    sparse("last-byte", (3 << 20) + 1, &[(3 << 20, 1)]);
    sparse("nothing", 5 << 20, &[]);
    sparse("ends-in-a-block", (2 << 20) + 70_000, &[(0, 65_536), ((2 << 20) + 65_536, 4464)]);
    sparse("whole", 2 << 20, &[(0, 2 << 20)]);
    sparse("small", 100_000, &[(50_000, 1)]);
    // Zeros that are there count as holes.
    bed.file("zeros", vec![0; 4 << 20]);
    let length = bed.check(Holes::Kept);
    assert!(length < 4 << 20, "{length}");
    assert!(bed.check(Holes::Filled) > 30 << 20);
}

#[test]
fn too_many_holes_are_refused() {
    if not_root() {
        return;
    }
    let bed = Bed::new();
    for number in 0..260 {
        let file = File::create(bed.root().join(number.to_string())).unwrap();
        file.set_len(1 << 40).unwrap();
    }
    let error = bed.write(Holes::Kept).unwrap_err();
    assert!(matches!(error, WriteError::Holes), "{error}");
    assert!(matches!(bed.write(Holes::Filled), Err(WriteError::TooLarge)));
}

#[derive(Clone, Debug)]
enum Thing {
    Directory,
    File(usize),
    Link(usize),
    Same,
}

fn things() -> impl Strategy<Value = Vec<(usize, String, Thing)>> {
    let thing = prop_oneof![
        Just(Thing::Directory),
        (0usize..20_000).prop_map(Thing::File),
        (1usize..4096).prop_map(Thing::Link),
        Just(Thing::Same),
    ];
    proptest::collection::vec((any::<usize>(), "[!-.0-~]{1,60}", thing), 0..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever the tree, the kernel finds it again.
    #[test]
    fn any_tree(things in things()) {
        if not_root() {
            return Ok(());
        }
        let bed = Bed::new();
        let mut directories = vec![bed.root()];
        let mut files = Vec::new();
        for (at, name, thing) in things {
            let path = directories[at % directories.len()].join(&name);
            if name == "." || name == ".." || path.symlink_metadata().is_ok() {
                continue;
            }
            match thing {
                Thing::Directory => {
                    fs::create_dir(&path).unwrap();
                    directories.push(path);
                }
                Thing::File(size) => {
                    fs::write(&path, vec![size as u8; size]).unwrap();
                    files.push(path);
                }
                Thing::Link(length) => symlink("x".repeat(length), &path).unwrap(),
                Thing::Same if files.is_empty() => {}
                Thing::Same => fs::hard_link(&files[at % files.len()], &path).unwrap(),
            }
        }
        bed.check(Holes::Filled);
    }
}
