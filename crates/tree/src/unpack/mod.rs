//! From a tar stream to files, entry by entry: a layer into a directory in
//! overlayfs form, or an archive into a directory that others use.
//!
//! Every name in the stream is resolved by the kernel beneath that directory, as
//! Docker resolves it within a chroot: symbolic links are followed, and lead
//! nowhere else. Names are acted on by their last component relative to their
//! parent's descriptor, and what was made is then held.
//!
//! What is refused or left out: names above the root, hard links to what the
//! root does not hold, types of entries that Docker does not know (errors);
//! extended attributes an image has no business with, first of all
//! `trusted.overlay.*` (dropped, so that no image can speak to overlayfs).

mod error;
mod file;
mod path;
mod place;

pub use error::UnpackError;

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, linkat, makedev, mkdirat, mknodat, openat, symlinkat};
use rustix::io::Errno;

use crate::error::lossy;
use crate::node::Node;
use crate::remove::remove_tree;
use crate::tarball::{Entry, EntryKind, Mtime, TarReader};
use crate::xattr;
use file::write_content;
use path::{LayerPath, Meaning};
use place::{Found, Place, Root, set_opaque};

/// How much of a stream is taken.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Each may become an inode.
    pub entries: u64,
    /// Of the stream, in bytes.
    pub bytes: u64,
    /// Bytes of directory names, held until their times are set.
    pub directory_names: usize,
}

/// What an archive may do to the directory it is unpacked into.
#[derive(Clone, Debug, Default)]
pub struct CopyRules {
    /// A directory is not replaced by anything else, nor the other way round.
    pub no_overwrite_dir_non_dir: bool,
    /// Whose the files become; the archive says if it is not given.
    pub owner: Option<(u32, u32)>,
    /// The directory's name, for whoever reads of a failure.
    pub destination: String,
}

/// What became of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Entries of the stream.
    pub entries: u64,
    /// Sum of the files' sizes, in bytes.
    pub size: u64,
    /// Bytes of those that are holes.
    pub holes: u64,
}

/// Unpacks a layer into the empty directory `root`, which nobody else uses, and
/// returns when the archive ends; the stream may go on after that. It need not
/// be longer than the limit says.
pub fn unpack_layer<R: Read>(tar: &mut TarReader<R>, root: OwnedFd, limits: &Limits) -> Result<Unpacked, UnpackError> {
    let mut unpacker = Unpacker::new(root, Form::Layer, limits);
    let root = unpacker.root.itself().map_err(|e| UnpackError::entry("open the root", b"", e))?;
    root.set_mode(0o755).map_err(|e| UnpackError::entry("set the mode", b"", e))?;
    unpacker.times.set(&LayerPath::parse(b"")?, Mtime::default())?;
    unpacker.unpack(tar)
}

/// Unpacks an archive into the directory `root`, where others may be at work,
/// as Docker's `PUT archive` does: what is there gives way, directories are
/// merged, and nothing has the meaning that it has in a layer.
pub fn unpack_copy<R: Read>(
    tar: &mut TarReader<R>,
    root: OwnedFd,
    rules: &CopyRules,
    limits: &Limits,
) -> Result<Unpacked, UnpackError> {
    Unpacker::new(root, Form::Copy(rules), limits).unpack(tar)
}

/// What the stream is.
#[derive(Clone, Copy)]
enum Form<'a> {
    Layer,
    Copy(&'a CopyRules),
}

struct Unpacker<'a> {
    root: Root,
    form: Form<'a>,
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

impl<'a> Unpacker<'a> {
    fn new(root: OwnedFd, form: Form<'a>, limits: &'a Limits) -> Self {
        Self {
            root: Root::new(root),
            form,
            limits,
            times: DirectoryTimes::new(limits.directory_names),
            result: Unpacked::default(),
            buffer: Vec::new(),
        }
    }

    fn unpack<R: Read>(mut self, tar: &mut TarReader<R>) -> Result<Unpacked, UnpackError> {
        let result = self.apply_all(tar);
        let too_much = tar.position() >= self.limits.bytes;
        match result {
            // The stream did not end, it was cut off.
            Ok(()) | Err(UnpackError::Tar(_)) if too_much => Err(UnpackError::TooMuch { limit: self.limits.bytes }),
            Err(error) => Err(error),
            Ok(()) => self.finish(),
        }
    }

    fn apply_all<R: Read>(&mut self, tar: &mut TarReader<R>) -> Result<(), UnpackError> {
        while let Some(entry) = tar.next_entry()? {
            self.result.entries += 1;
            if self.result.entries > self.limits.entries {
                return Err(UnpackError::TooManyEntries { limit: self.limits.entries });
            }
            if entry.size > self.limits.bytes && entry.sparse.is_none() {
                return Err(UnpackError::TooMuch { limit: self.limits.bytes });
            }
            self.apply(&entry, tar)?;
        }
        Ok(())
    }

    fn apply<R: Read>(&mut self, entry: &Entry, tar: &mut TarReader<R>) -> Result<(), UnpackError> {
        let path = LayerPath::parse(&entry.path)?;
        match self.form {
            Form::Layer => match path.meaning()? {
                Meaning::Entry(path) => self.apply_entry(&path, entry, tar),
                Meaning::Whiteout(path) => self.apply_whiteout(&path, entry),
                Meaning::Opaque(path) => self.apply_opaque(&path),
                Meaning::Ignored => Ok(()),
            },
            // What is copied into a directory leaves the directory as it is.
            Form::Copy(_) if path.as_bytes().is_empty() => Ok(()),
            Form::Copy(_) => self.apply_entry(&path, entry, tar),
        }
    }

    fn place(&mut self, path: &LayerPath) -> Result<Option<Place>, UnpackError> {
        let (form, times) = (self.form, &mut self.times);
        self.root.place(path, &mut |made| match form {
            // A directory that no entry describes has no time of its own: 1970,
            // so that the result depends on the layer only.
            Form::Layer => times.set(&made, Mtime::default()),
            Form::Copy(_) => Ok(()),
        })
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
        let (found, there) = place.look().map_err(failed("look"))?;
        self.check_overwriting(path, found, is_directory)?;
        match there {
            Some(there) if is_directory && found == Found::Directory => {
                return self.describe_directory(&there, path, entry);
            }
            Some(_) => remove_tree(place.fd(), place.name()).map_err(failed("replace what was there"))?,
            None => {}
        }
        match &entry.kind {
            EntryKind::Directory => {
                mkdirat(place.fd(), place.name(), Mode::from_raw_mode(0o700)).map_err(failed("make the directory"))?;
                let directory = place.made(FileType::Directory).map_err(failed("make the directory"))?;
                // What the layer hides and makes anew does not shine through.
                if found == Found::Whiteout {
                    set_opaque(&directory).map_err(failed("mark the directory as opaque"))?;
                }
                self.describe_directory(&directory, path, entry)
            }
            EntryKind::File => self.make_file(&place, path, entry, tar),
            EntryKind::Symlink { target } => {
                symlinkat(target.as_slice(), place.fd(), place.name()).map_err(failed("make the symbolic link"))?;
                let link = place.made(FileType::Symlink).map_err(failed("make the symbolic link"))?;
                self.describe(&link, path, entry)
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

    fn check_overwriting(&self, path: &LayerPath, found: Found, is_directory: bool) -> Result<(), UnpackError> {
        let Form::Copy(CopyRules { no_overwrite_dir_non_dir: true, destination, .. }) = self.form else {
            return Ok(());
        };
        let (path, destination) = (lossy(path.as_bytes()), destination.clone());
        match (found, is_directory) {
            (Found::Directory, false) => Err(UnpackError::OverwriteDirectory { path, destination }),
            (Found::Other | Found::Whiteout, true) => Err(UnpackError::OverwriteNonDirectory { path, destination }),
            _ => Ok(()),
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
        self.describe(&Node::of_file(file), path, entry)
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
            .and_then(|()| place.made(kind))
            .map_err(|e| UnpackError::entry("make the device or pipe", path.as_bytes(), e))
            .and_then(|node| self.describe(&node, path, entry))
    }

    /// The target is named from the root, and must be there already.
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

    fn describe_directory(&mut self, node: &Node, path: &LayerPath, entry: &Entry) -> Result<(), UnpackError> {
        self.describe(node, path, entry)?;
        self.times.set(path, entry.mtime)
    }

    /// Owner, mode, attributes, time; in this order, as a change of owner takes
    /// away set-id bits and capabilities.
    fn describe(&mut self, node: &Node, path: &LayerPath, entry: &Entry) -> Result<(), UnpackError> {
        let failed = |operation| move |e: Errno| UnpackError::entry(operation, path.as_bytes(), e);
        let (uid, gid) = match self.form {
            Form::Copy(CopyRules { owner: Some(owner), .. }) => *owner,
            _ => (entry.uid, entry.gid),
        };
        node.set_owner(uid, gid).map_err(failed("set the owner"))?;
        if !matches!(entry.kind, EntryKind::Symlink { .. }) {
            node.set_mode(entry.mode).map_err(failed("set the mode"))?;
            for (name, value) in entry.xattrs.iter().filter(|(name, _)| xattr::travels(name)) {
                match node.set_xattr(name, value) {
                    Ok(()) => {}
                    // `user.` exists for files and directories only; the image
                    // was made where somebody had it otherwise.
                    Err(Errno::PERM) if name.starts_with(b"user.") => {}
                    Err(error) => return Err(failed("set an extended attribute")(error)),
                }
            }
        }
        node.set_mtime(entry.mtime).map_err(failed("set the time"))
    }

    /// A whiteout is about the layers below. What this layer has under that
    /// name itself stays, but hides what is below it.
    fn apply_whiteout(&mut self, path: &LayerPath, entry: &Entry) -> Result<(), UnpackError> {
        let failed = |operation| move |e: Errno| UnpackError::entry(operation, path.as_bytes(), e);
        let Some(place) = self.place(path)? else {
            return Err(UnpackError::Whiteout { path: lossy(&entry.path) });
        };
        match place.look().map_err(failed("look"))? {
            (_, None) => {
                let mode = Mode::from_raw_mode(0);
                mknodat(place.fd(), place.name(), FileType::CharacterDevice, mode, makedev(0, 0))
                    .and_then(|()| place.made(FileType::CharacterDevice))
                    .map_err(failed("make the whiteout"))?
                    .set_mtime(entry.mtime)
                    .map_err(failed("set the time"))
            }
            (Found::Directory, Some(node)) => set_opaque(&node).map_err(failed("mark the directory as opaque")),
            (_, Some(_)) => Ok(()),
        }
    }

    fn apply_opaque(&mut self, path: &LayerPath) -> Result<(), UnpackError> {
        let failed = |e: Errno| UnpackError::entry("mark the directory as opaque", path.as_bytes(), e);
        let times = &mut self.times;
        let directory = self.root.open_or_make(path, &mut |made| times.set(&made, Mtime::default()))?;
        set_opaque(&Node::from(directory)).map_err(failed)
    }

    fn finish(self) -> Result<Unpacked, UnpackError> {
        for (path, mtime) in &self.times.times {
            // One that was replaced since by something else needs no time.
            if let Ok(directory) = self.root.open(path) {
                Node::from(directory)
                    .set_mtime(*mtime)
                    .map_err(|e| UnpackError::entry("set the time", path.as_bytes(), e))?;
            }
        }
        Ok(self.result)
    }
}

#[cfg(test)]
mod tests;
