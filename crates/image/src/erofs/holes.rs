//! Holes of large files, kept as chunks that are not there.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

/// Of smaller files holes are not worth a map.
pub(super) const LARGE: u64 = 1 << 20;
/// Chunks of one file, whatever its size: what its map may cost.
const MOST_CHUNKS: u64 = 1 << 16;
/// 64 KiB: the least size of a chunk.
const LEAST_BITS: u32 = 16;

/// The format has five bits for the number of blocks, in powers of two.
const MOST_BITS: u32 = super::BLOCK.ilog2() + 31;

/// Which chunks of a file hold anything but zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chunks {
    bits: u32,
    filled: Box<[bool]>,
}

impl Chunks {
    /// None if every chunk is filled. Zeros that were written count as holes, so
    /// that the result does not depend on the file system.
    pub(super) fn of(file: &File, size: u64) -> io::Result<Option<Self>> {
        let mut bits = LEAST_BITS;
        while size >> bits > MOST_CHUNKS {
            bits += 1;
        }
        if bits > MOST_BITS {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let length = 1 << bits;
        let count = usize::try_from(size.div_ceil(length)).map_err(io::Error::other)?;
        let mut filled = vec![false; count].into_boxed_slice();
        let mut offset = 0;
        while offset < size {
            let data = match seek(file, SeekFrom::Data(offset)) {
                Ok(data) if data < size => data,
                // Nothing but a hole up to the end.
                Ok(_) | Err(Errno::NXIO) => break,
                Err(error) => return Err(error.into()),
            };
            let chunk = data >> bits;
            let end = ((chunk + 1) << bits).min(size);
            filled[chunk as usize] = !is_zero(file, data, end)?;
            offset = end;
        }
        Ok(filled.contains(&false).then_some(Self { bits, filled }))
    }

    /// The size of a chunk, as an inode has it: in powers of two of blocks.
    pub(super) fn format(&self) -> u32 {
        self.bits - super::BLOCK.ilog2()
    }

    pub(super) fn count(&self) -> u64 {
        self.filled.len() as u64
    }

    /// Where each chunk begins and ends in a file of this size; none for a hole.
    pub(super) fn stretches(&self, size: u64) -> impl Iterator<Item = Option<(u64, u64)>> {
        (0..).zip(&self.filled).map(move |(chunk, filled): (u64, _)| {
            filled.then(|| (chunk << self.bits, ((chunk + 1) << self.bits).min(size)))
        })
    }
}

const BUFFER: usize = 64 << 10;

fn is_zero(file: &File, mut from: u64, to: u64) -> io::Result<bool> {
    let mut buffer = [0; BUFFER];
    while from < to {
        let piece = &mut buffer[..usize::try_from(to - from).unwrap_or(BUFFER).min(BUFFER)];
        file.read_exact_at(piece, from)?;
        if piece.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        from += piece.len() as u64;
    }
    Ok(true)
}

/// Copies a stretch; zeros are left out, as the new file has them already.
pub(super) fn copy(from: &File, (start, end): (u64, u64), to: &File, mut at: u64) -> io::Result<()> {
    let mut buffer = [0; BUFFER];
    let mut offset = start;
    while offset < end {
        let piece = &mut buffer[..usize::try_from(end - offset).unwrap_or(BUFFER).min(BUFFER)];
        from.read_exact_at(piece, offset)?;
        if piece.iter().any(|byte| *byte != 0) {
            to.write_all_at(piece, at)?;
        }
        offset += piece.len() as u64;
        at += piece.len() as u64;
    }
    Ok(())
}
