//! Why work on a container's files was refused or failed, in Docker's words
//! where a user of Docker knows them.

use std::io;

use casemate_launch::{KernelError, LaunchError};
use casemate_model::{Classify, ErrorClass};
use casemate_tree::{PackError, UnpackError};
use rustix::io::Errno;

#[derive(Debug, thiserror::Error)]
pub(super) enum FilesError {
    #[error("Could not find the file {path} in container {container}")]
    NotFound { path: String, container: String },
    #[error("lstat {path}")]
    Look { path: String, source: KernelError },
    #[error("extraction point is not a directory")]
    NoDirectory,
    #[error("container rootfs is marked read-only")]
    ReadOnly,
    #[error("cannot read the archive")]
    Stream(#[source] io::Error),
    #[error(transparent)]
    Launch(#[from] LaunchError),
    #[error(transparent)]
    Pack(#[from] PackError),
    #[error(transparent)]
    Unpack(#[from] UnpackError),
}

impl FilesError {
    pub(super) fn look(path: &str, container: &str) -> impl Fn(Errno) -> Self {
        let (path, container) = (path.to_owned(), container.to_owned());
        move |errno| match errno {
            Errno::NOENT => Self::NotFound { path: path.clone(), container: container.clone() },
            errno => Self::Look { path: path.clone(), source: errno.into() },
        }
    }
}

impl Classify for FilesError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::NotFound { .. } => ErrorClass::NotFound,
            Self::NoDirectory | Self::ReadOnly => ErrorClass::InvalidArgument,
            Self::Look { .. } | Self::Stream(_) => ErrorClass::Internal,
            Self::Launch(source) => source.class(),
            Self::Pack(source) => source.class(),
            Self::Unpack(source) => source.class(),
        }
    }
}
