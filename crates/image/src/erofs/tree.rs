//! A directory with all below it, in the order in which it is written.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, Stat, lgetxattr, lgetxattr_query, llistxattr, llistxattr_query, major, minor,
    openat, readlinkat, statat,
};
use rustix::io::Errno;

use super::format::Attribute;
use super::holes::{Chunks, LARGE};
use super::{Holes, WriteError, format};

/// Chunks of all files together; their maps are held in memory and written out.
const MOST_CHUNKS: u64 = 1 << 24;

/// All inodes, the root first, a directory's own behind each other.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) inodes: Vec<Inode>,
}

#[derive(Debug)]
pub(super) struct Inode {
    pub(super) kind: Kind,
    pub(super) mode: u16,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Seconds since 1970, and nanoseconds.
    pub(super) mtime: (i64, u32),
    pub(super) links: u32,
    /// In the form on disk.
    pub(super) attributes: Vec<u8>,
}

#[derive(Debug)]
pub(super) enum Kind {
    Directory(Directory),
    File {
        size: u64,
        chunks: Option<Chunks>,
    },
    Symlink {
        target: Vec<u8>,
    },
    /// With the number of its device.
    Device(u32),
    /// A pipe or a socket.
    Other,
}

#[derive(Debug)]
pub(super) struct Directory {
    /// From the root, which has an empty one.
    pub(super) path: Vec<u8>,
    /// Sorted by their names' bytes, with `.` and `..`.
    pub(super) entries: Vec<Entry>,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: Vec<u8>,
    /// Index of its inode.
    pub(super) inode: usize,
    /// Whether the inode was found under this name first.
    pub(super) is_first: bool,
}

impl Kind {
    /// As entries of directories tell it.
    pub(super) fn file_type(&self, mode: u16) -> u8 {
        match (self, FileType::from_raw_mode(mode.into())) {
            (Self::File { .. }, _) => 1,
            (Self::Directory(_), _) => 2,
            (Self::Device(_), FileType::BlockDevice) => 4,
            (Self::Device(_), _) => 3,
            (Self::Other, FileType::Fifo) => 5,
            (Self::Other, _) => 6,
            (Self::Symlink { .. }, _) => 7,
        }
    }
}

impl Tree {
    pub(super) fn gather(root: &OwnedFd, holes: Holes) -> Result<Self, WriteError> {
        let mut gathering = Gathering {
            root: root.as_fd(),
            holes,
            inodes: Vec::new(),
            linked: HashMap::new(),
            chunks: 0,
            pending: Vec::new(),
        };
        let stat = statat(root, c".", AtFlags::empty()).map_err(|e| WriteError::read("look at", b"", e))?;
        gathering.add(root.as_fd(), b".", Vec::new(), &stat)?;
        // The root is its own parent.
        gathering.pending.push((0, 0));
        while let Some((directory, parent)) = gathering.pending.pop() {
            gathering.read(directory, parent)?;
        }
        Ok(Self { inodes: gathering.inodes })
    }
}

struct Gathering<'a> {
    root: BorrowedFd<'a>,
    holes: Holes,
    inodes: Vec<Inode>,
    /// What has several names, by its number on the disk.
    linked: HashMap<(u64, u64), usize>,
    chunks: u64,
    /// Directories to read, with their parents; the next one last.
    pending: Vec<(usize, usize)>,
}

impl Gathering<'_> {
    fn read(&mut self, index: usize, parent: usize) -> Result<(), WriteError> {
        let path = match &self.inodes[index].kind {
            Kind::Directory(directory) => directory.path.clone(),
            _ => unreachable!("only directories are pending"),
        };
        let directory = open_directory(self.root, &path)?;
        let mut names = names(&directory).map_err(|e| WriteError::read("read the directory", &path, e))?;
        names.sort_unstable();
        let mut entries = Vec::with_capacity(names.len() + 2);
        let mut directories = Vec::new();
        for name in names {
            let path = join(&path, &name);
            let failed = |e| WriteError::read("look at", &path, e);
            let stat = statat(&directory, &*name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
            let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            let identity = (stat.st_dev, stat.st_ino);
            let known = self.linked.get(&identity).copied();
            let inode = match known {
                Some(inode) => {
                    self.inodes[inode].links += 1;
                    inode
                }
                None => self.add(directory.as_fd(), &name, path.clone(), &stat)?,
            };
            if is_directory {
                directories.push((inode, index));
            } else if stat.st_nlink > 1 {
                self.linked.insert(identity, inode);
            }
            entries.push(Entry { name, inode, is_first: known.is_none() });
        }
        self.inodes[index].links = 2 + directories.len() as u32;
        self.pending.extend(directories.into_iter().rev());
        for (name, inode) in [(&b"."[..], index), (b"..", parent)] {
            entries.push(Entry { name: name.to_owned(), inode, is_first: false });
        }
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        if let Kind::Directory(directory) = &mut self.inodes[index].kind {
            directory.entries = entries;
        }
        Ok(())
    }

    /// The index of the new inode.
    fn add(&mut self, directory: BorrowedFd<'_>, name: &[u8], path: Vec<u8>, stat: &Stat) -> Result<usize, WriteError> {
        let attributes =
            attributes(directory, name).map_err(|e| WriteError::read("read the attributes of", &path, e))?;
        let attributes = format::attributes(&path, &attributes)?;
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Kind::Directory(Directory { path, entries: Vec::new() }),
            FileType::RegularFile => {
                let size = stat.st_size as u64;
                let chunks = match self.holes {
                    Holes::Kept if size >= LARGE => self.chunks(directory, name, &path, size)?,
                    _ => None,
                };
                Kind::File { size, chunks }
            }
            FileType::Symlink => {
                let target =
                    readlinkat(directory, name, Vec::new()).map_err(|e| WriteError::read("read the link", &path, e))?;
                Kind::Symlink { target: target.into_bytes() }
            }
            FileType::CharacterDevice | FileType::BlockDevice => {
                Kind::Device(format::device(major(stat.st_rdev), minor(stat.st_rdev)))
            }
            _ => Kind::Other,
        };
        self.inodes.push(Inode {
            kind,
            // All that a mode is has 16 bits.
            mode: stat.st_mode as u16,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: (stat.st_mtime, stat.st_mtime_nsec as u32),
            links: 1,
            attributes,
        });
        Ok(self.inodes.len() - 1)
    }

    fn chunks(
        &mut self,
        directory: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
        size: u64,
    ) -> Result<Option<Chunks>, WriteError> {
        let file = open_file(directory, name).map_err(|e| WriteError::read("open", path, e))?;
        let chunks = Chunks::of(&file, size).map_err(|e| WriteError::read("read", path, e))?;
        self.chunks += chunks.as_ref().map_or(0, Chunks::count);
        if self.chunks > MOST_CHUNKS { Err(WriteError::Holes) } else { Ok(chunks) }
    }
}

pub(super) fn open_directory(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, WriteError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let name = if path.is_empty() { b"." } else { path };
    openat(root, name, flags, Mode::empty()).map_err(|e| WriteError::read("open the directory", path, e))
}

pub(super) fn open_file(directory: impl AsFd, name: &[u8]) -> Result<File, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(directory, name, flags, Mode::empty()).map(File::from)
}

pub(super) fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() { name.to_owned() } else { [path, b"/", name].concat() }
}

fn names(directory: &OwnedFd) -> Result<Vec<Vec<u8>>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// All extended attributes, sorted by name. Of links and devices they can only be
/// had by path: it leads through the directory's descriptor.
fn attributes(directory: BorrowedFd<'_>, name: &[u8]) -> Result<Vec<Attribute>, Errno> {
    let mut path = format!("/proc/self/fd/{}/", directory.as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    let path = path.as_slice();
    // Most files have none, and are asked once.
    let length = match llistxattr_query(path) {
        Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        length => length?,
    };
    let mut names = vec![0; length];
    let length = llistxattr(path, &mut *names)?;
    let mut names: Vec<&[u8]> = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()).collect();
    names.sort_unstable();
    let value = |name: &[u8]| -> Result<Vec<u8>, Errno> {
        let mut value = vec![0; lgetxattr_query(path, name)?];
        let length = lgetxattr(path, name, &mut *value)?;
        value.truncate(length);
        Ok(value)
    };
    names.into_iter().map(|name| Ok((name.to_owned(), value(name)?))).collect()
}
