//! The layer disk and the scratch disk, from devices to directories.
//!
//! All layers lie behind each other on one read-only disk; the agent marks
//! each as a partition and mounts it. The scratch disk holds the writable
//! part of the container's root.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use casemate_model::{Classify, ErrorClass};
use casemate_wire::Extent;
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::sys;

/// Serial numbers that the VM's command line gives its disks.
const LAYER_DISK: &str = "layers";
const SCRATCH_DISK: &str = "scratch";

const SCRATCH: &str = "/scratch";

#[derive(Debug, thiserror::Error)]
pub(crate) enum DiskError {
    #[error("cannot look for disks")]
    List(#[source] io::Error),
    #[error("no disk with the serial number {serial:?}")]
    Missing { serial: &'static str },
    #[error("cannot open {path}")]
    Open { path: PathBuf, source: io::Error },
    #[error("cannot mark layer {number} at {} of {} bytes", extent.offset, extent.length)]
    Partition { number: u32, extent: Extent, source: Errno },
    #[error("cannot make {path}")]
    Dir { path: PathBuf, source: io::Error },
    #[error("cannot mount {device} on {path}")]
    Mount { device: PathBuf, path: PathBuf, source: Errno },
    #[error("cannot unmount {path}")]
    Unmount { path: PathBuf, source: Errno },
}

impl Classify for DiskError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Partition { .. } => ErrorClass::InvalidArgument,
            _ => ErrorClass::Internal,
        }
    }
}

/// The container's root, as the launcher wants it.
#[derive(Debug)]
pub(crate) struct Disks {
    /// Topmost first.
    pub(crate) lowers: Vec<PathBuf>,
    pub(crate) upper: PathBuf,
    pub(crate) work: PathBuf,
}

impl Disks {
    pub(crate) fn set_up(layers: &[Extent]) -> Result<Self, DiskError> {
        let disk = device(LAYER_DISK)?;
        let file = File::open(&disk).map_err(|source| DiskError::Open { path: disk.clone(), source })?;
        let mut lowers = Vec::with_capacity(layers.len());
        for (number, extent) in (1..).zip(layers) {
            sys::add_partition(&file, number, *extent).map_err(|source| DiskError::Partition {
                number,
                extent: *extent,
                source,
            })?;
            let mut device = disk.clone().into_os_string();
            device.push(number.to_string());
            let path = PathBuf::from(format!("/layers/{number}"));
            mount_disk(Path::new(&device), &path, "erofs", MountFlags::RDONLY | MountFlags::NODEV)?;
            lowers.push(path);
        }
        lowers.reverse();
        let scratch = device(SCRATCH_DISK)?;
        mount_disk(&scratch, Path::new(SCRATCH), "ext4", MountFlags::NODEV)?;
        Ok(Self { lowers, upper: Path::new(SCRATCH).join("upper"), work: Path::new(SCRATCH).join("work") })
    }

    /// Brings the scratch disk to a clean state.
    pub(crate) fn put_away(&self) -> Result<(), DiskError> {
        unmount(SCRATCH, UnmountFlags::empty()).map_err(|source| DiskError::Unmount { path: SCRATCH.into(), source })
    }
}

fn device(serial: &'static str) -> Result<PathBuf, DiskError> {
    for entry in fs::read_dir("/sys/block").map_err(DiskError::List)? {
        let entry = entry.map_err(DiskError::List)?;
        // Not every block device has one.
        let found = fs::read_to_string(entry.path().join("serial")).unwrap_or_default();
        if found.trim_end() == serial {
            return Ok(Path::new("/dev").join(entry.file_name()));
        }
    }
    Err(DiskError::Missing { serial })
}

fn mount_disk(device: &Path, path: &Path, kind: &str, flags: MountFlags) -> Result<(), DiskError> {
    fs::create_dir_all(path).map_err(|source| DiskError::Dir { path: path.to_owned(), source })?;
    mount(device, path, kind, flags, None).map_err(|source| DiskError::Mount {
        device: device.to_owned(),
        path: path.to_owned(),
        source,
    })
}
