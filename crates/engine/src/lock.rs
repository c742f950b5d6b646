//! Locks between processes: flock(2), which the kernel lets go of when the
//! holder dies.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use casemate_record::ContainerPaths;
use rustix::fs::{FlockOperation, flock};

/// Makes the directory and its parents, for root alone.
pub(crate) fn make_private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn open(path: &Path) -> io::Result<File> {
    fs::OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)
}

/// Waits for the lock; it is held until the file is dropped.
pub(crate) fn exclusive(path: &Path) -> io::Result<File> {
    let file = open(path)?;
    flock(&file, FlockOperation::LockExclusive)?;
    Ok(file)
}

/// The same for an existing directory.
pub(crate) fn exclusive_dir(path: &Path) -> io::Result<File> {
    let directory = File::open(path)?;
    flock(&directory, FlockOperation::LockExclusive)?;
    Ok(directory)
}

/// The lock of this file, made if missing, or `None` if someone else has it.
pub(crate) fn create(path: &Path) -> io::Result<Option<File>> {
    locked(open(path)?)
}

/// What a container's keeper is to hold as long as it lives, or `None` if one
/// does. While names and numbers are given out.
pub(crate) fn of_keeper(paths: &ContainerPaths) -> io::Result<Option<File>> {
    make_private_dir(&paths.run)?;
    create(&paths.keeper_lock())
}

/// The lock of this existing file or directory, or `None` if someone else has it.
pub(crate) fn try_exclusive(path: &Path) -> io::Result<Option<File>> {
    locked(File::open(path)?)
}

fn locked(file: File) -> io::Result<Option<File>> {
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Waits until nobody holds the lock of this file, or it is gone.
pub(crate) fn wait(path: &Path) -> io::Result<()> {
    match File::open(path) {
        Ok(file) => Ok(flock(&file, FlockOperation::LockShared)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Whether someone holds the lock of this existing file.
pub(crate) fn is_held(path: &Path) -> bool {
    match File::open(path) {
        Ok(file) => flock(&file, FlockOperation::NonBlockingLockShared) == Err(rustix::io::Errno::WOULDBLOCK),
        Err(_) => false,
    }
}
