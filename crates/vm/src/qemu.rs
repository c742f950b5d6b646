//! Where QEMU is on this host.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use casemate_model::{Classify, ErrorClass};

/// The system emulator for this host's architecture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Qemu {
    /// Without links, so that what is mounted is what is executed.
    path: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum QemuError {
    #[error("{PROGRAM} is not installed")]
    Missing,
    #[error("cannot use {path}")]
    Unusable { path: PathBuf, source: io::Error },
    #[error("cannot run {path}")]
    Run { path: PathBuf, source: io::Error },
    #[error("{path} --version printed {output:?}")]
    Version { path: PathBuf, output: String },
}

impl Classify for QemuError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Missing | Self::Unusable { .. } => ErrorClass::Unavailable,
            Self::Run { .. } | Self::Version { .. } => ErrorClass::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Missing => Some(format!("apt-get install {PACKAGE}")),
            Self::Unusable { .. } | Self::Run { .. } | Self::Version { .. } => None,
        }
    }
}

#[cfg(target_arch = "x86_64")]
const PROGRAM: &str = "qemu-system-x86_64";
#[cfg(target_arch = "x86_64")]
const PACKAGE: &str = "qemu-system-x86";
#[cfg(target_arch = "aarch64")]
const PROGRAM: &str = "qemu-system-aarch64";
#[cfg(target_arch = "aarch64")]
const PACKAGE: &str = "qemu-system-arm";

/// Where distributions and `make install` put it.
const DIRECTORIES: [&str; 3] = ["/usr/bin", "/usr/local/bin", "/bin"];

impl Qemu {
    /// Looks in the usual places; does not run it.
    pub fn find() -> Result<Self, QemuError> {
        let candidates = DIRECTORIES.iter().map(|directory| Path::new(directory).join(PROGRAM));
        match candidates.into_iter().find(|path| path.exists()) {
            Some(path) => Self::at(path),
            None => Err(QemuError::Missing),
        }
    }

    /// The one at `path`, which may be a link.
    pub fn at(path: impl Into<PathBuf>) -> Result<Self, QemuError> {
        let path = path.into();
        match path.canonicalize() {
            Ok(path) => Ok(Self { path }),
            Err(source) => Err(QemuError::Unusable { path, source }),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs it to ask for its version: `7.2.22`. Takes 15 ms or more, most of
    /// it loading libraries; starting a VM does not need it.
    pub fn version(&self) -> Result<String, QemuError> {
        let output = Command::new(&self.path)
            .arg("--version")
            .env_clear()
            .stdin(Stdio::null())
            .output()
            .map_err(|source| QemuError::Run { path: self.path.clone(), source })?;
        let text = String::from_utf8_lossy(&output.stdout);
        match parse_version(&text) {
            Some(version) => Ok(version.to_owned()),
            None => {
                Err(QemuError::Version { path: self.path.clone(), output: text.lines().next().unwrap_or("").into() })
            }
        }
    }
}

fn parse_version(text: &str) -> Option<&str> {
    let (_, rest) = text.lines().next()?.split_once(" version ")?;
    let version = rest.split_whitespace().next()?;
    version.starts_with(|c: char| c.is_ascii_digit()).then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_as_distributions_print_them() {
        let debian = "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)\nCopyright (c) …\n";
        assert_eq!(parse_version(debian), Some("7.2.22"));
        assert_eq!(parse_version("QEMU emulator version 10.0.2\n"), Some("10.0.2"));
        for other in ["", "qemu: not found", "QEMU emulator version \n", "a version x"] {
            assert_eq!(parse_version(other), None, "{other}");
        }
    }

    #[test]
    fn a_missing_one_is_told_with_its_path() {
        let error = Qemu::at("/nonexistent/qemu").unwrap_err();
        assert_eq!(error.to_string(), "cannot use /nonexistent/qemu");
        assert_eq!(error.class(), ErrorClass::Unavailable);
        assert_eq!(QemuError::Missing.hint(), Some("apt-get install qemu-system-x86".to_owned()));
    }
}
