//! From a tar stream to a directory in overlayfs form, entry by entry.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, linkat, makedev, mkdirat, mknodat, openat, symlinkat};
use rustix::io::Errno;

use super::UnpackError;
use super::beneath::{Found, Place, Root};
use super::error::lossy;
use super::file::write_content;
use super::path::{LayerPath, Meaning};
use super::remove::remove_tree;
use crate::limits::Limits;
use crate::tarball::{Entry, EntryKind, Mtime, TarReader};

/// What became of a layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unpacked {
    /// Sum of the files' sizes, in bytes.
    pub(crate) size: u64,
    /// Bytes of those that are holes.
    pub(crate) holes: u64,
}

/// Unpacks the stream into the empty directory `root` and returns when the
/// archive ends; the stream may go on after that. It need not be longer than
/// the limit says.
pub(crate) fn unpack<R: Read>(tar: &mut TarReader<R>, root: OwnedFd, limits: &Limits) -> Result<Unpacked, UnpackError> {
    let mut unpacker = Unpacker {
        root: Root::new(root),
        limits,
        times: DirectoryTimes::new(limits.directory_names),
        result: Unpacked::default(),
        buffer: Vec::new(),
    };
    let root = unpacker.root.itself().map_err(|e| UnpackError::entry("open the root", b"", e))?;
    root.set_mode(0o755).map_err(|e| UnpackError::entry("set the mode", b"", e))?;
    unpacker.times.set(&LayerPath::parse(b"")?, Mtime::default())?;
    let result = unpacker.apply_all(tar);
    let too_much = tar.position() >= limits.unpacked;
    match result {
        // The stream did not end, it was cut off.
        Ok(()) | Err(UnpackError::Tar(_)) if too_much => Err(UnpackError::TooMuch { limit: limits.unpacked }),
        Err(error) => Err(error),
        Ok(()) => unpacker.finish(),
    }
}

struct Unpacker<'a> {
    root: Root,
    limits: &'a Limits,
    times: DirectoryTimes,
    result: Unpacked,
    buffer: Vec<u8>,
}

/// Times of directories, set when nothing more is put into them.
struct DirectoryTimes {
    times: Vec<(LayerPath, Mtime)>,
    bytes: usize,
    limit: usize,
}

impl DirectoryTimes {
    fn new(limit: usize) -> Self {
        Self { times: Vec::new(), bytes: 0, limit }
    }

    /// A later time of the same directory replaces an earlier one.
    fn set(&mut self, path: &LayerPath, mtime: Mtime) -> Result<(), UnpackError> {
        self.bytes += path.as_bytes().len();
        if self.bytes > self.limit {
            return Err(UnpackError::DirectoryNames { limit: self.limit });
        }
        self.times.push((path.clone(), mtime));
        Ok(())
    }
}

impl Unpacker<'_> {
    fn apply_all<R: Read>(&mut self, tar: &mut TarReader<R>) -> Result<(), UnpackError> {
        let mut entries = 0;
        while let Some(entry) = tar.next_entry()? {
            entries += 1;
            if entries > self.limits.layer_entries {
                return Err(UnpackError::TooManyEntries { limit: self.limits.layer_entries });
            }
            if entry.size > self.limits.unpacked && entry.sparse.is_none() {
                return Err(UnpackError::TooMuch { limit: self.limits.unpacked });
            }
            self.apply(&entry, tar)?;
        }
        Ok(())
    }

    fn apply<R: Read>(&mut self, entry: &Entry, tar: &mut TarReader<R>) -> Result<(), UnpackError> {
        match LayerPath::parse(&entry.path)?.meaning()? {
            Meaning::Entry(path) => self.apply_entry(&path, entry, tar),
            Meaning::Whiteout(path) => self.apply_whiteout(&path, entry),
            Meaning::Opaque(path) => self.apply_opaque(&path),
            Meaning::Ignored => Ok(()),
        }
    }

    fn place(&mut self, path: &LayerPath) -> Result<Option<Place>, UnpackError> {
        let times = &mut self.times;
        // A directory that no entry describes has no time of its own: 1970, so
        // that the result depends on the layer only.
        self.root.place(path, &mut |made| times.set(&made, Mtime::default()))
    }

    fn apply_entry<R: Read>(
        &mut self,
        path: &LayerPath,
        entry: &Entry,
        tar: &mut TarReader<R>,
    ) -> Result<(), UnpackError> {
        let failed = |operation| move |e: Errno| UnpackError::entry(operation, path.as_bytes(), e);
        let is_directory = entry.kind == EntryKind::Directory;
        let Some(place) = self.place(path)? else {
            let root = self.root.itself().map_err(failed("open the root"))?;
            return match is_directory {
                true => self.describe_directory(&root, path, entry),
                false => Err(UnpackError::Name { path: lossy(&entry.path) }),
            };
        };
        let found = place.look().map_err(failed("look"))?;
        if is_directory && found == Found::Directory {
            return self.describe_directory(&place, path, entry);
        }
        if found != Found::Nothing {
            remove_tree(place.fd(), place.name()).map_err(failed("replace what was there"))?;
        }
        match &entry.kind {
            EntryKind::Directory => {
                mkdirat(place.fd(), place.name(), Mode::from_raw_mode(0o700)).map_err(failed("make the directory"))?;
                // What the layer hides and makes anew does not shine through.
                if found == Found::Whiteout {
                    place.set_opaque().map_err(failed("mark the directory as opaque"))?;
                }
                self.describe_directory(&place, path, entry)
            }
            EntryKind::File => self.make_file(&place, path, entry, tar),
            EntryKind::Symlink { target } => {
                symlinkat(target.as_slice(), place.fd(), place.name()).map_err(failed("make the symbolic link"))?;
                self.describe(&place, path, entry)
            }
            EntryKind::HardLink { target } => self.make_hard_link(&place, path, target),
            EntryKind::CharDevice { major, minor } => {
                self.make_node(&place, path, entry, FileType::CharacterDevice, makedev(*major, *minor))
            }
            EntryKind::BlockDevice { major, minor } => {
                self.make_node(&place, path, entry, FileType::BlockDevice, makedev(*major, *minor))
            }
            EntryKind::Fifo => self.make_node(&place, path, entry, FileType::Fifo, 0),
            EntryKind::Other { typeflag } => Err(UnpackError::Type { path: lossy(&entry.path), typeflag: *typeflag }),
        }
    }

    fn make_file<R: Read>(
        &mut self,
        place: &Place,
        path: &LayerPath,
        entry: &Entry,
        tar: &mut TarReader<R>,
    ) -> Result<(), UnpackError> {
        self.result.size = self.result.size.saturating_add(entry.size);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(place.fd(), place.name(), flags, Mode::from_raw_mode(0o600))
            .map_err(|e| UnpackError::entry("create the file", path.as_bytes(), e))?;
        let file = File::from(file);
        let written = write_content(&file, entry, tar, &mut self.buffer)?;
        self.result.holes = self.result.holes.saturating_add(entry.size - written);
        self.describe(place, path, entry)
    }

    fn make_node(
        &mut self,
        place: &Place,
        path: &LayerPath,
        entry: &Entry,
        kind: FileType,
        device: u64,
    ) -> Result<(), UnpackError> {
        mknodat(place.fd(), place.name(), kind, Mode::from_raw_mode(0o600), device)
            .map_err(|e| UnpackError::entry("make the device or pipe", path.as_bytes(), e))?;
        self.describe(place, path, entry)
    }

    /// The target is named from the layer's root, and must be there already.
    /// The link has no attributes of its own.
    fn make_hard_link(&mut self, place: &Place, path: &LayerPath, target: &[u8]) -> Result<(), UnpackError> {
        let missing =
            |e: Errno| UnpackError::HardLink { path: lossy(path.as_bytes()), target: lossy(target), source: e.into() };
        let target = LayerPath::parse(target)?;
        let (parent, name) = target.split().ok_or_else(|| missing(Errno::ISDIR))?;
        let directory = self.root.open(&parent).map_err(missing)?;
        match linkat(&directory, name, place.fd(), place.name(), AtFlags::empty()) {
            Ok(()) => Ok(()),
            // What linkat(2) says of directories.
            Err(error @ (Errno::NOENT | Errno::PERM | Errno::ISDIR | Errno::NOTDIR)) => Err(missing(error)),
            Err(error) => Err(UnpackError::entry("make the hard link", path.as_bytes(), error)),
        }
    }

    fn describe_directory(&mut self, place: &Place, path: &LayerPath, entry: &Entry) -> Result<(), UnpackError> {
        self.describe(place, path, entry)?;
        self.times.set(path, entry.mtime)
    }

    /// Owner, mode, attributes, time; in this order, as a change of owner takes
    /// away set-id bits and capabilities.
    fn describe(&mut self, place: &Place, path: &LayerPath, entry: &Entry) -> Result<(), UnpackError> {
        let failed = |operation| move |e: Errno| UnpackError::entry(operation, path.as_bytes(), e);
        place.set_owner(entry.uid, entry.gid).map_err(failed("set the owner"))?;
        let is_link = matches!(entry.kind, EntryKind::Symlink { .. });
        if !is_link {
            place.set_mode(entry.mode).map_err(failed("set the mode"))?;
        }
        for (name, value) in &entry.xattrs {
            if !is_images_own(name) {
                continue;
            }
            match place.set_xattr(name, value) {
                Ok(()) => {}
                // `user.` exists for files and directories only; the image was
                // made where somebody had it otherwise.
                Err(Errno::PERM) if name.starts_with(b"user.") => {}
                Err(error) => return Err(failed("set an extended attribute")(error)),
            }
        }
        place.set_mtime(entry.mtime).map_err(failed("set the time"))
    }

    /// A whiteout is about the layers below. What this layer has under that
    /// name itself stays, but hides what is below it.
    fn apply_whiteout(&mut self, path: &LayerPath, entry: &Entry) -> Result<(), UnpackError> {
        let failed = |operation| move |e: Errno| UnpackError::entry(operation, path.as_bytes(), e);
        let Some(place) = self.place(path)? else {
            return Err(UnpackError::Whiteout { path: lossy(&entry.path) });
        };
        match place.look().map_err(failed("look"))? {
            Found::Nothing => {
                let mode = Mode::from_raw_mode(0);
                mknodat(place.fd(), place.name(), FileType::CharacterDevice, mode, makedev(0, 0))
                    .map_err(failed("make the whiteout"))?;
                place.set_mtime(entry.mtime).map_err(failed("set the time"))
            }
            Found::Directory => place.set_opaque().map_err(failed("mark the directory as opaque")),
            Found::Whiteout | Found::Other => Ok(()),
        }
    }

    fn apply_opaque(&mut self, path: &LayerPath) -> Result<(), UnpackError> {
        let failed = |e: Errno| UnpackError::entry("mark the directory as opaque", path.as_bytes(), e);
        let times = &mut self.times;
        let directory = self.root.open_or_make(path, &mut |made| times.set(&made, Mtime::default()))?;
        Place { directory, name: b".".to_vec() }.set_opaque().map_err(failed)
    }

    fn finish(self) -> Result<Unpacked, UnpackError> {
        for (path, mtime) in &self.times.times {
            // One that was replaced since by something else needs no time.
            if let Ok(directory) = self.root.open(path) {
                Place { directory, name: b".".to_vec() }
                    .set_mtime(*mtime)
                    .map_err(|e| UnpackError::entry("set the time", path.as_bytes(), e))?;
            }
        }
        Ok(self.result)
    }
}

/// The attributes an image may bring: what programs set for themselves, file
/// capabilities and access lists. Not `trusted.` and not `user.overlay.`, which
/// overlayfs takes its orders from, and not the labels of the host's security
/// modules.
fn is_images_own(name: &[u8]) -> bool {
    let is_user = name.starts_with(b"user.") && !name.starts_with(b"user.overlay.");
    let known: [&[u8]; 3] = [b"security.capability", b"system.posix_acl_access", b"system.posix_acl_default"];
    (is_user || known.contains(&name)) && !name.contains(&0)
}
