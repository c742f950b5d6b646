//! Finding and making directories beneath the root that is unpacked into,
//! wherever its links point.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, mkdirat, unlinkat};
use rustix::io::Errno;

use super::UnpackError;
use super::path::LayerPath;
use crate::beneath::open_in;
use crate::error::lossy;
use crate::node::{Node, is_whiteout, kind_of};
use crate::xattr::OPAQUE;

/// The root directory, and the names it may be asked for.
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
    Whiteout,
    Other,
}

impl Root {
    pub(super) fn new(directory: OwnedFd) -> Self {
        Self(directory)
    }

    /// The directory of that name, if there is one, resolved within the root.
    pub(super) fn open(&self, path: &LayerPath) -> Result<OwnedFd, Errno> {
        open_in(self.0.as_fd(), path.as_bytes(), OFlags::PATH | OFlags::DIRECTORY)
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

    pub(super) fn itself(&self) -> Result<Node, Errno> {
        open_in(self.0.as_fd(), b"", OFlags::PATH | OFlags::DIRECTORY).map(Node::from)
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

    pub(super) fn look(&self) -> Result<(Found, Option<Node>), Errno> {
        let node = match Node::open(self.fd(), self.name()) {
            Ok(node) => node,
            Err(Errno::NOENT) => return Ok((Found::Nothing, None)),
            Err(error) => return Err(error),
        };
        let stat = node.stat()?;
        let found = match kind_of(&stat) {
            FileType::Directory => Found::Directory,
            _ if is_whiteout(&stat) => Found::Whiteout,
            _ => Found::Other,
        };
        Ok((found, Some(node)))
    }

    /// What was just made here.
    pub(super) fn made(&self, kind: FileType) -> Result<Node, Errno> {
        Node::open_made(self.fd(), self.name(), kind)
    }

    /// A directory that no entry describes (yet): root's, 0755. If the layer
    /// hides what is below it by a whiteout, it stays hidden.
    fn make_directory(&self, path: &LayerPath) -> Result<(), UnpackError> {
        let failed = |operation| move |e: Errno| UnpackError::entry(operation, path.as_bytes(), e);
        let (found, _) = self.look().map_err(failed("look"))?;
        if found == Found::Whiteout {
            unlinkat(&self.directory, self.name(), AtFlags::empty()).map_err(failed("replace the whiteout"))?;
        }
        match mkdirat(&self.directory, self.name(), Mode::from_raw_mode(0o755)) {
            Ok(()) => {}
            // A link that leads nowhere, or a file.
            Err(Errno::EXIST) => return Err(parent_error(path, Errno::NOTDIR)),
            Err(error) => return Err(failed("make the directory")(error)),
        }
        let node = self.made(FileType::Directory).map_err(failed("make the directory"))?;
        // The umask is the caller's.
        node.set_mode(0o755).map_err(failed("set the mode"))?;
        if found == Found::Whiteout {
            set_opaque(&node).map_err(failed("mark the directory as opaque"))?;
        }
        Ok(())
    }
}

pub(super) fn set_opaque(directory: &Node) -> Result<(), Errno> {
    directory.set_xattr(OPAQUE, b"y")
}
