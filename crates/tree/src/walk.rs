//! Going through a tree that others may be changing, one file at a time, each
//! directory's names in order.
//!
//! What disappears meanwhile is passed over. So is what has a path longer than
//! the kernel takes, as in Docker; that bounds the depth, and with it the
//! descriptors that are held: one for each directory on the way.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Dir, FileType, Mode, OFlags, Stat, openat};
use rustix::io::Errno;

use crate::node::{Node, kind_of};

/// The longest path the kernel takes, without its NUL.
const PATH_MAX: usize = 4095;

/// What the names of the directories that are being gone through may take
/// together, in bytes: some million. A stranger says how many there are.
pub(crate) const MOST_NAMES: usize = 64 << 20;

/// Why a tree could not be gone through.
#[derive(Debug)]
pub(crate) enum WalkError {
    Read { path: Vec<u8>, source: Errno },
    Names { path: Vec<u8>, limit: usize },
}

#[derive(Debug)]
pub(crate) struct Walk {
    frames: Vec<Frame>,
    /// Of what was found last, relative to the top, and whether it is a
    /// directory that is still to be gone into.
    path: Vec<u8>,
    name: CString,
    enter: bool,
    /// Bytes of names held.
    names: usize,
}

#[derive(Debug)]
struct Frame {
    directory: OwnedFd,
    /// In reverse.
    names: Vec<CString>,
    path_length: usize,
    cost: usize,
}

#[derive(Debug)]
pub(crate) struct Found<'w> {
    /// Relative to the top, without a slash at either end.
    pub(crate) path: &'w [u8],
    pub(crate) name: &'w [u8],
    /// How many directories lie between it and the top.
    pub(crate) depth: usize,
    pub(crate) node: Node,
    pub(crate) stat: Stat,
}

impl Walk {
    /// Of what is below `top`, without `top` itself.
    pub(crate) fn new(top: BorrowedFd<'_>) -> Result<Self, WalkError> {
        let mut walk = Self { frames: Vec::new(), path: Vec::new(), name: CString::default(), enter: false, names: 0 };
        match open_directory(top, b".") {
            Ok(directory) => walk.push(directory)?,
            Err(source) => return Err(walk.error(source)),
        }
        Ok(walk)
    }

    /// The next file, or none at the end. A directory comes before what is in it.
    pub(crate) fn next(&mut self) -> Result<Option<Found<'_>>, WalkError> {
        if std::mem::take(&mut self.enter)
            && let Some(parent) = self.frames.last()
        {
            match open_directory(parent.directory.as_fd(), self.name.as_bytes()) {
                Ok(directory) => self.push(directory)?,
                Err(errno) if is_gone(errno) => {}
                Err(source) => return Err(self.error(source)),
            }
        }
        loop {
            let Some(frame) = self.frames.last_mut() else { return Ok(None) };
            self.path.truncate(frame.path_length);
            let Some(name) = frame.names.pop() else {
                self.names -= frame.cost;
                self.frames.pop();
                continue;
            };
            if !self.path.is_empty() {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(name.as_bytes());
            if self.path.len() > PATH_MAX {
                continue;
            }
            self.name = name;
            let node = Node::open(frame.directory.as_fd(), self.name.as_bytes());
            match node.and_then(|node| node.stat().map(|stat| (node, stat))) {
                Ok((node, stat)) => {
                    self.enter = kind_of(&stat) == FileType::Directory;
                    let depth = self.frames.len() - 1;
                    return Ok(Some(Found { path: &self.path, name: self.name.as_bytes(), depth, node, stat }));
                }
                Err(errno) if is_gone(errno) => {}
                Err(source) => return Err(self.error(source)),
            }
        }
    }

    fn push(&mut self, directory: OwnedFd) -> Result<(), WalkError> {
        let limit = MOST_NAMES - self.names;
        let (names, cost) = match read_names(directory.as_fd(), limit) {
            Ok(Some(names)) => names,
            Ok(None) => return Err(WalkError::Names { path: self.path.clone(), limit: MOST_NAMES }),
            // It was removed after it was opened.
            Err(Errno::NOENT) => (Vec::new(), 0),
            Err(source) => return Err(self.error(source)),
        };
        self.names += cost;
        self.frames.push(Frame { directory, names, path_length: self.path.len(), cost });
        Ok(())
    }

    fn error(&self, source: Errno) -> WalkError {
        WalkError::Read { path: self.path.clone(), source }
    }
}

/// What the kernel says of a name that was there a moment ago.
pub(crate) fn is_gone(errno: Errno) -> bool {
    matches!(errno, Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::STALE)
}

pub(crate) fn open_directory(parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(parent, name, flags, Mode::empty())
}

/// The names in a directory, the last first, and what they take; `None` if that
/// is more than `limit` bytes.
pub(crate) fn read_names(directory: BorrowedFd<'_>, limit: usize) -> Result<Option<(Vec<CString>, usize)>, Errno> {
    let (mut names, mut cost) = (Vec::new(), 0);
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        cost += name.to_bytes_with_nul().len() + size_of::<CString>();
        if cost > limit {
            return Ok(None);
        }
        names.push(name.to_owned());
    }
    names.sort_unstable_by(|a: &CString, b| b.cmp(a));
    Ok(Some((names, cost)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn walk(top: &std::path::Path) -> Vec<String> {
        let top = fs::File::open(top).unwrap();
        let mut walk = Walk::new(top.as_fd()).unwrap();
        let mut found = Vec::new();
        while let Some(next) = walk.next().unwrap() {
            assert_eq!(next.path.iter().filter(|byte| **byte == b'/').count(), next.depth);
            assert!(next.path.ends_with(next.name));
            found.push(String::from_utf8_lossy(next.path).into_owned());
        }
        assert_eq!(walk.names, 0);
        found
    }

    #[test]
    fn directories_come_before_their_files_and_names_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        fs::create_dir_all(at("b/c")).unwrap();
        for file in ["b/z", "b/c/x", "b.", "a"] {
            fs::write(at(file), "").unwrap();
        }
        std::os::unix::fs::symlink("b", at("link")).unwrap();
        assert_eq!(walk(dir.path()), ["a", "b", "b/c", "b/c/x", "b/z", "b.", "link"]);
    }

    #[test]
    fn depth_ends_where_paths_do() {
        let dir = tempfile::tempdir().unwrap();
        let mut directory = OwnedFd::from(fs::File::open(dir.path()).unwrap());
        for _ in 0..20 {
            rustix::fs::mkdirat(&directory, "d".repeat(250), Mode::from_raw_mode(0o755)).unwrap();
            directory = open_directory(directory.as_fd(), "d".repeat(250).as_bytes()).unwrap();
        }
        let found = walk(dir.path());
        assert_eq!((found.len(), found[15].len()), (16, 16 * 251 - 1));
        crate::remove_tree(rustix::fs::CWD, dir.path().as_os_str().as_encoded_bytes()).unwrap();
    }

    #[test]
    fn what_changes_meanwhile_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        for name in ["a", "b", "c", "d"] {
            fs::create_dir(at(name)).unwrap();
            fs::write(at(name).join("file"), "").unwrap();
        }
        let top = fs::File::open(dir.path()).unwrap();
        let mut walk = Walk::new(top.as_fd()).unwrap();
        assert_eq!(walk.next().unwrap().unwrap().path, b"a");
        // Found, and then no directory any more.
        fs::remove_dir_all(at("a")).unwrap();
        std::os::unix::fs::symlink("/etc", at("a")).unwrap();
        // Not found yet.
        fs::remove_dir_all(at("b")).unwrap();
        assert_eq!(walk.next().unwrap().unwrap().path, b"c");
        fs::remove_dir_all(at("c")).unwrap();
        fs::write(at("c"), "").unwrap();
        assert_eq!(walk.next().unwrap().unwrap().path, b"d");
        assert_eq!(walk.next().unwrap().unwrap().path, b"d/file");
        assert!(walk.next().unwrap().is_none());
    }
}
