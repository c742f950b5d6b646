//! From files to a tar stream, as Docker makes them.
//!
//! Sockets are left out: the format has none. A file that is changed while it is
//! read has the length in the stream that it had at first; what is missing then
//! is zeros.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use casemate_model::{Classify, ErrorClass};
use rustix::fs::{FileType, SeekFrom, Stat, major, minor, seek};
use rustix::io::Errno;

use crate::error::{class_of, lossy};
use crate::node::{Node, kind_of};
use crate::tarball::{Entry, EntryKind, Mtime, Segment, SparseMap, TarWriter, Xattr};
use crate::walk::{Walk, WalkError, is_gone};
use crate::xattr;

/// What is read of a file at once.
const BUFFER: usize = 256 << 10;

/// Holes smaller than this are not worth their place in a map.
const SMALLEST_HOLE: u64 = 64 << 10;

/// Of a file's map, which is held in memory: with holes of that size a file of 8
/// GB has no more, and nobody makes one by accident.
const MOST_SEGMENTS: usize = 1 << 17;

#[derive(Debug, thiserror::Error)]
pub enum PackError {
    #[error("cannot write the archive")]
    Write(#[source] io::Error),
    #[error("cannot read {path:?}")]
    Read { path: String, source: io::Error },
    #[error("the names in {path:?} and above take more than {limit} bytes")]
    Names { path: String, limit: usize },
    #[error("{path:?} has more than {limit} holes")]
    Holes { path: String, limit: usize },
}

impl PackError {
    pub(crate) fn read(path: &[u8], source: impl Into<io::Error>) -> Self {
        Self::Read { path: lossy(path), source: source.into() }
    }

    pub(crate) fn names(path: &[u8], limit: usize) -> Self {
        Self::Names { path: lossy(path), limit }
    }
}

impl From<WalkError> for PackError {
    fn from(error: WalkError) -> Self {
        match error {
            WalkError::Read { path, source } => Self::read(&path, source),
            WalkError::Names { path, limit } => Self::names(&path, limit),
        }
    }
}

impl Classify for PackError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Write(source) | Self::Read { source, .. } => class_of(source),
            Self::Names { .. } | Self::Holes { .. } => ErrorClass::ResourceExhausted,
        }
    }
}

/// Packs what `file` names (it need not be open) under this name, a directory
/// with all that is in it.
pub fn pack<W: Write>(file: OwnedFd, name: &[u8], out: W) -> Result<(), PackError> {
    let file = Node::from(file);
    let failed = |e: Errno| PackError::read(name, e);
    let stat = file.stat().map_err(failed)?;
    let mut packer = Packer::new(out, Holes::Filled);
    packer.add(name.to_vec(), &file, &stat)?;
    if kind_of(&stat) == FileType::Directory {
        packer.add_below(file.as_fd(), &[name, b"/"].concat())?;
    }
    packer.finish()
}

/// Packs all that is in the directory `top`, with names relative to it.
pub fn pack_below<W: Write>(top: BorrowedFd<'_>, out: W) -> Result<(), PackError> {
    let mut packer = Packer::new(out, Holes::Filled);
    packer.add_below(top, b"")?;
    packer.finish()
}

/// What becomes of holes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holes {
    /// Zeros, which every reader understands.
    Filled,
    /// Holes, which Go's reader understands, and so whatever reads images.
    Kept,
}

#[derive(Debug)]
pub(crate) struct Packer<W: Write> {
    tar: TarWriter<W>,
    holes: Holes,
    /// Files with several names, by device and inode, and the first name.
    linked: HashMap<(u64, u64), Vec<u8>>,
    buffer: Vec<u8>,
}

impl<W: Write> Packer<W> {
    pub(crate) fn new(out: W, holes: Holes) -> Self {
        Self { tar: TarWriter::new(out), holes, linked: HashMap::new(), buffer: vec![0; BUFFER] }
    }

    fn add_below(&mut self, top: BorrowedFd<'_>, prefix: &[u8]) -> Result<(), PackError> {
        let mut walk = Walk::new(top)?;
        while let Some(found) = walk.next()? {
            self.add([prefix, found.path].concat(), &found.node, &found.stat)?;
        }
        Ok(())
    }

    /// Adds one file, of a directory nothing but itself.
    pub(crate) fn add(&mut self, path: Vec<u8>, node: &Node, stat: &Stat) -> Result<(), PackError> {
        let result = self.try_add(path, node, stat);
        match result {
            // On a filesystem that forgets what was removed.
            Err(PackError::Read { source, .. }) if Errno::from_io_error(&source).is_some_and(is_gone) => Ok(()),
            other => other,
        }
    }

    fn try_add(&mut self, path: Vec<u8>, node: &Node, stat: &Stat) -> Result<(), PackError> {
        let failed = {
            let path = path.clone();
            move |e: Errno| PackError::read(&path, e)
        };
        let is_link_of = self.linked_to(&path, stat);
        let kind = match (kind_of(stat), is_link_of) {
            (FileType::Socket | FileType::Unknown, _) => return Ok(()),
            (_, Some(target)) => EntryKind::HardLink { target },
            (FileType::RegularFile, None) => EntryKind::File,
            (FileType::Directory, None) => EntryKind::Directory,
            (FileType::Symlink, None) => EntryKind::Symlink { target: node.link_target().map_err(&failed)? },
            (FileType::Fifo, None) => EntryKind::Fifo,
            (FileType::CharacterDevice, None) => {
                EntryKind::CharDevice { major: major(stat.st_rdev), minor: minor(stat.st_rdev) }
            }
            (FileType::BlockDevice, None) => {
                EntryKind::BlockDevice { major: major(stat.st_rdev), minor: minor(stat.st_rdev) }
            }
        };
        let mut entry = Entry {
            path,
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: Mtime { seconds: stat.st_mtime, nanoseconds: 0 },
            xattrs: Vec::new(),
            size: 0,
            sparse: None,
            kind,
        };
        if entry.kind == EntryKind::Directory {
            entry.path.push(b'/');
        }
        if !matches!(entry.kind, EntryKind::HardLink { .. } | EntryKind::Symlink { .. }) {
            entry.xattrs = attributes(node).map_err(&failed)?;
        }
        if entry.kind != EntryKind::File {
            return self.tar.begin(&entry).map(drop).map_err(PackError::Write);
        }
        let file = node.read().map_err(&failed)?;
        entry.size = u64::try_from(stat.st_size).unwrap_or_default();
        if self.holes == Holes::Kept {
            entry.sparse = sparse_map(&file, stat, &entry)?;
        }
        self.tar.begin(&entry).map_err(PackError::Write)?;
        match &entry.sparse {
            None => self.copy(&file, &entry, Segment { offset: 0, length: entry.size })?,
            Some(map) => map.segments().iter().try_for_each(|segment| self.copy(&file, &entry, *segment))?,
        }
        Ok(())
    }

    /// The name under which the same file is in the stream already.
    fn linked_to(&mut self, path: &[u8], stat: &Stat) -> Option<Vec<u8>> {
        if stat.st_nlink < 2 || kind_of(stat) == FileType::Directory {
            return None;
        }
        let known = self.linked.entry((stat.st_dev, stat.st_ino));
        match known {
            std::collections::hash_map::Entry::Occupied(known) => Some(known.get().clone()),
            std::collections::hash_map::Entry::Vacant(unknown) => {
                unknown.insert(path.to_vec());
                None
            }
        }
    }

    fn copy(&mut self, file: &File, entry: &Entry, segment: Segment) -> Result<(), PackError> {
        let Segment { mut offset, length } = segment;
        let end = offset + length;
        while offset < end {
            let wanted = self.buffer.len().min(usize::try_from(end - offset).unwrap_or(usize::MAX));
            let piece = &mut self.buffer[..wanted];
            let read = match file.read_at(piece, offset) {
                Ok(0) => {
                    piece.fill(0);
                    wanted
                }
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(PackError::read(&entry.path, error)),
            };
            self.tar.data(&piece[..read]).map_err(PackError::Write)?;
            offset += read as u64;
        }
        Ok(())
    }

    /// An empty file that stands for something: a whiteout.
    pub(crate) fn add_mark(&mut self, path: Vec<u8>, mtime: i64) -> Result<(), PackError> {
        let entry = Entry {
            path,
            kind: EntryKind::File,
            mode: 0o600,
            uid: 0,
            gid: 0,
            mtime: Mtime { seconds: mtime, nanoseconds: 0 },
            xattrs: Vec::new(),
            size: 0,
            sparse: None,
        };
        self.tar.begin(&entry).map(drop).map_err(PackError::Write)
    }

    pub(crate) fn finish(self) -> Result<(), PackError> {
        self.tar.finish().map(drop).map_err(PackError::Write)
    }
}

fn attributes(node: &Node) -> Result<Vec<Xattr>, Errno> {
    let mut found = Vec::new();
    for name in node.xattr_names()?.into_iter().filter(|name| xattr::travels(name)) {
        match node.xattr(&name)? {
            // Capabilities that hold in a user namespace of the container's
            // only: elsewhere they would be worth more.
            Some(value) if name == xattr::CAPABILITY && value.get(3) != Some(&2) => drop(value),
            Some(value) => found.push((name, value)),
            None => {}
        }
    }
    Ok(found)
}

/// Where the file has data; `None` if it has no holes worth the name.
fn sparse_map(file: &File, stat: &Stat, entry: &Entry) -> Result<Option<SparseMap>, PackError> {
    const SECTOR: u64 = 512;
    if u64::try_from(stat.st_blocks).unwrap_or(u64::MAX).saturating_mul(SECTOR) >= entry.size {
        return Ok(None);
    }
    let mut segments: Vec<Segment> = Vec::new();
    let mut position = 0;
    while let Some((start, end)) = next_data(file, position, entry.size).map_err(|e| PackError::read(&entry.path, e))? {
        match segments.last_mut() {
            Some(last) if start - (last.offset + last.length) < SMALLEST_HOLE => last.length = end - last.offset,
            _ => segments.push(Segment { offset: start, length: end - start }),
        }
        if segments.len() > MOST_SEGMENTS {
            return Err(PackError::Holes { path: lossy(&entry.path), limit: MOST_SEGMENTS });
        }
        position = end;
    }
    let stored = segments.iter().map(|segment| segment.length).sum();
    Ok(SparseMap::new(segments, entry.size, stored).filter(|_| stored < entry.size))
}

/// The first stretch of data from `position` on that begins before `size`.
fn next_data(file: &File, position: u64, size: u64) -> Result<Option<(u64, u64)>, Errno> {
    if position >= size {
        return Ok(None);
    }
    let start = match seek(file, SeekFrom::Data(position)) {
        Ok(start) if start < size => start,
        // Nothing but a hole up to the end.
        Ok(_) | Err(Errno::NXIO) => return Ok(None),
        Err(errno) => return Err(errno),
    };
    let end = match seek(file, SeekFrom::Hole(start)) {
        Ok(end) => end.clamp(start + 1, size),
        // Cut off there meanwhile.
        Err(Errno::NXIO) => size,
        Err(errno) => return Err(errno),
    };
    Ok(Some((start, end)))
}

#[cfg(test)]
mod tests;
