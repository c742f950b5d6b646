//! Sparse files: which stretches of the file the stream stores.
//!
//! Formats, all GNU tar's: the old one (type `S`, map in header blocks), PAX
//! 0.0 and 0.1 (map in the extended header) and PAX 1.0 (map in decimal at the
//! beginning of the data, padded to a block).

use std::io::Read;

use tar::GnuSparseHeader;

use super::entry::parse_number;
use super::pax::PaxRecords;
use super::{BLOCK, TarError, TarReader};

/// A file in a million pieces has 16 MB of map; nobody makes one by accident.
const MAX_SEGMENTS: usize = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    pub offset: u64,
    pub length: u64,
}

/// Segments in ascending order, without overlap, within the file, and together
/// as long as the stored data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SparseMap(Vec<Segment>);

impl SparseMap {
    pub(crate) fn new(segments: Vec<Segment>, size: u64, stored: u64) -> Option<Self> {
        let mut end = 0;
        let mut total: u64 = 0;
        for segment in &segments {
            if segment.offset < end {
                return None;
            }
            end = segment.offset.checked_add(segment.length)?;
            total = total.checked_add(segment.length)?;
        }
        // Lengths of files are signed in the kernel.
        let fits = end <= size && i64::try_from(size).is_ok();
        (fits && total == stored).then_some(Self(segments))
    }

    pub fn segments(&self) -> &[Segment] {
        &self.0
    }

    /// Bytes of the segments together.
    pub fn stored(&self) -> u64 {
        self.0.iter().map(|segment| segment.length).sum()
    }
}

/// Where a PAX sparse file has its map.
pub(super) enum PaxFormat {
    InHeader { segments: Vec<Segment>, size: u64 },
    InData { size: u64 },
}

pub(super) fn pax_format(records: &PaxRecords, position: u64) -> Result<Option<PaxFormat>, TarError> {
    let malformed = || TarError::Sparse { position };
    let number = |key: &[u8]| records.get(key).map(|text| parse_number(text).ok_or_else(malformed)).transpose();
    if let Some(major) = number(b"GNU.sparse.major")? {
        let minor = number(b"GNU.sparse.minor")?.unwrap_or(0);
        return match (major, minor, number(b"GNU.sparse.realsize")?) {
            (1, 0, Some(size)) => Ok(Some(PaxFormat::InData { size })),
            _ => Err(malformed()),
        };
    }
    let Some(size) = number(b"GNU.sparse.size")? else {
        return Ok(None);
    };
    let numbers: Vec<&[u8]> = match records.get(b"GNU.sparse.map") {
        Some(map) => map.split(|byte| *byte == b',').collect(),
        None => {
            let keys: [&[u8]; 2] = [b"GNU.sparse.offset", b"GNU.sparse.numbytes"];
            let pairs = records.iter().filter(|(key, _)| keys.contains(key));
            let values: Vec<_> = pairs.collect();
            if !values.iter().enumerate().all(|(index, (key, _))| *key == keys[index % 2]) {
                return Err(malformed());
            }
            values.into_iter().map(|(_, value)| value).collect()
        }
    };
    let numbers: Option<Vec<u64>> = numbers.into_iter().map(parse_number).collect();
    let segments = numbers.and_then(pairs).ok_or_else(malformed)?;
    match number(b"GNU.sparse.numblocks")? {
        Some(count) if count != segments.len() as u64 => Err(malformed()),
        _ => Ok(Some(PaxFormat::InHeader { segments, size })),
    }
}

fn pairs(numbers: Vec<u64>) -> Option<Vec<Segment>> {
    let chunks = numbers.chunks_exact(2);
    if !chunks.remainder().is_empty() || chunks.len() > MAX_SEGMENTS {
        return None;
    }
    Some(chunks.map(|pair| Segment { offset: pair[0], length: pair[1] }).collect())
}

/// Appends the used slots of a header block of the old format.
pub(super) fn push_old_gnu(segments: &mut Vec<Segment>, slots: &[GnuSparseHeader]) -> Option<()> {
    for slot in slots.iter().filter(|slot| !slot.is_empty()) {
        if segments.len() == MAX_SEGMENTS {
            return None;
        }
        segments.push(Segment { offset: slot.offset().ok()?, length: slot.length().ok()? });
    }
    Some(())
}

/// Reads the map at the beginning of a format 1.0 file's data: the number of
/// segments, then offset and length of each, a line per number.
pub(super) fn read_data_map<R: Read>(tar: &mut TarReader<R>, position: u64) -> Result<Vec<Segment>, TarError> {
    let malformed = || TarError::Sparse { position };
    let mut count = None;
    let mut numbers = Vec::new();
    let mut digits = Vec::new();
    let mut block = [0; BLOCK];
    loop {
        tar.read_exact(&mut block).map_err(|error| match error.get_ref() {
            // The data ended before its own map did.
            None if error.kind() == std::io::ErrorKind::UnexpectedEof => malformed(),
            _ => tar.read_error(error),
        })?;
        for byte in block {
            if byte != b'\n' {
                digits.push(byte);
                // No number of 64 bits has more than 20 digits.
                if digits.len() > 20 {
                    return Err(malformed());
                }
                continue;
            }
            let number = parse_number(&digits).ok_or_else(malformed)?;
            digits.clear();
            match count {
                None if number > MAX_SEGMENTS as u64 => return Err(malformed()),
                None => count = Some(2 * number as usize),
                Some(_) => numbers.push(number),
            }
            if count == Some(numbers.len()) {
                return pairs(numbers).ok_or_else(malformed);
            }
        }
    }
}
