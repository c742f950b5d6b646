//! A file with the daemon's process id, locked as long as it lives: a number
//! alone may be another's by now.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

#[derive(Debug, thiserror::Error)]
pub(crate) enum PidFileError {
    /// Empty for a moment, while its holder writes.
    #[error("process with PID {pid} is still running")]
    Held { pid: String },
    #[error("cannot write {path}")]
    Write { path: PathBuf, source: io::Error },
}

/// What becomes of the file when the daemon ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Afterwards {
    Stays,
    Goes,
}

#[derive(Debug)]
pub(super) struct PidFile {
    path: PathBuf,
    afterwards: Afterwards,
    _locked: File,
}

impl PidFile {
    pub(super) fn take(path: &Path, afterwards: Afterwards) -> Result<Self, PidFileError> {
        let failed = |source| PidFileError::Write { path: path.to_owned(), source };
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(failed)?;
        }
        let mut file = loop {
            let options =
                || fs::OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(0o644).open(path);
            let mut file = options().map_err(failed)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                // Its holder has removed it between the two steps above.
                Ok(()) if file.metadata().map_err(failed)?.nlink() == 0 => {}
                Ok(()) => break file,
                Err(Errno::WOULDBLOCK) => {
                    let mut pid = String::new();
                    file.read_to_string(&mut pid).map_err(failed)?;
                    return Err(PidFileError::Held { pid: pid.trim().to_owned() });
                }
                Err(error) => return Err(failed(error.into())),
            }
        };
        let write = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            file.write_all(std::process::id().to_string().as_bytes())
        };
        write(&mut file).map_err(failed)?;
        Ok(Self { path: path.to_owned(), afterwards, _locked: file })
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if self.afterwards == Afterwards::Goes
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "pid file left behind");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_and_the_other_is_told_who() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/pid");
        let own = std::process::id().to_string();
        let held = PidFile::take(&path, Afterwards::Goes).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), own);
        let error = PidFile::take(&path, Afterwards::Goes).unwrap_err();
        assert_eq!(error.to_string(), format!("process with PID {own} is still running"));
        drop(held);
        assert!(!path.exists());
    }

    #[test]
    fn what_a_killed_daemon_left_is_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        // As long as a number can be, and of a process that lives.
        fs::write(&path, "1         ").unwrap();
        drop(PidFile::take(&path, Afterwards::Stays).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), std::process::id().to_string());
    }
}
