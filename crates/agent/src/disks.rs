//! The layer disk and the scratch disk, from devices to directories.
//!
//! All layers lie behind each other on one read-only disk: the only one is the
//! disk, of several the agent marks each as a partition, and mounts it. The
//! scratch disk holds the writable part of the container's root.

use std::ffi::CStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use casemate_model::{Classify, ErrorClass};
use casemate_wire::Extent;
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::sys;

/// All disks that a VM has (`slot` of `crates/vm`), in the order in which the
/// kernel may have found them. The one that cannot be written holds the layers.
/// Asking a disk for its serial number is a request of its own to the device.
const DISKS: [&str; 2] = ["/dev/vda", "/dev/vdb"];

const SCRATCH: &str = "/scratch";

/// The kernel need not look for inode tables to clear: they were made clear.
const KEPT: &CStr = c"noinit_itable,no_prefetch_block_bitmaps";
/// Nor need anything reach the host's disk, or be checked against what a crash
/// may have left: this VM is the first that has the disk, and the last.
const EPHEMERAL: &CStr = c"noinit_itable,no_prefetch_block_bitmaps,nobarrier,noblock_validity";

#[derive(Debug, thiserror::Error)]
pub(crate) enum DiskError {
    #[error("of {} one is to be read-only and one writable", DISKS.join(" and "))]
    Roles,
    #[error("cannot look at {path}")]
    Role { path: PathBuf, source: Errno },
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
    pub(crate) fn set_up(layers: &[Extent], ephemeral: bool) -> Result<Self, DiskError> {
        let (layer_disk, scratch) = by_role()?;
        let mut lowers = mount_layers(&layer_disk, layers)?;
        lowers.reverse();
        let options = if ephemeral { EPHEMERAL } else { KEPT };
        mount_disk(Path::new(scratch), Path::new(SCRATCH), "ext4", MountFlags::NODEV, options)?;
        Ok(Self { lowers, upper: Path::new(SCRATCH).join("upper"), work: Path::new(SCRATCH).join("work") })
    }

    /// Brings the scratch disk to a clean state.
    pub(crate) fn put_away(&self) -> Result<(), DiskError> {
        unmount(SCRATCH, UnmountFlags::empty()).map_err(|source| DiskError::Unmount { path: SCRATCH.into(), source })
    }
}

struct LayerDisk {
    path: &'static str,
    file: File,
}

/// The disk of the layers, and the scratch disk.
fn by_role() -> Result<(LayerDisk, &'static str), DiskError> {
    let (mut layers, mut scratch) = (None, None);
    for path in DISKS {
        let file = File::open(path).map_err(|source| DiskError::Open { path: path.into(), source })?;
        match sys::is_read_only(&file).map_err(|source| DiskError::Role { path: path.into(), source })? {
            true => layers = Some(LayerDisk { path, file }),
            false => scratch = Some(path),
        }
    }
    layers.zip(scratch).ok_or(DiskError::Roles)
}

fn mount_layers(disk: &LayerDisk, layers: &[Extent]) -> Result<Vec<PathBuf>, DiskError> {
    let flags = MountFlags::RDONLY | MountFlags::NODEV;
    let mount_layer = |number: u32, device: &str| {
        let path = PathBuf::from(format!("/layers/{number}"));
        mount_disk(Path::new(device), &path, "erofs", flags, c"").map(|()| path)
    };
    if layers.len() == 1 {
        return Ok(vec![mount_layer(1, disk.path)?]);
    }
    let mark_and_mount = |(number, extent): (u32, &Extent)| {
        sys::add_partition(&disk.file, number, *extent).map_err(|source| DiskError::Partition {
            number,
            extent: *extent,
            source,
        })?;
        mount_layer(number, &format!("{}{number}", disk.path))
    };
    (1..).zip(layers).map(mark_and_mount).collect()
}

fn mount_disk(device: &Path, path: &Path, kind: &str, flags: MountFlags, options: &CStr) -> Result<(), DiskError> {
    fs::create_dir_all(path).map_err(|source| DiskError::Dir { path: path.to_owned(), source })?;
    mount(device, path, kind, flags, options).map_err(|source| DiskError::Mount {
        device: device.to_owned(),
        path: path.to_owned(),
        source,
    })
}
