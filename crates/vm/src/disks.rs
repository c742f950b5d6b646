//! The guest's disks: all layers of an image as one read-only disk, and a
//! scratch disk for what the container writes.
//!
//! The layer disk is the layers' images one after the other. One layer is the
//! disk as it is; several QEMU reads through a VMDK descriptor of the kind
//! `monolithicFlat`, which names one file for each stretch of the disk. So an
//! image takes one of the few device slots however many layers it has, and the
//! files are shared by all containers without a copy. The guest is told where
//! each layer begins. The price of several layers: QEMU's VMDK driver serves
//! one request at a time.

use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use casemate_model::{Classify, ErrorClass};
use rustix::fs::OFlags;

/// Where a layer lies on the layer disk, in bytes; both are multiples of
/// [`Extent::ALIGNMENT`], and the length is not zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    pub offset: u64,
    pub length: u64,
}

impl Extent {
    /// EROFS's block, and the guest's page.
    pub const ALIGNMENT: u64 = 4096;
}

/// Open images, checked to be what the guest will be given.
#[derive(Debug)]
pub struct Disks {
    layers: Vec<File>,
    extents: Vec<Extent>,
    scratch: File,
    scratch_size: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    #[error("an image of {0} layers: expected 1 to {max}", max = Disks::MAX_LAYERS)]
    LayerCount(usize),
    #[error("cannot look at {0}")]
    Stat(DiskName, #[source] io::Error),
    #[error("{0} is not a regular file")]
    NotAFile(DiskName),
    #[error("{0} is not opened for {1}")]
    AccessMode(DiskName, &'static str),
    #[error("{disk} has a length of {length} bytes: expected a multiple of {alignment} above 0", alignment = Extent::ALIGNMENT)]
    Length { disk: DiskName, length: u64 },
    #[error("the layers are longer than a disk can be")]
    TooLong,
}

impl Classify for DiskError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::LayerCount(_) | Self::TooLong => ErrorClass::InvalidArgument,
            Self::Stat(..) | Self::NotAFile(_) | Self::AccessMode(..) | Self::Length { .. } => ErrorClass::Internal,
        }
    }
}

/// Which of the disks' files an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskName {
    /// By its place, the lowest being 0.
    Layer(usize),
    Scratch,
}

impl std::fmt::Display for DiskName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Layer(index) => write!(f, "layer {index}"),
            Self::Scratch => f.write_str("the scratch disk"),
        }
    }
}

impl Disks {
    /// What Docker allows an image (overlayfs takes more).
    pub const MAX_LAYERS: usize = 127;

    /// Takes the layers' images, lowest first and opened for reading only, and
    /// a scratch disk opened for reading and writing.
    ///
    /// # Errors
    /// If there are none or more than [`Disks::MAX_LAYERS`], or one is not a
    /// regular file, not opened so, or not of a length in whole blocks.
    pub fn new(layers: Vec<File>, scratch: File) -> Result<Self, DiskError> {
        if layers.is_empty() || layers.len() > Self::MAX_LAYERS {
            return Err(DiskError::LayerCount(layers.len()));
        }
        let mut extents = Vec::with_capacity(layers.len());
        let mut offset = 0u64;
        for (index, layer) in layers.iter().enumerate() {
            let length = checked_length(layer, DiskName::Layer(index), OFlags::RDONLY, "reading only")?;
            extents.push(Extent { offset, length });
            offset = offset.checked_add(length).filter(|end| *end <= i64::MAX as u64).ok_or(DiskError::TooLong)?;
        }
        let scratch_size = checked_length(&scratch, DiskName::Scratch, OFlags::RDWR, "reading and writing")?;
        Ok(Self { layers, extents, scratch, scratch_size })
    }

    /// One for each layer, in the layers' order.
    pub fn extents(&self) -> &[Extent] {
        &self.extents
    }

    pub(crate) fn has_one_layer(&self) -> bool {
        self.layers.len() == 1
    }

    pub(crate) fn scratch_size(&self) -> u64 {
        self.scratch_size
    }

    /// The layers' files and the scratch disk's.
    pub(crate) fn into_files(self) -> (Vec<File>, File) {
        (self.layers, self.scratch)
    }
}

fn checked_length(file: &File, disk: DiskName, mode: OFlags, mode_name: &'static str) -> Result<u64, DiskError> {
    let metadata = file.metadata().map_err(|source| DiskError::Stat(disk, source))?;
    if !metadata.is_file() {
        return Err(DiskError::NotAFile(disk));
    }
    let flags = rustix::fs::fcntl_getfl(file.as_fd()).map_err(|errno| DiskError::Stat(disk, errno.into()))?;
    // QEMU looks for a descriptor with exactly the mode it opens the disk with.
    if flags & OFlags::RWMODE != mode {
        return Err(DiskError::AccessMode(disk, mode_name));
    }
    let length = metadata.len();
    if length == 0 || !length.is_multiple_of(Extent::ALIGNMENT) {
        return Err(DiskError::Length { disk, length });
    }
    Ok(length)
}

const SECTOR: u64 = 512;

/// The descriptor of a disk made of these stretches, each of which is a file
/// that QEMU knows as `/dev/fdset/N`.
///
/// The format is VMware's "Virtual Disk Format 1.1". The stretches are marked
/// `RW`, because QEMU leaves out those marked `RDONLY`; the disk is opened
/// read-only and so are the files. There is no empty line: QEMU counts the
/// stretch after one twice.
pub(crate) fn vmdk_descriptor(extents: &[Extent], fdset: impl Fn(usize) -> i32) -> String {
    let mut text = String::from(
        "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\n",
    );
    for (index, extent) in extents.iter().enumerate() {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "RW {} FLAT \"/dev/fdset/{}\" 0", extent.length / SECTOR, fdset(index));
    }
    text.push_str("ddb.virtualHWVersion = \"4\"\nddb.adapterType = \"ide\"\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(length: u64) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(length).unwrap();
        file
    }

    fn read_only(length: u64) -> File {
        let named = tempfile::NamedTempFile::new().unwrap();
        named.as_file().set_len(length).unwrap();
        File::open(named.path()).unwrap()
    }

    #[test]
    fn the_descriptor_names_each_layer_once() {
        let extents = [Extent { offset: 0, length: 8192 }, Extent { offset: 8192, length: 4096 }];
        assert_eq!(
            vmdk_descriptor(&extents, |index| 7 + index as i32),
            "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\n\
             RW 16 FLAT \"/dev/fdset/7\" 0\nRW 8 FLAT \"/dev/fdset/8\" 0\n\
             ddb.virtualHWVersion = \"4\"\nddb.adapterType = \"ide\"\n"
        );
    }

    #[test]
    fn what_is_not_a_disk_is_refused() {
        use DiskError::*;
        let layer = || read_only(4096);
        assert!(matches!(Disks::new(vec![], file(4096)), Err(LayerCount(0))));
        assert!(matches!(Disks::new((0..128).map(|_| layer()).collect(), file(4096)), Err(LayerCount(128))));
        assert!(matches!(
            Disks::new(vec![layer(), read_only(4097)], file(4096)),
            Err(Length { disk: DiskName::Layer(1), length: 4097 })
        ));
        assert!(matches!(Disks::new(vec![read_only(0)], file(4096)), Err(Length { length: 0, .. })));
        assert!(matches!(Disks::new(vec![layer()], file(0)), Err(Length { disk: DiskName::Scratch, .. })));
        assert!(matches!(Disks::new(vec![file(4096)], file(4096)), Err(AccessMode(DiskName::Layer(0), _))));
        assert!(matches!(Disks::new(vec![layer()], layer()), Err(AccessMode(DiskName::Scratch, _))));
        let device = File::open("/dev/null").unwrap();
        assert!(matches!(Disks::new(vec![device], file(4096)), Err(NotAFile(DiskName::Layer(0)))));
        assert!(Disks::new((0..127).map(|_| layer()).collect(), file(4096)).is_ok());
    }

    proptest! {
        #[test]
        fn extents_touch_and_do_not_overlap(blocks in prop::collection::vec(1u64..100_000, 1..20)) {
            let layers = blocks.iter().map(|n| read_only(n * 4096)).collect();
            let disks = Disks::new(layers, file(4096)).unwrap();
            let mut end = 0;
            for (extent, blocks) in disks.extents().iter().zip(&blocks) {
                prop_assert_eq!(extent.offset, end);
                prop_assert_eq!(extent.length, blocks * 4096);
                end += extent.length;
            }
        }
    }
}
