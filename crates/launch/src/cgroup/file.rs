//! Reading and writing the kernel's control files.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use super::CgroupError;

pub(crate) fn write_value(path: &Path, value: &str) -> Result<(), CgroupError> {
    try_write(path, value).map_err(|source| CgroupError::Limit {
        path: path.to_owned(),
        value: value.to_owned(),
        source,
    })
}

/// The same for a value that was asked for: a file that is missing is a
/// controller that is missing.
pub(crate) fn write_limit(path: &Path, value: &str, controller: &'static str) -> Result<(), CgroupError> {
    match try_write(path, value) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let path = path.parent().unwrap_or(path).to_owned();
            Err(CgroupError::NoController { controller, path })
        }
        Err(source) => Err(CgroupError::Limit { path: path.to_owned(), value: value.to_owned(), source }),
    }
}

/// The same where the kernel may be built without it.
pub(crate) fn write_if_there(path: &Path, value: &str) -> Result<(), CgroupError> {
    match try_write(path, value) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(CgroupError::Limit { path: path.to_owned(), value: value.to_owned(), source: error })
        }
        _ => Ok(()),
    }
}

pub(crate) fn try_write(path: &Path, value: &str) -> io::Result<()> {
    // Never O_CREAT: a control file is there or it is not.
    OpenOptions::new().write(true).open(path)?.write_all(value.as_bytes())
}

pub(crate) fn read(path: &Path) -> Result<String, CgroupError> {
    fs::read_to_string(path).map_err(|source| CgroupError::Io { operation: "read", path: path.to_owned(), source })
}

pub(crate) fn read_number(path: &Path) -> Result<u64, CgroupError> {
    read(path)?.trim().parse().map_err(|_| CgroupError::Malformed { path: path.to_owned() })
}

/// The number behind `key` in a file of `key number` lines.
pub(crate) fn read_keyed(path: &Path, key: &str) -> Result<Option<u64>, CgroupError> {
    Ok(keyed(&read(path)?, key))
}

/// The same for one line of a file that was read.
pub(crate) fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

/// The text of a file, or none where its controller is missing.
pub(crate) fn read_if_there(path: &Path) -> Result<Option<String>, CgroupError> {
    match read(path) {
        Ok(text) => Ok(Some(text)),
        Err(CgroupError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A number, where the file is there and does not say `max`.
pub(crate) fn number_if_there(path: &Path) -> Result<Option<u64>, CgroupError> {
    match read_if_there(path)?.as_deref().map(str::trim) {
        None | Some("max") => Ok(None),
        Some(digits) => digits.parse().map(Some).map_err(|_| CgroupError::Malformed { path: path.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::keyed;

    #[test]
    fn keys_are_whole_words() {
        let text = "oom 3\noom_kill 1\noom_group_kill x\n";
        assert_eq!(keyed(text, "oom_kill"), Some(1));
        assert_eq!(keyed(text, "oom"), Some(3));
        assert_eq!(keyed(text, "oom_group_kill"), None);
        assert_eq!(keyed(text, "kill"), None);
    }
}
