//! Reading and writing tar streams, for archives, layers and copies.
//!
//! The `tar` crate decodes header blocks; the stream itself is walked here,
//! because a layer needs what that crate's iterator does not give: both kinds
//! of sparse maps without their holes being read out as zeros, binary values in
//! extended headers, and limits on everything that is held in memory.
//!
//! Understood: v7, ustar, GNU (long names, base-256 numbers, old sparse files)
//! and PAX (local and global headers, `SCHILY.xattr.`, sparse 0.0, 0.1, 1.0).
//! Every failure is a [`TarError`] with the position in the uncompressed
//! stream; nothing panics on any bytes.

mod entry;
mod pax;
mod sparse;
mod writer;

pub use entry::{Entry, EntryKind, Mtime, Xattr};
pub use sparse::{Segment, SparseMap};
pub use writer::TarWriter;

use std::io::{self, Read};

use casemate_model::{Classify, ErrorClass};
use tar::{EntryType, GnuExtSparseHeader, Header};

use entry::Extensions;
use pax::PaxRecords;

const BLOCK: usize = 512;

/// Go's archive/tar stops at 1 MiB for headers that describe another header;
/// what Docker cannot read no image holds.
const MAX_EXTENSION: u64 = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub enum TarError {
    #[error("cannot read the tar stream at byte {position}")]
    Read { position: u64, source: io::Error },
    #[error("the tar stream ends in the middle of an entry, at byte {position}")]
    Truncated { position: u64 },
    #[error("not a tar header at byte {position}")]
    Header { position: u64 },
    #[error("malformed {field} in the tar header at byte {position}")]
    Field { position: u64, field: &'static str },
    #[error("malformed extended header at byte {position}")]
    Extended { position: u64 },
    #[error("malformed sparse map at byte {position}")]
    Sparse { position: u64 },
    #[error("{what} at byte {position} exceeds {limit} bytes")]
    TooLarge { position: u64, what: &'static str, limit: u64 },
}

impl Classify for TarError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Read { source, .. } => match source.kind() {
                // What decompressors say about damaged input.
                io::ErrorKind::InvalidData
                | io::ErrorKind::InvalidInput
                | io::ErrorKind::UnexpectedEof
                | io::ErrorKind::Other => ErrorClass::Protocol,
                _ => ErrorClass::Internal,
            },
            _ => ErrorClass::Protocol,
        }
    }
}

/// Yields entries one after the other; between two calls of
/// [`TarReader::next_entry`] it reads as the current entry's stored data (for a
/// sparse file: the segments of its map, without the holes).
#[derive(Debug)]
pub struct TarReader<R> {
    inner: R,
    position: u64,
    /// Stored bytes of the current entry that have not been read.
    unread: u64,
    /// Bytes up to the next header after those.
    padding: u64,
    global: PaxRecords,
    at_end: bool,
}

impl<R: Read> TarReader<R> {
    pub fn new(inner: R) -> Self {
        Self { inner, position: 0, unread: 0, padding: 0, global: PaxRecords::default(), at_end: false }
    }

    /// The stream below, which may go on after the archive's end.
    pub fn into_inner(self) -> R {
        self.inner
    }

    /// Bytes of the stream consumed so far.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The next entry, or none at the archive's end: two blocks of zeros, or the
    /// stream's end where a header could be, which Docker accepts too.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, TarError> {
        let mut extensions = Extensions::default();
        while !self.at_end {
            self.skip_rest()?;
            let position = self.position;
            let Some(header) = self.next_header()? else {
                self.at_end = true;
                return if extensions.is_empty() { Ok(None) } else { Err(TarError::Truncated { position }) };
            };
            let size = header.entry_size().map_err(|_| TarError::Field { position, field: "size" })?;
            match header.entry_type() {
                EntryType::XHeader => extensions.pax = Some(self.read_pax(position, size)?),
                EntryType::XGlobalHeader => {
                    let records = self.read_pax(position, size)?;
                    self.global.merge_attributes(records);
                }
                EntryType::GNULongName => extensions.long_name = Some(self.read_long(position, size)?),
                EntryType::GNULongLink => extensions.long_link = Some(self.read_long(position, size)?),
                _ => return self.entry(position, &header, extensions).map(Some),
            }
        }
        Ok(None)
    }

    fn entry(&mut self, position: u64, header: &Header, extensions: Extensions) -> Result<Entry, TarError> {
        let mut entry = Entry::decode(position, header, &extensions, &self.global)?;
        // Links, directories and devices have no data whatever their size says.
        let stored = if entry.kind.has_data() { extensions.stored_size(position, header)? } else { 0 };
        self.begin_data(position, stored)?;
        entry.size = stored;
        let pax = extensions.pax.as_ref();
        let map = if header.entry_type() == EntryType::GNUSparse {
            Some(self.old_gnu_map(position, header)?)
        } else if entry.kind.has_data() {
            match pax.map(|records| sparse::pax_format(records, position)).transpose()?.flatten() {
                Some(sparse::PaxFormat::InHeader { segments, size }) => Some((segments, size)),
                Some(sparse::PaxFormat::InData { size }) => Some((sparse::read_data_map(self, position)?, size)),
                None => None,
            }
        } else {
            None
        };
        if let Some((segments, size)) = map {
            entry.sparse = Some(SparseMap::new(segments, size, self.unread).ok_or(TarError::Sparse { position })?);
            entry.size = size;
        }
        Ok(entry)
    }

    fn begin_data(&mut self, position: u64, size: u64) -> Result<(), TarError> {
        let padded = size.checked_next_multiple_of(BLOCK as u64).ok_or(TarError::Field { position, field: "size" })?;
        self.unread = size;
        self.padding = padded - size;
        Ok(())
    }

    /// Old GNU sparse files have their map in the header and in blocks behind
    /// it, which their size does not count.
    fn old_gnu_map(&mut self, position: u64, header: &Header) -> Result<(Vec<sparse::Segment>, u64), TarError> {
        let malformed = || TarError::Sparse { position };
        let gnu = header.as_gnu().ok_or_else(malformed)?;
        let size = gnu.real_size().map_err(|_| malformed())?;
        let mut segments = Vec::new();
        sparse::push_old_gnu(&mut segments, &gnu.sparse).ok_or_else(malformed)?;
        let mut extended = gnu.is_extended();
        while extended {
            let mut block = GnuExtSparseHeader::new();
            self.read_exact_raw(block.as_mut_bytes())?;
            sparse::push_old_gnu(&mut segments, block.sparse()).ok_or_else(malformed)?;
            extended = block.is_extended();
        }
        Ok((segments, size))
    }

    fn read_pax(&mut self, position: u64, size: u64) -> Result<PaxRecords, TarError> {
        let bytes = self.read_extension(position, size)?;
        PaxRecords::parse(&bytes).ok_or(TarError::Extended { position })
    }

    /// A GNU long name: the bytes up to the first NUL.
    fn read_long(&mut self, position: u64, size: u64) -> Result<Vec<u8>, TarError> {
        let mut bytes = self.read_extension(position, size)?;
        if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
            bytes.truncate(end);
        }
        Ok(bytes)
    }

    fn read_extension(&mut self, position: u64, size: u64) -> Result<Vec<u8>, TarError> {
        if size > MAX_EXTENSION {
            return Err(TarError::TooLarge { position, what: "the extended header", limit: MAX_EXTENSION });
        }
        self.begin_data(position, size)?;
        let mut bytes = Vec::new();
        self.by_ref().take(size).read_to_end(&mut bytes).map_err(|e| self.read_error(e))?;
        Ok(bytes)
    }

    /// The next header block whose checksum holds, or none at the end.
    fn next_header(&mut self) -> Result<Option<Header>, TarError> {
        let position = self.position;
        let mut header = Header::new_old();
        if !self.read_block(header.as_mut_bytes())? {
            return Ok(None);
        }
        if header.as_bytes().iter().all(|byte| *byte == 0) {
            let mut second = [0; BLOCK];
            return match self.read_block(&mut second)? {
                true if second.iter().any(|byte| *byte != 0) => Err(TarError::Header { position }),
                _ => Ok(None),
            };
        }
        let bytes = header.as_bytes();
        let sum: u32 = bytes[..148].iter().chain(&bytes[156..]).map(|byte| u32::from(*byte)).sum();
        // The field itself counts as eight spaces.
        match header.cksum() {
            Ok(expected) if expected == sum + 8 * 32 => Ok(Some(header)),
            _ => Err(TarError::Header { position }),
        }
    }

    /// False at the stream's end; an end within the block is an error.
    fn read_block(&mut self, block: &mut [u8; BLOCK]) -> Result<bool, TarError> {
        let mut filled = 0;
        while filled < BLOCK {
            match self.inner.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(false),
                Ok(0) => return Err(TarError::Truncated { position: self.position }),
                Ok(read) => {
                    filled += read;
                    self.position += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.read_error(error)),
            }
        }
        Ok(true)
    }

    fn read_exact_raw(&mut self, block: &mut [u8; BLOCK]) -> Result<(), TarError> {
        if self.read_block(block)? { Ok(()) } else { Err(TarError::Truncated { position: self.position }) }
    }

    fn skip_rest(&mut self) -> Result<(), TarError> {
        let mut scratch = [0; 16 * BLOCK];
        self.unread += std::mem::take(&mut self.padding);
        while self.unread > 0 {
            match self.read(&mut scratch) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.read_error(error)),
            }
        }
        Ok(())
    }

    /// What a failed read of entry data means.
    pub fn read_error(&self, source: io::Error) -> TarError {
        let position = self.position;
        match source.get_ref() {
            Some(inner) if inner.is::<EndsInData>() => TarError::Truncated { position },
            _ => TarError::Read { position, source },
        }
    }
}

/// Marks the end of the stream within an entry, apart from errors of the stream.
#[derive(Debug, thiserror::Error)]
#[error("the tar stream ends in the middle of an entry")]
struct EndsInData;

impl<R: Read> Read for TarReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.unread).unwrap_or(usize::MAX).min(buffer.len());
        if wanted == 0 {
            return Ok(0);
        }
        let read = self.inner.read(&mut buffer[..wanted])?;
        if read == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, EndsInData));
        }
        self.unread -= read as u64;
        self.position += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests;
