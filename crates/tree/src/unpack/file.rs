//! A regular file's content, written without its zeros.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use super::UnpackError;
use crate::tarball::{Entry, TarReader};

/// Holes are made of whole blocks of this size, the usual one of file systems.
const BLOCK: usize = 4096;
const BUFFER: usize = 32 * BLOCK;

/// Writes the entry's data into the new file and returns how many bytes were
/// really written; the rest of the entry's size is holes.
pub(super) fn write_content<R: Read>(
    file: &File,
    entry: &Entry,
    data: &mut TarReader<R>,
    buffer: &mut Vec<u8>,
) -> Result<u64, UnpackError> {
    buffer.resize(BUFFER, 0);
    let mut written = 0;
    match &entry.sparse {
        None => written += write_stretch(file, entry, data, 0, entry.size, buffer)?,
        Some(map) => {
            for segment in map.segments() {
                written += write_stretch(file, entry, data, segment.offset, segment.length, buffer)?;
            }
        }
    }
    if written < entry.size {
        file.set_len(entry.size).map_err(|e| UnpackError::entry("set the length", &entry.path, e))?;
    }
    Ok(written)
}

fn write_stretch<R: Read>(
    file: &File,
    entry: &Entry,
    data: &mut TarReader<R>,
    mut offset: u64,
    mut length: u64,
    buffer: &mut [u8],
) -> Result<u64, UnpackError> {
    let mut written = 0;
    while length > 0 {
        // The first piece ends where a block of the file does.
        let misaligned = (offset % BLOCK as u64) as usize;
        let wanted = usize::try_from(length).unwrap_or(usize::MAX).min(BUFFER - misaligned);
        let piece = &mut buffer[..wanted];
        fill(data, piece)?;
        written += write_nonzero(file, piece, offset).map_err(|e| UnpackError::entry("write", &entry.path, e))?;
        offset += wanted as u64;
        length -= wanted as u64;
    }
    Ok(written)
}

fn fill<R: Read>(data: &mut TarReader<R>, piece: &mut [u8]) -> Result<(), UnpackError> {
    let mut filled = 0;
    while filled < piece.len() {
        match data.read(&mut piece[filled..]) {
            Ok(0) => return Err(data.read_error(io::ErrorKind::UnexpectedEof.into()).into()),
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(data.read_error(error).into()),
        }
    }
    Ok(())
}

/// Writes runs of blocks that are not all zeros, each run at once.
fn write_nonzero(file: &File, piece: &[u8], offset: u64) -> io::Result<u64> {
    let mut written = 0;
    let mut run: Option<usize> = None;
    let mut start = 0;
    while start < piece.len() {
        let misaligned = ((offset + start as u64) % BLOCK as u64) as usize;
        let end = (start + BLOCK - misaligned).min(piece.len());
        let is_zero = piece[start..end].iter().all(|byte| *byte == 0);
        match (is_zero, run) {
            (false, None) => run = Some(start),
            (true, Some(from)) => {
                file.write_all_at(&piece[from..start], offset + from as u64)?;
                written += (start - from) as u64;
                run = None;
            }
            _ => {}
        }
        start = end;
    }
    if let Some(from) = run {
        file.write_all_at(&piece[from..], offset + from as u64)?;
        written += (piece.len() - from) as u64;
    }
    Ok(written)
}
