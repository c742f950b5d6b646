//! One file of a tree, held by a descriptor that names it and does not open it:
//! whatever its name comes to mean meanwhile, this file is what is acted on.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags, chmod, chownat, fchmod, fstat,
    getxattr, listxattr, open, openat, readlinkat, setxattr, utimensat,
};
use rustix::io::Errno;

use crate::tarball::Mtime;

/// The kernel's limits for a list of names and for one value.
const LARGEST_XATTR: usize = 64 << 10;

#[derive(Debug)]
pub(crate) struct Node {
    fd: OwnedFd,
    /// It was made here, and is open.
    open: bool,
}

impl Node {
    /// What is there under that name, a link itself and not what it leads to.
    pub(crate) fn open(directory: BorrowedFd<'_>, name: &[u8]) -> Result<Self, Errno> {
        openat(directory, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()).map(Self::from)
    }

    /// The same, which was just made and should be of this kind still.
    pub(crate) fn open_made(directory: BorrowedFd<'_>, name: &[u8], kind: FileType) -> Result<Self, Errno> {
        let node = Self::open(directory, name)?;
        if kind_of(&node.stat()?) == kind { Ok(node) } else { Err(Errno::STALE) }
    }

    /// A file that was just made.
    pub(crate) fn of_file(file: File) -> Self {
        Self { fd: file.into(), open: true }
    }

    pub(crate) fn stat(&self) -> Result<Stat, Errno> {
        fstat(&self.fd)
    }

    pub(crate) fn set_owner(&self, uid: u32, gid: u32) -> Result<(), Errno> {
        chownat(&self.fd, c"", Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), AtFlags::EMPTY_PATH)
    }

    /// Not for symbolic links, which have none of their own.
    pub(crate) fn set_mode(&self, mode: u32) -> Result<(), Errno> {
        let mode = Mode::from_raw_mode(mode);
        if self.open { fchmod(&self.fd, mode) } else { chmod(self.path(), mode) }
    }

    pub(crate) fn set_mtime(&self, mtime: Mtime) -> Result<(), Errno> {
        utimensat(&self.fd, c"", &timestamps(mtime), AtFlags::EMPTY_PATH)
    }

    /// Not for symbolic links: the kernel would have `security.` and `trusted.`
    /// for them only.
    pub(crate) fn set_xattr(&self, name: &[u8], value: &[u8]) -> Result<(), Errno> {
        setxattr(self.path(), name, value, XattrFlags::empty())
    }

    /// `None` where there is no such attribute, or can be none.
    pub(crate) fn xattr(&self, name: &[u8]) -> Result<Option<Vec<u8>>, Errno> {
        let mut value = vec![0; LARGEST_XATTR];
        match getxattr(self.path(), name, &mut value[..]) {
            Ok(length) => {
                value.truncate(length);
                Ok(Some(value))
            }
            Err(Errno::NODATA | Errno::NOTSUP | Errno::PERM) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    pub(crate) fn xattr_names(&self) -> Result<Vec<Vec<u8>>, Errno> {
        let mut names = vec![0; LARGEST_XATTR];
        let length = match listxattr(self.path(), &mut names[..]) {
            Ok(length) => length,
            Err(Errno::NOTSUP | Errno::PERM) => 0,
            Err(errno) => return Err(errno),
        };
        let names = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
        Ok(names.map(<[u8]>::to_vec).collect())
    }

    /// Where a symbolic link leads.
    pub(crate) fn link_target(&self) -> Result<Vec<u8>, Errno> {
        Ok(readlinkat(&self.fd, c"", Vec::new())?.into_bytes())
    }

    /// For regular files only: to open anything else is to do something to it.
    pub(crate) fn read(&self) -> Result<File, Errno> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        open(self.path(), flags, Mode::empty()).map(File::from)
    }

    /// For what has no call that takes such a descriptor: the way leads through
    /// its entry in /proc to the file itself.
    fn path(&self) -> String {
        format!("/proc/self/fd/{}", self.fd.as_raw_fd())
    }
}

impl From<OwnedFd> for Node {
    fn from(fd: OwnedFd) -> Self {
        Self { fd, open: false }
    }
}

impl AsFd for Node {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

pub(crate) fn kind_of(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// What overlayfs puts in the place of something deleted.
pub(crate) fn is_whiteout(stat: &Stat) -> bool {
    kind_of(stat) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// Docker's bounds: what is before 1970 or does not fit nanoseconds in 64 bits
/// becomes 1970. The access time is set alike, so that it does not depend on
/// when the file was unpacked.
fn timestamps(mtime: Mtime) -> Timestamps {
    const LAST: i64 = i64::MAX / 1_000_000_000;
    let time = if (0..LAST).contains(&mtime.seconds) {
        Timespec { tv_sec: mtime.seconds, tv_nsec: i64::from(mtime.nanoseconds) }
    } else {
        Timespec { tv_sec: 0, tv_nsec: 0 }
    };
    Timestamps { last_access: time, last_modification: time }
}
