//! Trees packed and read back, by our own reader and by GNU tar, whose owners
//! and devices need root.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{CWD, Mode, OFlags, XattrFlags, makedev, mknodat, open, setxattr};

use super::*;
use crate::fixture::{Description, describe, not_root};
use crate::tarball::TarReader;

fn handle(path: &Path) -> OwnedFd {
    open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

fn entries(bytes: &[u8]) -> Vec<(Entry, Vec<u8>)> {
    let mut reader = TarReader::new(bytes);
    let mut found = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        let mut data = Vec::new();
        reader.read_to_end(&mut data).unwrap();
        found.push((entry, data));
    }
    found
}

fn names(bytes: &[u8]) -> Vec<String> {
    entries(bytes).into_iter().map(|(entry, _)| String::from_utf8_lossy(&entry.path).into_owned()).collect()
}

fn packed(path: &Path, name: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    pack(handle(path), name, &mut bytes).unwrap();
    bytes
}

/// One of everything.
fn everything(top: &Path) {
    let at = |path: &str| top.join(path);
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(250));
    fs::create_dir_all(at(&"d".repeat(120))).unwrap();
    fs::create_dir(at("empty")).unwrap();
    fs::write(at(&long), "long").unwrap();
    fs::write(at("file"), vec![7; 700_001]).unwrap();
    fs::write(at("nothing"), "").unwrap();
    fs::hard_link(at("file"), at("empty/hard")).unwrap();
    fs::hard_link(at(&long), at("hard-to-long")).unwrap();
    symlink("/etc/passwd", at("link")).unwrap();
    symlink("x".repeat(1000), at("long-link")).unwrap();
    fs::write(at("odd \u{e9}\n\u{1}"), "odd").unwrap();
    fs::write(at("mine"), "mine").unwrap();
    chown(at("mine"), Some(3_000_000_000), Some(12)).unwrap();
    fs::set_permissions(at("mine"), PermissionsExt::from_mode(0o6751)).unwrap();
    fs::set_permissions(at("empty"), PermissionsExt::from_mode(0o1777)).unwrap();
    setxattr(at("file"), "user.note", b"\0 a=b\n", XattrFlags::empty()).unwrap();
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    setxattr(at("nothing"), "security.capability", &capability, XattrFlags::empty()).unwrap();
    let device = |name, kind, device| mknodat(CWD, at(name), kind, Mode::from_raw_mode(0o640), device).unwrap();
    device("char", FileType::CharacterDevice, makedev(4, 64));
    device("block", FileType::BlockDevice, makedev(259, 70_000));
    device("pipe", FileType::Fifo, 0);
    device("socket", FileType::Socket, 0);
}

/// Without what a stream does not carry: fractions of seconds, and sockets.
fn as_packed(top: &Path) -> BTreeMap<String, Description> {
    let mut tree = describe(top);
    tree.retain(|name, _| name != "socket");
    tree.values_mut().for_each(|description| description.mtime.1 = 0);
    tree
}

#[test]
fn everything_comes_back_through_our_reader_and_gnu_tars() {
    if not_root() {
        return;
    }
    let (source, ours, theirs) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    everything(source.path());
    let bytes = packed(source.path(), b".");

    let rules = crate::CopyRules::default();
    let limits = crate::Limits { entries: 100, bytes: 1 << 30, directory_names: 1 << 20 };
    let root = open(ours.path(), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
    let unpacked = crate::unpack_copy(&mut TarReader::new(&bytes[..]), root, &rules, &limits).unwrap();
    assert_eq!(unpacked.entries, 15);

    let options = ["-x", "--numeric-owner", "--same-owner", "-p", "--xattrs", "--xattrs-include=*", "-C"];
    let mut tar = Command::new("tar").args(options).arg(theirs.path()).stdin(Stdio::piped()).spawn().unwrap();
    tar.stdin.take().unwrap().write_all(&bytes).unwrap();
    assert!(tar.wait().unwrap().success());

    let mut expected = as_packed(source.path());
    assert_eq!(as_packed(theirs.path()), expected);
    // The directory that is copied into stays as it is.
    expected.remove(".");
    let mut found = as_packed(ours.path());
    found.remove(".");
    assert_eq!(found, expected);
}

#[test]
fn names_are_rebased_as_docker_does() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("a/b")).unwrap();
    fs::write(dir.path().join("a/f"), "f").unwrap();
    symlink("a", dir.path().join("l")).unwrap();
    let of = |path: &str, name: &[u8]| names(&packed(&dir.path().join(path), name));
    assert_eq!(of("a", b"a"), ["a/", "a/b/", "a/f"]);
    assert_eq!(of("a", b"."), ["./", "./b/", "./f"]);
    // The root's own name is a slash.
    assert_eq!(of("a", b""), ["/", "/b/", "/f"]);
    assert_eq!(of("a/f", b"f"), ["f"]);
    let link = entries(&packed(&dir.path().join("l"), b"l"));
    assert_eq!(link[0].0.kind, EntryKind::Symlink { target: b"a".to_vec() });
    let mut below = Vec::new();
    pack_below(fs::File::open(dir.path()).unwrap().as_fd(), &mut below).unwrap();
    assert_eq!(names(&below), ["a/", "a/b/", "a/f", "l"]);
}

/// Neither is waited for, and nothing is done to either.
#[test]
fn what_is_no_file_is_not_opened() {
    if not_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    let watch = rustix::fs::inotify::init(rustix::fs::inotify::CreateFlags::NONBLOCK).unwrap();
    rustix::fs::inotify::add_watch(&watch, &fifo, rustix::fs::inotify::WatchFlags::OPEN).unwrap();
    assert_eq!(names(&packed(dir.path(), b"d")), ["d/", "d/fifo"]);
    let mut events = [0; 256];
    assert_eq!(rustix::io::read(&watch, &mut events[..]), Err(Errno::AGAIN), "the pipe was opened");
}

/// A file has in the stream the length that it had when it was found.
#[test]
fn a_file_that_shrinks_or_grows_keeps_its_length() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    for (now, expected) in [("longer than it was", "longer"), ("sh", "sh\0\0\0\0")] {
        fs::write(&path, "before").unwrap();
        let node = Node::from(handle(&path));
        let stat = node.stat().unwrap();
        fs::write(&path, now).unwrap();
        let mut bytes = Vec::new();
        let mut packer = Packer::new(&mut bytes, Holes::Filled);
        packer.add(b"file".to_vec(), &node, &stat).unwrap();
        packer.finish().unwrap();
        assert_eq!(entries(&bytes)[0].1, expected.as_bytes());
    }
}

#[test]
fn holes_are_kept_or_filled() {
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let path = dir.path().join("file");
    let file = fs::File::create(&path).unwrap();
    let size = (3 << 20) + 5;
    file.set_len(size).unwrap();
    for offset in [1 << 20, (1 << 20) + (4 << 10), 2 << 20] {
        file.write_all_at(&[9; 100], offset).unwrap();
    }
    let with = |holes| {
        let mut bytes = Vec::new();
        let mut packer = Packer::new(&mut bytes, holes);
        let node = Node::from(handle(&path));
        packer.add(b"file".to_vec(), &node, &node.stat().unwrap()).unwrap();
        packer.finish().unwrap();
        bytes
    };
    let filled = with(Holes::Filled);
    assert_eq!(entries(&filled)[0].1, fs::read(&path).unwrap());
    let kept = with(Holes::Kept);
    assert!(kept.len() < 64 << 10, "{}", kept.len());
    let (entry, data) = entries(&kept).remove(0);
    let map = entry.sparse.unwrap();
    // Data that is close together is one piece.
    assert_eq!((entry.size, map.segments().len()), (size, 2));
    let mut whole = vec![0; size as usize];
    let mut data = &data[..];
    for segment in map.segments() {
        data.read_exact(&mut whole[segment.offset as usize..][..segment.length as usize]).unwrap();
    }
    assert_eq!(whole, fs::read(&path).unwrap());
    // No data at all, and more than any disk holds.
    file.set_len(0).unwrap();
    file.set_len(8 << 40).unwrap();
    assert_eq!(entries(&with(Holes::Kept))[0].0.size, 8 << 40);
}

#[test]
fn capabilities_of_a_user_namespace_stay_there() {
    if not_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    fs::write(&path, "").unwrap();
    let mut of_a_namespace = [0; 24];
    of_a_namespace[..4].copy_from_slice(&[1, 0, 0, 3]);
    // Of the namespace whose root is user 1000.
    of_a_namespace[20..].copy_from_slice(&1000_u32.to_le_bytes());
    setxattr(&path, "security.capability", &of_a_namespace, XattrFlags::empty()).unwrap();
    assert_eq!(entries(&packed(&path, b"f"))[0].0.xattrs, []);
}

#[test]
fn whoever_stops_reading_ends_it() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), vec![1; 1 << 20]).unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let error = pack(handle(dir.path()), b"d", writer).unwrap_err();
    assert!(matches!(error, PackError::Write(error) if error.kind() == io::ErrorKind::BrokenPipe));
}
