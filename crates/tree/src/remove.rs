//! Removing a tree whose shape somebody else chose.
//!
//! The standard library's function keeps a descriptor per level, so that a tree
//! deep enough cannot be removed. Here directories found below are moved up
//! first: two descriptors and short names, whatever the depth. Links are never
//! followed.

use std::ffi::CString;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, RenameFlags, openat, renameat_with, unlinkat};
use rustix::io::Errno;

/// Names read before they are acted on: changing a directory while it is read
/// may hide entries, so it is read again until it is empty.
const BATCH: usize = 4096;

/// Removes a file, or a directory with all below it. It is no error if it is gone.
pub fn remove(path: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let parent = match openat(CWD, parent, directory_flags().difference(OFlags::NOFOLLOW), Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        parent => parent?,
    };
    Ok(remove_tree(parent, name.as_bytes())?)
}

/// Removes `name` in `parent` with all below it. It is no error if it is gone.
pub fn remove_tree(parent: impl AsFd, name: &[u8]) -> Result<(), Errno> {
    let parent = parent.as_fd();
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR) => {}
        Err(error) => return Err(error),
    }
    let top = openat(parent, name, directory_flags(), Mode::empty())?;
    let mut moved = 0_u64;
    loop {
        let names = read_names(&top)?;
        if names.is_empty() {
            break;
        }
        for name in names {
            match unlinkat(&top, &*name, AtFlags::empty()) {
                Ok(()) => continue,
                Err(Errno::ISDIR) => {}
                Err(error) => return Err(error),
            }
            let below = openat(&top, &*name, directory_flags(), Mode::empty())?;
            flatten(&below, &top, &mut moved)?;
            unlinkat(&top, &*name, AtFlags::REMOVEDIR)?;
        }
    }
    unlinkat(parent, name, AtFlags::REMOVEDIR)
}

/// Empties `directory`: its files go, its directories move to `top`.
fn flatten(directory: impl AsFd, top: impl AsFd, moved: &mut u64) -> Result<(), Errno> {
    let (directory, top) = (directory.as_fd(), top.as_fd());
    loop {
        let names = read_names(directory)?;
        if names.is_empty() {
            return Ok(());
        }
        for name in names {
            match unlinkat(directory, &*name, AtFlags::empty()) {
                Ok(()) => continue,
                Err(Errno::ISDIR) => {}
                Err(error) => return Err(error),
            }
            loop {
                *moved += 1;
                match renameat_with(directory, &*name, top, format!("{moved}"), RenameFlags::NOREPLACE) {
                    Err(Errno::EXIST) => {}
                    // Overlayfs does not move directories of its lower layers.
                    // Those are no deeper than a layer's paths are long.
                    Err(Errno::XDEV) => break remove_tree(directory, name.to_bytes())?,
                    result => break result?,
                }
            }
        }
    }
}

fn read_names(directory: impl AsFd) -> Result<Vec<CString>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
        if names.len() == BATCH {
            break;
        }
    }
    Ok(names)
}

fn directory_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::mkdirat;
    use std::os::unix::fs::symlink;

    fn remove(path: &Path) {
        super::remove(path).unwrap();
        assert!(path.symlink_metadata().is_err());
    }

    #[test]
    fn trees_go_whole_and_links_stay_closed() {
        let scratch = tempfile::tempdir().unwrap();
        let keep = scratch.path().join("keep");
        std::fs::write(&keep, "x").unwrap();
        let tree = scratch.path().join("tree");
        for directory in ["a/b/c", "a/1/2", "1/1/1", "2"] {
            std::fs::create_dir_all(tree.join(directory)).unwrap();
            std::fs::write(tree.join(directory).join("file"), "x").unwrap();
        }
        symlink(scratch.path(), tree.join("a/b/up")).unwrap();
        remove(&tree);
        assert!(keep.exists());
        symlink(&keep, &tree).unwrap();
        remove(&tree);
        assert!(keep.exists());
        remove(&scratch.path().join("never-was"));
    }

    #[test]
    fn directories_that_cannot_be_moved_go_too() {
        if crate::fixture::not_root() {
            return;
        }
        let overlay = crate::fixture::Overlay::new();
        for directory in ["tree/a/b/c", "tree/a/b/d", "tree/e"] {
            std::fs::create_dir_all(overlay.lower().join(directory)).unwrap();
            std::fs::write(overlay.lower().join(directory).join("file"), "x").unwrap();
        }
        let root = overlay.mount();
        mkdirat(&root, "tree/a/b/new", Mode::from_raw_mode(0o755)).unwrap();
        remove_tree(&root, b"tree").unwrap();
        assert_eq!(std::fs::read_dir(crate::fixture::path_of(&root, "")).unwrap().count(), 0);
    }

    #[test]
    fn depth_and_width_do_not_matter() {
        let scratch = tempfile::tempdir().unwrap();
        let tree = scratch.path().join("tree");
        std::fs::create_dir(&tree).unwrap();
        let mut directory = openat(CWD, &tree, directory_flags(), Mode::empty()).unwrap();
        // Deeper than the usual limit of descriptors and than PATH_MAX.
        for _ in 0..3000 {
            mkdirat(&directory, "d", Mode::from_raw_mode(0o755)).unwrap();
            directory = openat(&directory, "d", directory_flags(), Mode::empty()).unwrap();
        }
        for i in 0..2 * BATCH {
            mkdirat(&directory, format!("{i}"), Mode::from_raw_mode(0o755)).unwrap();
        }
        remove(&tree);
    }
}
