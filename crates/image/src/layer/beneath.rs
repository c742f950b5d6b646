//! Finding and making directories beneath a layer's root, wherever its links
//! point.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags, chmodat, chownat,
    lsetxattr, mkdirat, openat2, statat, unlinkat, utimensat,
};
use rustix::io::Errno;

use super::UnpackError;
use super::error::lossy;
use super::path::LayerPath;
use crate::tarball::Mtime;

const OPAQUE_XATTR: &str = "trusted.overlay.opaque";

/// A layer's root directory, and the names it may be asked for.
pub(super) struct Root(OwnedFd);

/// The directory that holds an entry, and the entry's name in it.
pub(super) struct Place {
    pub(super) directory: OwnedFd,
    pub(super) name: Vec<u8>,
}

/// What is at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    Directory,
    /// A character device 0/0.
    Whiteout,
    Other,
}

impl Root {
    pub(super) fn new(directory: OwnedFd) -> Self {
        Self(directory)
    }

    /// The directory of that name, if there is one, resolved within the root.
    pub(super) fn open(&self, path: &LayerPath) -> Result<OwnedFd, Errno> {
        let name: &[u8] = if path.as_bytes().is_empty() { b"." } else { path.as_bytes() };
        openat2(
            &self.0,
            name,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        )
    }

    /// The same directory; those missing on the way to it are made, and told to
    /// `made` with their names.
    pub(super) fn open_or_make(
        &self,
        path: &LayerPath,
        made: &mut dyn FnMut(LayerPath) -> Result<(), UnpackError>,
    ) -> Result<OwnedFd, UnpackError> {
        match self.open(path) {
            Ok(directory) => return Ok(directory),
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(error) => return Err(parent_error(path, error)),
        }
        let mut prefix = LayerPath::parse(b"")?;
        let mut directory = self.open(&prefix).map_err(|e| parent_error(path, e))?;
        for name in path.components() {
            let next = prefix.child(name);
            directory = match self.open(&next) {
                Ok(existing) => existing,
                Err(Errno::NOENT | Errno::NOTDIR) => {
                    let place = Place { directory, name: name.to_owned() };
                    place.make_directory(&next)?;
                    made(next.clone())?;
                    self.open(&next).map_err(|e| parent_error(path, e))?
                }
                Err(error) => return Err(parent_error(path, error)),
            };
            prefix = next;
        }
        Ok(directory)
    }

    /// Where an entry of that name goes; none for the root itself.
    pub(super) fn place(
        &self,
        path: &LayerPath,
        made: &mut dyn FnMut(LayerPath) -> Result<(), UnpackError>,
    ) -> Result<Option<Place>, UnpackError> {
        let Some((parent, name)) = path.split() else {
            return Ok(None);
        };
        let directory = self.open_or_make(&parent, made)?;
        Ok(Some(Place { directory, name: name.to_owned() }))
    }

    /// The root as a place: `.` within itself.
    pub(super) fn itself(&self) -> Result<Place, Errno> {
        Ok(Place { directory: self.0.as_fd().try_clone_to_owned().map_err(|_| Errno::MFILE)?, name: b".".to_vec() })
    }
}

fn parent_error(path: &LayerPath, error: Errno) -> UnpackError {
    match error {
        Errno::NOTDIR | Errno::LOOP | Errno::NOENT | Errno::EXIST | Errno::XDEV => {
            UnpackError::Parent { path: lossy(path.as_bytes()), source: error.into() }
        }
        other => UnpackError::entry("open the directory", path.as_bytes(), other),
    }
}

impl Place {
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    pub(super) fn name(&self) -> &[u8] {
        &self.name
    }

    pub(super) fn look(&self) -> Result<Found, Errno> {
        match statat(&self.directory, self.name(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => Found::Directory,
                FileType::CharacterDevice if stat.st_rdev == 0 => Found::Whiteout,
                _ => Found::Other,
            }),
            Err(Errno::NOENT) => Ok(Found::Nothing),
            Err(error) => Err(error),
        }
    }

    /// A directory that no entry describes (yet): root's, 0755. If the layer
    /// hides what is below it by a whiteout, it stays hidden.
    pub(super) fn make_directory(&self, path: &LayerPath) -> Result<(), UnpackError> {
        let failed = |operation| move |e: Errno| UnpackError::entry(operation, path.as_bytes(), e);
        let found = self.look().map_err(failed("look"))?;
        if found == Found::Whiteout {
            unlinkat(&self.directory, self.name(), AtFlags::empty()).map_err(failed("replace the whiteout"))?;
        }
        match mkdirat(&self.directory, self.name(), Mode::from_raw_mode(0o755)) {
            Ok(()) => {}
            // A link that leads nowhere, or a file.
            Err(Errno::EXIST) => return Err(parent_error(path, Errno::NOTDIR)),
            Err(error) => return Err(failed("make the directory")(error)),
        }
        // The umask is the caller's.
        self.set_mode(0o755).map_err(failed("set the mode"))?;
        if found == Found::Whiteout {
            self.set_opaque().map_err(failed("mark the directory as opaque"))?;
        }
        Ok(())
    }

    pub(super) fn set_opaque(&self) -> Result<(), Errno> {
        self.set_xattr(OPAQUE_XATTR.as_bytes(), b"y")
    }

    /// Only for what was just made or looked at: a link would be followed.
    pub(super) fn set_mode(&self, mode: u32) -> Result<(), Errno> {
        chmodat(&self.directory, self.name(), Mode::from_raw_mode(mode), AtFlags::empty())
    }

    pub(super) fn set_owner(&self, uid: u32, gid: u32) -> Result<(), Errno> {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        chownat(&self.directory, self.name(), Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
    }

    pub(super) fn set_mtime(&self, mtime: Mtime) -> Result<(), Errno> {
        utimensat(&self.directory, self.name(), &timestamps(mtime), AtFlags::SYMLINK_NOFOLLOW)
    }

    /// There is no `setxattrat` on the kernels supported: the way leads through
    /// the descriptor's entry in /proc, whose last component is not followed.
    pub(super) fn set_xattr(&self, name: &[u8], value: &[u8]) -> Result<(), Errno> {
        let mut path = format!("/proc/self/fd/{}/", self.directory.as_raw_fd()).into_bytes();
        path.extend_from_slice(&self.name);
        lsetxattr(path.as_slice(), name, value, XattrFlags::empty())
    }
}

/// Docker's bounds: what is before 1970 or does not fit nanoseconds in 64 bits
/// becomes 1970. The access time is set alike, so that it does not depend on
/// when the layer was unpacked.
fn timestamps(mtime: Mtime) -> Timestamps {
    const LAST: i64 = i64::MAX / 1_000_000_000;
    let time = if (0..LAST).contains(&mtime.seconds) {
        Timespec { tv_sec: mtime.seconds, tv_nsec: i64::from(mtime.nanoseconds) }
    } else {
        Timespec { tv_sec: 0, tv_nsec: 0 }
    };
    Timestamps { last_access: time, last_modification: time }
}
