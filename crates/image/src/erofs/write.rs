//! The bytes, each to its place.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

use super::format::{DataLayout, ENTRY_SIZE, HOLE, InodeFields, SUPER_OFFSET, SuperBlock};
use super::holes::{Chunks, copy};
use super::layout::{Layout, Place};
use super::tree::{Directory, Inode, Kind, Tree, join, open_directory, open_file};
use super::{BLOCK, WriteError};

pub(super) fn write(root: &OwnedFd, tree: &Tree, layout: &Layout, to: &File) -> Result<u64, WriteError> {
    let length = u64::from(layout.blocks) * BLOCK;
    // What is not written is zeros.
    to.set_len(length)?;
    let image = Image { tree, layout, to };
    let is_chunked = |place: &Place| place.layout == DataLayout::Chunked;
    let head = SuperBlock {
        root: layout.places[0].nid(),
        inodes: tree.inodes.len() as u64,
        blocks: layout.blocks,
        chunked: layout.places.iter().any(is_chunked),
    };
    to.write_all_at(&head.encode(), SUPER_OFFSET)?;
    for (index, inode) in tree.inodes.iter().enumerate() {
        match &inode.kind {
            Kind::Directory(directory) => {
                image.write_small(index, &image.directory(directory))?;
                image.write_files(root, directory)?;
            }
            Kind::Symlink { target } => image.write_small(index, target)?,
            Kind::Device(_) | Kind::Other => image.write_small(index, &[])?,
            // With the directory in which it was found.
            Kind::File { .. } => {}
        }
    }
    Ok(length)
}

struct Image<'a> {
    tree: &'a Tree,
    layout: &'a Layout,
    to: &'a File,
}

impl Image<'_> {
    /// An inode whose data is here: whole blocks to their place, the rest behind
    /// the inode.
    fn write_small(&self, index: usize, data: &[u8]) -> io::Result<()> {
        let place = &self.layout.places[index];
        let (in_blocks, tail) = data.split_at(place.in_blocks() as usize);
        if !in_blocks.is_empty() {
            self.to.write_all_at(in_blocks, u64::from(place.first_block) * BLOCK)?;
        }
        self.write_inode(index, tail)
    }

    /// The inode with its attributes and what follows them.
    fn write_inode(&self, index: usize, behind: &[u8]) -> io::Result<()> {
        let (inode, place) = (&self.tree.inodes[index], &self.layout.places[index]);
        let mut bytes = fields(index, inode, place).encode().to_vec();
        bytes.extend_from_slice(&inode.attributes);
        bytes.extend_from_slice(behind);
        self.to.write_all_at(&bytes, place.offset)
    }

    fn directory(&self, directory: &Directory) -> Vec<u8> {
        let mut bytes = Vec::new();
        for block in directory.in_blocks() {
            bytes.resize(bytes.len().next_multiple_of(BLOCK as usize), 0);
            let mut name_offset = block.len() * ENTRY_SIZE;
            for entry in block {
                let inode = &self.tree.inodes[entry.inode];
                bytes.extend(self.layout.places[entry.inode].nid().to_le_bytes());
                bytes.extend((name_offset as u16).to_le_bytes());
                bytes.extend([inode.kind.file_type(inode.mode), 0]);
                name_offset += entry.name.len();
            }
            block.iter().for_each(|entry| bytes.extend_from_slice(&entry.name));
        }
        bytes
    }

    /// The files that were found in this directory first.
    fn write_files(&self, root: &OwnedFd, directory: &Directory) -> Result<(), WriteError> {
        let mut opened = None;
        for entry in directory.entries.iter().filter(|entry| entry.is_first) {
            let Kind::File { size, chunks } = &self.tree.inodes[entry.inode].kind else { continue };
            if *size == 0 {
                self.write_inode(entry.inode, &[])?;
                continue;
            }
            let dir = match &opened {
                Some(dir) => dir,
                None => opened.insert(open_directory(root.as_fd(), &directory.path)?),
            };
            let failed = |e: io::Error| WriteError::read("copy", &join(&directory.path, &entry.name), e);
            let file = open_file(dir, &entry.name).map_err(|e| failed(e.into()))?;
            match chunks {
                Some(chunks) => self.write_chunks(entry.inode, &file, *size, chunks),
                None => self.write_whole(entry.inode, &file),
            }
            .map_err(failed)?;
        }
        Ok(())
    }

    fn write_whole(&self, index: usize, file: &File) -> io::Result<()> {
        let place = &self.layout.places[index];
        let in_blocks = place.in_blocks();
        copy(file, (0, in_blocks), self.to, u64::from(place.first_block) * BLOCK)?;
        let mut tail = vec![0; (place.size - in_blocks) as usize];
        file.read_exact_at(&mut tail, in_blocks)?;
        self.write_inode(index, &tail)
    }

    fn write_chunks(&self, index: usize, file: &File, size: u64, chunks: &Chunks) -> io::Result<()> {
        let mut next = self.layout.places[index].first_block;
        let mut map = Vec::with_capacity(4 * chunks.count() as usize);
        for stretch in chunks.stretches(size) {
            let block = match stretch {
                None => HOLE,
                Some((start, end)) => {
                    copy(file, (start, end), self.to, u64::from(next) * BLOCK)?;
                    let block = next;
                    // The layout has counted them all.
                    next += (end - start).div_ceil(BLOCK) as u32;
                    block
                }
            };
            map.extend(block.to_le_bytes());
        }
        self.write_inode(index, &map)
    }
}

fn fields(index: usize, inode: &Inode, place: &Place) -> InodeFields {
    InodeFields {
        layout: place.layout,
        attributes: inode.attributes.len(),
        mode: inode.mode,
        size: place.size,
        place: match &inode.kind {
            Kind::Device(number) => *number,
            Kind::File { chunks: Some(chunks), .. } => chunks.format(),
            _ => place.first_block,
        },
        // For programs of 32 bits only.
        number: index as u32 + 1,
        uid: inode.uid,
        gid: inode.gid,
        mtime: inode.mtime,
        links: inode.links,
    }
}
