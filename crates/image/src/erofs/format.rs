//! The form on disk. All numbers are little-endian.

use super::WriteError;

/// Inodes are numbered by where they lie, in slots of this size.
pub(super) const SLOT: u64 = 32;
pub(super) const SUPER_OFFSET: u64 = 1024;
pub(super) const SUPER_SIZE: u64 = 128;
pub(super) const INODE_SIZE: u64 = 64;
/// Of an entry in a directory's block, without its name.
pub(super) const ENTRY_SIZE: usize = 12;

const MAGIC: u32 = 0xe0f5_e1e2;
const BLOCK_BITS: u8 = 12;
/// The times of inodes are those of their last modification.
const COMPAT_MTIME: u32 = 0x2;
const INCOMPAT_CHUNKED_FILE: u32 = 0x4;
const EXTENDED: u16 = 1;

/// A chunk that is a hole.
pub(super) const HOLE: u32 = u32::MAX;

/// How an inode's data lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DataLayout {
    /// In blocks that follow each other.
    Plain = 0,
    /// The same, but for the last piece, which follows the inode.
    Inline = 2,
    /// In chunks, whose first blocks a map behind the inode tells.
    Chunked = 4,
}

pub(super) struct SuperBlock {
    pub(super) root: u64,
    pub(super) inodes: u64,
    pub(super) blocks: u32,
    pub(super) chunked: bool,
}

impl SuperBlock {
    pub(super) fn encode(&self) -> [u8; SUPER_SIZE as usize] {
        let mut bytes = [0; SUPER_SIZE as usize];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        // The layout puts the root first, within reach of its 16 bits.
        let root = u16::try_from(self.root).expect("the root is the first inode");
        put(0, &MAGIC.to_le_bytes());
        put(8, &COMPAT_MTIME.to_le_bytes());
        put(12, &[BLOCK_BITS]);
        put(14, &root.to_le_bytes());
        put(16, &self.inodes.to_le_bytes());
        put(36, &self.blocks.to_le_bytes());
        put(80, &(if self.chunked { INCOMPAT_CHUNKED_FILE } else { 0 }).to_le_bytes());
        bytes
    }
}

pub(super) struct InodeFields {
    pub(super) layout: DataLayout,
    /// In bytes, as [`attributes`] made them.
    pub(super) attributes: usize,
    pub(super) mode: u16,
    pub(super) size: u64,
    /// First block, device number, or the chunks' size, by the kind.
    pub(super) place: u32,
    pub(super) number: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: (i64, u32),
    pub(super) links: u32,
}

impl InodeFields {
    pub(super) fn encode(&self) -> [u8; INODE_SIZE as usize] {
        let mut bytes = [0; INODE_SIZE as usize];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(0, &(EXTENDED | (self.layout as u16) << 1).to_le_bytes());
        put(2, &attribute_count(self.attributes).to_le_bytes());
        put(4, &self.mode.to_le_bytes());
        put(8, &self.size.to_le_bytes());
        put(16, &self.place.to_le_bytes());
        put(20, &self.number.to_le_bytes());
        put(24, &self.uid.to_le_bytes());
        put(28, &self.gid.to_le_bytes());
        put(32, &self.mtime.0.to_le_bytes());
        put(40, &self.mtime.1.to_le_bytes());
        put(44, &self.links.to_le_bytes());
        bytes
    }
}

const ATTRIBUTES_HEADER: usize = 12;

/// Counted in words, with the header as one.
fn attribute_count(length: usize) -> u16 {
    match length {
        0 => 0,
        _ => u16::try_from((length - ATTRIBUTES_HEADER) / 4 + 1).expect("no more attributes than were let in"),
    }
}

/// The name prefixes that have a number. What has none says nothing in an image.
const PREFIXES: [(&[u8], u8); 5] = [
    (b"user.", 1),
    (b"system.posix_acl_access", 2),
    (b"system.posix_acl_default", 3),
    (b"trusted.", 4),
    (b"security.", 6),
];

/// An extended attribute's name and value.
pub(super) type Attribute = (Vec<u8>, Vec<u8>);

/// An inode's attributes as they follow it; nothing if there are none.
pub(super) fn attributes(path: &[u8], found: &[Attribute]) -> Result<Vec<u8>, WriteError> {
    let too_many = || WriteError::Attributes { path: String::from_utf8_lossy(path).into_owned() };
    let mut bytes = vec![0; ATTRIBUTES_HEADER];
    for (name, value) in found {
        let Some((prefix, index)) = PREFIXES.iter().find(|(prefix, _)| name.starts_with(prefix)) else {
            continue;
        };
        let rest = &name[prefix.len()..];
        bytes.push(u8::try_from(rest.len()).map_err(|_| too_many())?);
        bytes.push(*index);
        bytes.extend(u16::try_from(value.len()).map_err(|_| too_many())?.to_le_bytes());
        bytes.extend_from_slice(rest);
        bytes.extend_from_slice(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    match bytes.len() {
        ATTRIBUTES_HEADER => Ok(Vec::new()),
        length if (length - ATTRIBUTES_HEADER) / 4 < usize::from(u16::MAX) => Ok(bytes),
        _ => Err(too_many()),
    }
}

/// A device's number as inodes have it.
pub(super) fn device(major: u32, minor: u32) -> u32 {
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}
