//! Finding and making things beneath a directory, wherever its symbolic links
//! point: they never lead out of it, nor through `/proc`'s magic links.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, mkdirat, openat, openat2, readlinkat};
use rustix::io::Errno;

/// As many symbolic links as the kernel follows in one path.
const MOST_LINKS: usize = 40;
/// openat2 asks to be called again when a directory was renamed under it, which
/// a container can go on doing.
const ATTEMPTS: usize = 32;

/// What is to be at the end of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    Directory,
    /// Anything that is not a directory.
    File,
}

/// Opens what `path` names, as a process would see it whose root this is.
pub fn open_in(root: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let path: &[u8] = if path.is_empty() { b"." } else { path };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let mut result = Err(Errno::AGAIN);
    for _ in 0..ATTEMPTS {
        result = openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve);
        if !matches!(result, Err(Errno::AGAIN | Errno::INTR)) {
            break;
        }
    }
    result
}

/// Opens (for naming it only) what `path` names; makes it, and directories on
/// the way to it, where they are missing. New ones are root's, 0755 and 0644.
///
/// For a root in which nobody else is at work: nothing bad comes of it
/// otherwise, but it may fail.
pub fn open_or_make(root: BorrowedFd<'_>, path: &str, wanted: Wanted) -> Result<OwnedFd, Errno> {
    let found = match open_in(root, path.as_bytes(), OFlags::PATH) {
        Err(Errno::NOENT) => make(root, path, wanted)?,
        other => other?,
    };
    let is_directory = FileType::from_raw_mode(fstat(&found)?.st_mode) == FileType::Directory;
    match (wanted, is_directory) {
        (Wanted::Directory, false) => Err(Errno::NOTDIR),
        (Wanted::File, true) => Err(Errno::ISDIR),
        _ => Ok(found),
    }
}

fn make(root: BorrowedFd<'_>, path: &str, wanted: Wanted) -> Result<OwnedFd, Errno> {
    let names = resolve(root, path.as_bytes())?;
    for (index, name) in names.iter().enumerate() {
        let parent = open_in(root, &join(&names[..index]), OFlags::PATH | OFlags::DIRECTORY)?;
        let made = if index + 1 == names.len() && wanted == Wanted::File {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            openat(&parent, name, flags, Mode::from_raw_mode(0o644)).map(drop)
        } else {
            mkdirat(&parent, name, Mode::from_raw_mode(0o755))
        };
        match made {
            Err(Errno::EXIST) => {}
            other => other?,
        }
    }
    open_in(root, &join(&names), OFlags::PATH | OFlags::NOFOLLOW)
}

/// The names from the root down to what `path` leads to, with all symbolic
/// links followed as far as there is anything: from where nothing is on, the
/// names are taken as they are.
pub fn resolve(root: BorrowedFd<'_>, path: &[u8]) -> Result<Vec<OsString>, Errno> {
    // `done` has no symbolic links left in it, `left` may have.
    let mut done: Vec<OsString> = Vec::new();
    let mut left: VecDeque<OsString> = components(path);
    let mut links = 0;
    while let Some(name) = left.pop_front() {
        if name == ".." {
            done.pop();
            continue;
        }
        let parent = open_in(root, &join(&done), OFlags::PATH | OFlags::DIRECTORY);
        match parent.and_then(|parent| readlinkat(&parent, &name, Vec::new())) {
            Ok(target) => {
                links += 1;
                if links > MOST_LINKS {
                    return Err(Errno::LOOP);
                }
                if target.as_bytes().starts_with(b"/") {
                    done.clear();
                }
                for component in components(target.as_bytes()).into_iter().rev() {
                    left.push_front(component);
                }
            }
            // There and not a symbolic link, or not there.
            Err(Errno::INVAL | Errno::NOENT) => done.push(name),
            Err(errno) => return Err(errno),
        }
    }
    Ok(done)
}

fn components(path: &[u8]) -> VecDeque<OsString> {
    let named = path.split(|b| *b == b'/').filter(|c| !c.is_empty() && *c != b".");
    named.map(|c| OsString::from_vec(c.to_vec())).collect()
}

/// The names as a path, relative to the root.
pub fn join(names: &[OsString]) -> Vec<u8> {
    names.iter().map(|n| n.as_bytes()).collect::<Vec<_>>().join(&b'/')
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::fd::AsFd;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_lead_where_the_container_sees_them() {
        let dir = std::env::temp_dir().join(format!("casemate-beneath-{}", std::process::id()));
        let root_path = dir.join("root");
        fs::create_dir_all(&root_path).unwrap();
        symlink("/real/etc", root_path.join("etc")).unwrap();
        symlink("../../../../../../tmp/escape", root_path.join("up")).unwrap();
        symlink("loop", root_path.join("loop")).unwrap();
        symlink("/proc/self/cwd", root_path.join("magic")).unwrap();
        let root = rustix::fs::open(&root_path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        let make = |path, wanted| open_or_make(root.as_fd(), path, wanted);

        make("/etc/hosts", Wanted::File).unwrap();
        assert!(root_path.join("real/etc/hosts").is_file());
        make("/up/../x/y", Wanted::Directory).unwrap();
        assert!(root_path.join("tmp/x/y").is_dir());
        assert_eq!(make("/loop/a", Wanted::File).unwrap_err(), Errno::LOOP);
        assert_eq!(make("/real", Wanted::File).unwrap_err(), Errno::ISDIR);
        assert_eq!(make("/etc/hosts", Wanted::Directory).unwrap_err(), Errno::NOTDIR);
        assert_eq!(make("/etc/hosts/x", Wanted::File).unwrap_err(), Errno::NOTDIR);
        // An ordinary directory of that name is made in the root.
        make("/magic/x", Wanted::File).unwrap();
        assert!(root_path.join("proc/self/cwd/x").is_file());
        fs::remove_dir_all(&dir).unwrap();
    }
}
