//! The files of a log: `NAME`, `NAME.1`, `NAME.2` …, newest first.
//!
//! When the newest is full its writer renames them one after another, and who
//! opened them by name meanwhile would leave one out or have one twice. So there
//! is a lock beside them, `NAME.lock`: the writer has it while it renames, a
//! reader while it opens, and neither waits for anything else of the other's. An
//! open file stays the same, whatever its name has become.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::retry_on_intr;

/// All of them, oldest first; none if nothing was logged.
pub fn open_all(path: &Path) -> io::Result<Vec<File>> {
    open_down_to(path, None)
}

/// Those that came after this one, oldest first: all of them if this one is kept
/// no longer.
pub fn newer_than(path: &Path, file: &File) -> io::Result<Vec<File>> {
    // Mostly there is none, which needs no lock.
    if fs::metadata(path).is_ok_and(|newest| file.metadata().is_ok_and(|file| is_same(&newest, &file))) {
        return Ok(Vec::new());
    }
    open_down_to(path, Some(file))
}

fn open_down_to(path: &Path, last: Option<&File>) -> io::Result<Vec<File>> {
    let last = last.map(File::metadata).transpose()?;
    let _lock = lock_shared(path)?;
    let mut files = Vec::new();
    for name in names(path)? {
        let file = match File::open(&name) {
            Ok(file) => file,
            // Its container is being removed.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if let Some(last) = &last
            && is_same(last, &file.metadata()?)
        {
            break;
        }
        files.push(file);
    }
    files.reverse();
    Ok(files)
}

fn is_same(one: &fs::Metadata, other: &fs::Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// The names that exist, newest first. A writer that was killed may have left a
/// number out.
pub(super) fn names(path: &Path) -> io::Result<Vec<PathBuf>> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(ErrorKind::InvalidInput.into());
    };
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut numbers = Vec::new();
    for entry in entries {
        let entry = entry?.file_name();
        numbers.extend(entry.as_bytes().strip_prefix(name.as_bytes()).and_then(number));
    }
    numbers.sort_unstable();
    Ok(numbers.into_iter().map(|n| numbered(path, n)).collect())
}

/// What follows the log's name says how old a file is.
fn number(suffix: &[u8]) -> Option<usize> {
    match std::str::from_utf8(suffix).ok()?.split_once('.') {
        None if suffix.is_empty() => Some(0),
        Some(("", digits)) => digits.parse().ok().filter(|n: &usize| *n > 0 && n.to_string() == digits),
        _ => None,
    }
}

fn numbered(path: &Path, n: usize) -> PathBuf {
    match n {
        0 => path.to_owned(),
        _ => with_suffix(path, &n.to_string()),
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{suffix}"));
    name.into()
}

fn lock_path(path: &Path) -> PathBuf {
    with_suffix(path, "lock")
}

/// What [`rotate`] locks; made if missing.
pub(super) fn open_lock(path: &Path) -> io::Result<File> {
    append(&lock_path(path))
}

/// Held until it is dropped. Without it there has been no writer.
fn lock_shared(path: &Path) -> io::Result<Option<File>> {
    let lock = match File::open(lock_path(path)) {
        Ok(lock) => lock,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    retry_on_intr(|| flock(&lock, FlockOperation::LockShared))?;
    Ok(Some(lock))
}

pub(super) fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

/// The newest becomes the first of those before it; the last make room, so that
/// there are this many with the new one, which is returned.
pub(super) fn rotate(path: &Path, lock: &File, kept: usize) -> io::Result<File> {
    retry_on_intr(|| flock(lock, FlockOperation::LockExclusive))?;
    let rotated = shift(path, kept).and_then(|()| append(path));
    // Not left to the end of the descriptor: a child may just have a copy of it.
    retry_on_intr(|| flock(lock, FlockOperation::Unlock))?;
    rotated
}

fn shift(path: &Path, kept: usize) -> io::Result<()> {
    let mut names = names(path)?;
    while names.len() >= kept.max(1) {
        names.pop().map_or(Ok(()), fs::remove_file)?;
    }
    for (n, name) in names.into_iter().enumerate().rev() {
        fs::rename(name, numbered(path, n + 1))?;
    }
    Ok(())
}
