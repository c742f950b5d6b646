//! What a container changed: the upper directory of its overlay, compared with
//! what lies below.
//!
//! As in Docker a directory is changed if anything in it is, or its mode or
//! owner, and a file if its mode, owner, size, time or capability is. What the
//! launcher made to mount on is no change; Docker has those in a layer of their
//! own.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use crate::node::{Node, is_whiteout, kind_of};
use crate::pack::PackError;
use crate::walk::{Found, MOST_NAMES, Walk, is_gone, open_directory, read_names};
use crate::xattr;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    Modified,
    Added,
    Deleted,
}

/// A container's own files and what they are based on.
#[derive(Debug)]
pub struct Layers {
    /// In overlayfs form.
    pub upper: OwnedFd,
    /// Everything below, as one tree.
    pub lower: OwnedFd,
    /// What was made in the upper directory to mount on where there was
    /// nothing, with paths relative to it.
    pub mount_points: Vec<MountPoint>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountPoint {
    pub path: Vec<u8>,
    pub is_directory: bool,
}

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// What differs.
    List,
    /// What the upper directory holds, and which directories must come with it.
    Layer,
}

/// Lists the changes in the order of a walk, with paths that begin with a slash.
/// Of what was deleted or added with all that is in it only the deleted is one
/// change.
pub fn list_changes(
    layers: &Layers,
    mut tell: impl FnMut(ChangeKind, &[u8]) -> io::Result<()>,
) -> Result<(), PackError> {
    let mut path = Vec::new();
    compare(layers, Purpose::List, &mut |change| {
        path.clear();
        path.push(b'/');
        path.extend_from_slice(change.path);
        tell(change.kind, &path).map_err(PackError::Write)
    })
}

/// One change, in the order of a walk.
#[derive(Debug)]
pub(crate) struct Change<'c> {
    pub(crate) kind: ChangeKind,
    /// Relative to the root.
    pub(crate) path: &'c [u8],
    /// What is there now; of something deleted overlayfs's mark, if it has one.
    pub(crate) now: Option<(&'c Node, &'c Stat)>,
    /// A directory that hides what was in it. Only for a layer; in a list, what
    /// was in it is deleted.
    pub(crate) opaque: bool,
}

type Tell<'a> = &'a mut dyn FnMut(Change<'_>) -> Result<(), PackError>;

pub(crate) fn compare(layers: &Layers, purpose: Purpose, tell: Tell<'_>) -> Result<(), PackError> {
    let mut comparison = Comparison { layers, purpose, levels: Vec::new(), tell };
    let mut walk = Walk::new(layers.upper.as_fd())?;
    while let Some(found) = walk.next()? {
        comparison.look(found)?;
    }
    Ok(())
}

struct Comparison<'a> {
    layers: &'a Layers,
    purpose: Purpose,
    /// The directories on the way to what is looked at.
    levels: Vec<Level>,
    tell: Tell<'a>,
}

struct Level {
    path_length: usize,
    node: Node,
    stat: Stat,
    told: bool,
    /// The same directory as it was; none if it was not, or was something else.
    lower: Option<OwnedFd>,
}

impl Comparison<'_> {
    fn look(&mut self, found: Found<'_>) -> Result<(), PackError> {
        let Found { path, name, depth, node, stat } = found;
        self.levels.truncate(depth);
        let failed = |e: Errno| PackError::read(path, e);
        let layers = self.layers;
        let before = match self.levels.last() {
            Some(level) => level.lower.as_ref().map(|lower| child(lower.as_fd(), name)),
            None => Some(child(layers.lower.as_fd(), name)),
        };
        let before = before.transpose().map_err(failed)?.flatten();
        if is_whiteout(&stat) {
            return match before {
                Some(_) => self.change(path, ChangeKind::Deleted, Some((&node, &stat)), false),
                None => Ok(()),
            };
        }
        let made = if before.is_none() { layers.mount_point(path) } else { None };
        let kind = match (&before, &made) {
            (Some(old), _) => is_different(old, (&node, &stat)).map_err(failed)?.then_some(ChangeKind::Modified),
            (None, Some(made)) => (!made.is_untouched(&stat)).then_some(ChangeKind::Modified),
            (None, None) => Some(ChangeKind::Added),
        };
        if kind_of(&stat) != FileType::Directory {
            let copied_up = before.is_some() && self.purpose == Purpose::Layer;
            return match kind.or(copied_up.then_some(ChangeKind::Modified)) {
                Some(kind) => self.change(path, kind, Some((&node, &stat)), false),
                None => Ok(()),
            };
        }
        let lower = match before {
            Some((before, before_stat)) if kind_of(&before_stat) == FileType::Directory => {
                open_directory(before.as_fd(), b".").map(Some).map_err(failed)?
            }
            _ => None,
        };
        let hides = lower.is_some() && node.xattr(xattr::OPAQUE).map_err(failed)?.is_some();
        let opaque = hides && self.purpose == Purpose::Layer;
        let kind = kind.or(opaque.then_some(ChangeKind::Modified));
        if let Some(kind) = kind {
            self.change(path, kind, Some((&node, &stat)), opaque)?;
        }
        self.levels.push(Level { path_length: path.len(), node, stat, told: kind.is_some(), lower });
        if hides && !opaque { self.tell_hidden(path) } else { Ok(()) }
    }

    /// What was in the innermost directory and is not any more.
    fn tell_hidden(&mut self, path: &[u8]) -> Result<(), PackError> {
        let Some(Level { node, lower: Some(lower), .. }) = self.levels.last() else { return Ok(()) };
        let failed = |e: Errno| PackError::read(path, e);
        let names = read_names(lower.as_fd(), MOST_NAMES).map_err(failed)?;
        let names = names.ok_or_else(|| PackError::names(path, MOST_NAMES))?.0;
        let mut hidden = Vec::new();
        for name in names.into_iter().rev() {
            let name = name.as_bytes();
            if child(lower.as_fd(), name).map_err(failed)?.is_some()
                && child(node.as_fd(), name).map_err(failed)?.is_none()
            {
                hidden.push([path, b"/", name].concat());
            }
        }
        hidden.iter().try_for_each(|path| self.change(path, ChangeKind::Deleted, None, false))
    }

    /// Tells a change, and before it that the directories around it changed.
    fn change(
        &mut self,
        path: &[u8],
        kind: ChangeKind,
        now: Option<(&Node, &Stat)>,
        opaque: bool,
    ) -> Result<(), PackError> {
        for level in self.levels.iter_mut().filter(|level| !level.told) {
            level.told = true;
            let now = Some((&level.node, &level.stat));
            (self.tell)(Change { kind: ChangeKind::Modified, path: &path[..level.path_length], now, opaque: false })?;
        }
        (self.tell)(Change { kind, path, now, opaque })
    }
}

impl Layers {
    /// What the launcher made of that name, if it made it.
    fn mount_point(&self, path: &[u8]) -> Option<MountPoint> {
        self.mount_points.iter().find_map(|point| match point.path.strip_prefix(path)? {
            [] => Some(point.clone()),
            // On the way to it.
            [b'/', ..] => Some(MountPoint { path: path.to_vec(), is_directory: true }),
            _ => None,
        })
    }
}

impl MountPoint {
    /// As [`crate::beneath::open_or_make`] makes it.
    fn is_untouched(&self, stat: &Stat) -> bool {
        let by_root = stat.st_uid == 0 && stat.st_gid == 0;
        let mode = stat.st_mode & 0o7777;
        by_root
            && match kind_of(stat) {
                FileType::Directory => self.is_directory && mode == 0o755,
                FileType::RegularFile => !self.is_directory && mode == 0o644 && stat.st_size == 0,
                _ => false,
            }
    }
}

/// A whiteout is nothing: the lowest layer shows its own as they are.
fn child(directory: BorrowedFd<'_>, name: &[u8]) -> Result<Option<(Node, Stat)>, Errno> {
    match Node::open(directory, name).and_then(|node| node.stat().map(|stat| (node, stat))) {
        Ok((_, stat)) if is_whiteout(&stat) => Ok(None),
        Ok(found) => Ok(Some(found)),
        Err(errno) if is_gone(errno) => Ok(None),
        Err(errno) => Err(errno),
    }
}

fn is_different((old, before): &(Node, Stat), (new, now): (&Node, &Stat)) -> Result<bool, Errno> {
    if (before.st_mode, before.st_uid, before.st_gid, before.st_rdev)
        != (now.st_mode, now.st_uid, now.st_gid, now.st_rdev)
    {
        return Ok(true);
    }
    match kind_of(now) {
        FileType::Directory => Ok(false),
        _ if before.st_size != now.st_size || !is_same_time(before, now) => Ok(true),
        FileType::RegularFile => Ok(old.xattr(xattr::CAPABILITY)? != new.xattr(xattr::CAPABILITY)?),
        _ => Ok(false),
    }
}

/// What came out of an archive has whole seconds.
fn is_same_time(a: &Stat, b: &Stat) -> bool {
    a.st_mtime == b.st_mtime && (a.st_mtime_nsec == b.st_mtime_nsec || a.st_mtime_nsec == 0 || b.st_mtime_nsec == 0)
}

#[cfg(test)]
mod tests;
