//! Why a control group could not be made, limited, read or removed.

use std::io;
use std::path::PathBuf;

use casemate_model::{Classify, ErrorClass};

use crate::error::KernelError;

#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    #[error("no control groups are mounted under /sys/fs/cgroup")]
    NotMounted,
    #[error("invalid control group path {path:?}")]
    InvalidPath { path: String },
    #[error("the control group {} exists already", path.display())]
    Exists { path: PathBuf },
    #[error("the kernel offers no {controller} controller to {}", path.display())]
    NoController { controller: &'static str, path: PathBuf },
    #[error("cannot {operation} {}", path.display())]
    Io { operation: &'static str, path: PathBuf, source: io::Error },
    #[error("cannot set {} to {value}", path.display())]
    Limit { path: PathBuf, value: String, source: io::Error },
    #[error("cannot restrict the devices of {}", path.display())]
    Devices { path: PathBuf, source: KernelError },
    #[error("{} still has processes {seconds} s after they were killed", path.display())]
    StillPopulated { path: PathBuf, seconds: u64 },
    #[error("{} does not stand still {seconds} s after it was frozen", path.display())]
    NotFrozen { path: PathBuf, seconds: u64 },
    #[error("{} does not have the form the kernel gives it", path.display())]
    Malformed { path: PathBuf },
}

impl Classify for CgroupError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::NotMounted | Self::NoController { .. } => ErrorClass::Unavailable,
            Self::InvalidPath { .. } => ErrorClass::InvalidArgument,
            Self::Exists { .. } => ErrorClass::Conflict,
            Self::Limit { source, .. } if source.raw_os_error() == Some(libc::EINVAL) => ErrorClass::InvalidArgument,
            Self::Limit { source, .. } if source.raw_os_error() == Some(libc::EBUSY) => ErrorClass::Conflict,
            Self::StillPopulated { .. } | Self::NotFrozen { .. } => ErrorClass::Timeout,
            Self::Io { .. } | Self::Limit { .. } | Self::Devices { .. } | Self::Malformed { .. } => {
                ErrorClass::Internal
            }
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NotMounted => Some("mount -t cgroup2 none /sys/fs/cgroup".to_owned()),
            _ => None,
        }
    }
}
