//! Where each inode and its data lie in the image.

use super::format::{DataLayout, ENTRY_SIZE, INODE_SIZE, SLOT, SUPER_OFFSET, SUPER_SIZE};
use super::tree::{Directory, Inode, Kind, Tree};
use super::{BLOCK, WriteError};

#[derive(Debug)]
pub(super) struct Layout {
    /// One for each inode.
    pub(super) places: Vec<Place>,
    /// Of the whole image.
    pub(super) blocks: u32,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// In bytes; a multiple of [`SLOT`].
    pub(super) offset: u64,
    pub(super) layout: DataLayout,
    /// Length of its data.
    pub(super) size: u64,
    /// The first of its blocks; 0 if it has none.
    pub(super) first_block: u32,
}

impl Place {
    pub(super) fn nid(&self) -> u64 {
        self.offset / SLOT
    }

    /// What of the data lies in blocks of its own.
    pub(super) fn in_blocks(&self) -> u64 {
        match self.layout {
            DataLayout::Inline => self.size - self.size % BLOCK,
            DataLayout::Plain | DataLayout::Chunked => self.size,
        }
    }
}

impl Layout {
    pub(super) fn of(tree: &Tree) -> Result<Self, WriteError> {
        let mut end = SUPER_OFFSET + SUPER_SIZE;
        let mut places = Vec::with_capacity(tree.inodes.len());
        for inode in &tree.inodes {
            let (place, after) = place(inode, end);
            places.push(place);
            end = after;
        }
        let mut blocks = end.div_ceil(BLOCK);
        for (place, inode) in places.iter_mut().zip(&tree.inodes) {
            let own = blocks_of(place, inode);
            if own > 0 {
                place.first_block = u32::try_from(blocks).map_err(|_| WriteError::TooLarge)?;
                blocks = blocks.checked_add(own).ok_or(WriteError::TooLarge)?;
            }
        }
        // The last number means a hole.
        match u32::try_from(blocks) {
            Ok(blocks) if blocks < u32::MAX => Ok(Self { places, blocks }),
            _ => Err(WriteError::TooLarge),
        }
    }
}

/// The inode's place at or after this offset, and where it ends.
fn place(inode: &Inode, from: u64) -> (Place, u64) {
    let head = INODE_SIZE + inode.attributes.len() as u64;
    let at_slot = from.next_multiple_of(SLOT);
    let (size, map) = match &inode.kind {
        Kind::Directory(directory) => (directory.size(), 0),
        Kind::File { size, chunks: Some(chunks) } => (*size, 4 * chunks.count()),
        Kind::File { size, chunks: None } => (*size, 0),
        Kind::Symlink { target } => (target.len() as u64, 0),
        Kind::Device(_) | Kind::Other => (0, 0),
    };
    let place = |offset, layout| Place { offset, layout, size, first_block: 0 };
    if map > 0 {
        return (place(at_slot, DataLayout::Chunked), at_slot + head + map);
    }
    // The last piece follows its inode where both fit in a block, in this one or
    // in the next: the piece must not be cut by a block's end.
    let tail = size % BLOCK;
    let fits = |offset: &u64| (offset + head) % BLOCK + tail <= BLOCK;
    match [at_slot, at_slot.next_multiple_of(BLOCK)].into_iter().find(fits) {
        Some(offset) if tail > 0 => (place(offset, DataLayout::Inline), offset + head + tail),
        _ => (place(at_slot, DataLayout::Plain), at_slot + head),
    }
}

fn blocks_of(place: &Place, inode: &Inode) -> u64 {
    match &inode.kind {
        Kind::File { size, chunks: Some(chunks) } => {
            chunks.stretches(*size).flatten().map(|(start, end)| (end - start).div_ceil(BLOCK)).sum()
        }
        _ => place.in_blocks().div_ceil(BLOCK),
    }
}

impl Directory {
    /// The entries of each of its blocks.
    pub(super) fn in_blocks(&self) -> impl Iterator<Item = &[super::tree::Entry]> {
        let mut left = self.entries.as_slice();
        std::iter::from_fn(move || {
            let mut used = 0;
            let fits = left.iter().take_while(|entry| {
                used += ENTRY_SIZE + entry.name.len();
                used <= BLOCK as usize
            });
            let (block, rest) = left.split_at(fits.count());
            left = rest;
            (!block.is_empty()).then_some(block)
        })
    }

    /// All blocks but the last are whole.
    fn size(&self) -> u64 {
        let length = |block: &[super::tree::Entry]| -> u64 {
            block.iter().map(|entry| (ENTRY_SIZE + entry.name.len()) as u64).sum()
        };
        let blocks: Vec<u64> = self.in_blocks().map(length).collect();
        (blocks.len() as u64 - 1) * BLOCK + blocks.last().copied().unwrap_or(0)
    }
}
