//! How much there is in a tree.

use std::collections::HashSet;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::FileType;

use crate::node::kind_of;
use crate::walk::{Walk, WalkError};

/// Bytes of what is not a directory below this one, a file with several names
/// counted once (as in moby `directory.Size`).
pub fn size(directory: &Path) -> io::Result<u64> {
    let top = std::fs::File::open(directory)?;
    let mut walk = Walk::new(top.as_fd()).map_err(unread)?;
    let (mut size, mut linked) = (0_u64, HashSet::new());
    while let Some(found) = walk.next().map_err(unread)? {
        let stat = found.stat;
        if kind_of(&stat) == FileType::Directory || (stat.st_nlink > 1 && !linked.insert(stat.st_ino)) {
            continue;
        }
        size = size.saturating_add(u64::try_from(stat.st_size).unwrap_or(0));
    }
    Ok(size)
}

fn unread(error: WalkError) -> io::Error {
    match error {
        WalkError::Read { source, .. } => source.into(),
        WalkError::Names { limit, .. } => io::Error::other(format!("names of more than {limit} bytes")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn files_count_once_and_directories_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        fs::create_dir_all(at("a/b")).unwrap();
        fs::write(at("a/b/five"), "12345").unwrap();
        fs::hard_link(at("a/b/five"), at("again")).unwrap();
        fs::write(at("two"), "12").unwrap();
        std::os::unix::fs::symlink("two", at("link")).unwrap();
        assert_eq!(size(dir.path()).unwrap(), 5 + 2 + 3);
        assert!(size(&at("none")).is_err());
    }
}
