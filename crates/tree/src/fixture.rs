//! What tests are made of: tar streams, well-formed and not, and comparable
//! descriptions of file trees. It fails by panicking.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::fs::{File, Metadata};
use std::hash::Hasher;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen};
use tar::{EntryType, Header};

/// An entry of a tar stream, as raw as the test wants it.
#[derive(Clone, Copy, Debug)]
pub struct Item<'a> {
    pub path: &'a str,
    pub kind: EntryType,
    pub mode: u32,
    pub owner: (u64, u64),
    pub mtime: u64,
    pub link: &'a str,
    pub device: (u32, u32),
    pub data: &'a [u8],
    pub pax: &'a [(&'a str, &'a [u8])],
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

pub fn file<'a>(path: &'a str, data: &'a [u8]) -> Item<'a> {
    Item { path, data, ..Item::default() }
}

pub fn directory(path: &str) -> Item<'_> {
    Item { path, kind: EntryType::Directory, mode: 0o755, ..Item::default() }
}

pub fn symlink<'a>(path: &'a str, link: &'a str) -> Item<'a> {
    Item { path, link, kind: EntryType::Symlink, mode: 0o777, ..Item::default() }
}

pub fn hard_link<'a>(path: &'a str, link: &'a str) -> Item<'a> {
    Item { path, link, kind: EntryType::Link, ..Item::default() }
}

/// A tar stream of these entries. Names are written as they are, without the
/// `tar` crate's care for `..` and slashes.
pub fn tar(items: &[Item<'_>]) -> Vec<u8> {
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

/// Everything about one file that a layer carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    pub kind: String,
    pub mode: u32,
    pub owner: (u32, u32),
    pub mtime: (i64, i64),
    /// Length in bytes, and a hash.
    pub content: Option<(u64, u64)>,
    /// The first path of the same file, if it has several.
    pub same_as: Option<String>,
    pub xattrs: BTreeMap<String, Vec<u8>>,
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
pub fn describe(root: &Path) -> BTreeMap<String, Description> {
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

fn hash_file(path: &Path) -> (u64, u64) {
    let mut file = File::open(path).unwrap();
    let mut hasher = DefaultHasher::new();
    let mut buffer = vec![0; 1 << 20];
    let mut length = 0;
    loop {
        match file.read(&mut buffer).unwrap() {
            0 => return (length, hasher.finish()),
            read => {
                hasher.write(&buffer[..read]);
                length += read as u64;
            }
        }
    }
}

pub fn xattrs(path: &Path) -> BTreeMap<String, Vec<u8>> {
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

/// Directories for an overlay, which is mounted where nobody else sees it.
#[derive(Debug)]
pub struct Overlay(tempfile::TempDir);

impl Default for Overlay {
    fn default() -> Self {
        Self::new()
    }
}

impl Overlay {
    pub fn new() -> Self {
        // Overlayfs does not stand on every filesystem.
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        for name in ["lower", "upper", "work"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        Self(dir)
    }

    pub fn lower(&self) -> PathBuf {
        self.0.path().join("lower")
    }

    pub fn upper(&self) -> PathBuf {
        self.0.path().join("upper")
    }

    /// The root of the whole, mounted as long as it is open.
    pub fn mount(&self) -> OwnedFd {
        let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
        for (key, name) in [("lowerdir", "lower"), ("upperdir", "upper"), ("workdir", "work")] {
            fsconfig_set_string(&context, key, self.0.path().join(name)).unwrap();
        }
        for (key, value) in [("index", "off"), ("metacopy", "off"), ("redirect_dir", "nofollow")] {
            fsconfig_set_string(&context, key, value).unwrap();
        }
        fsconfig_create(&context).unwrap();
        fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).unwrap()
    }
}

/// A path through which the standard library gets at what is beneath a
/// directory that has no name.
pub fn path_of(directory: &OwnedFd, path: &str) -> PathBuf {
    Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(path)
}

/// What GNU tar makes of a directory.
pub fn gnu_tar(directory: &Path, options: &[&str]) -> Vec<u8> {
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
pub fn names(root: &Path) -> Vec<String> {
    walk(root).into_iter().map(|(relative, ..)| relative).collect()
}

/// Unpacking makes devices and changes owners. True, with a line that says so,
/// if the tests may not.
pub fn not_root() -> bool {
    let refused = !rustix::process::geteuid().is_root();
    if refused {
        let _ = std::io::stderr().write_all(b"skipped: needs root\n");
    }
    refused
}
