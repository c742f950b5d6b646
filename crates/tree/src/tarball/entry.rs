//! One entry of a tar stream, put together from its header and the extended
//! headers before it.

use tar::{EntryType, Header};

use super::pax::PaxRecords;
use super::{SparseMap, TarError};

/// A name and a binary value.
pub type Xattr = (Vec<u8>, Vec<u8>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// As written: possibly absolute, possibly with `..`.
    pub path: Vec<u8>,
    pub kind: EntryKind,
    /// Permission bits, set-id bits and sticky bit.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: Mtime,
    /// Of two with one name the later counts.
    pub xattrs: Vec<Xattr>,
    /// Length of a file with its holes, in bytes.
    pub size: u64,
    pub sparse: Option<SparseMap>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    File,
    Directory,
    Symlink { target: Vec<u8> },
    HardLink { target: Vec<u8> },
    CharDevice { major: u32, minor: u32 },
    BlockDevice { major: u32, minor: u32 },
    Fifo,
    Other { typeflag: u8 },
}

/// Seconds since 1970 and nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mtime {
    pub seconds: i64,
    pub nanoseconds: u32,
}

/// What the headers before an entry's own say about it.
#[derive(Default)]
pub(super) struct Extensions {
    pub(super) pax: Option<PaxRecords>,
    pub(super) long_name: Option<Vec<u8>>,
    pub(super) long_link: Option<Vec<u8>>,
}

impl EntryKind {
    pub(super) fn has_data(&self) -> bool {
        matches!(self, Self::File | Self::Other { .. })
    }
}

impl Mtime {
    /// `seconds[.fraction]`, as PAX has it.
    fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let seconds: i64 = whole.parse().ok()?;
        if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let digits = &fraction[..fraction.len().min(9)];
        let nanoseconds: u32 = format!("{digits:0<9}").parse().ok()?;
        // A negative time counts its fraction away from zero.
        if whole.starts_with('-') && nanoseconds > 0 {
            return Some(Self { seconds: seconds.checked_sub(1)?, nanoseconds: 1_000_000_000 - nanoseconds });
        }
        Some(Self { seconds, nanoseconds })
    }
}

impl Extensions {
    pub(super) fn is_empty(&self) -> bool {
        self.pax.is_none() && self.long_name.is_none() && self.long_link.is_none()
    }

    fn pax(&self, key: &[u8]) -> Option<&[u8]> {
        self.pax.as_ref().and_then(|records| records.get(key))
    }

    /// Bytes the entry occupies in the stream.
    pub(super) fn stored_size(&self, position: u64, header: &Header) -> Result<u64, TarError> {
        let malformed = || TarError::Field { position, field: "size" };
        match self.pax(b"size") {
            Some(text) => parse_number(text).ok_or_else(malformed),
            None => header.entry_size().map_err(|_| malformed()),
        }
    }
}

impl Entry {
    pub(super) fn decode(
        position: u64,
        header: &Header,
        extensions: &Extensions,
        global: &PaxRecords,
    ) -> Result<Self, TarError> {
        let field = |field: &'static str| move || TarError::Field { position, field };
        let path = match (extensions.pax(b"GNU.sparse.name"), extensions.pax(b"path"), &extensions.long_name) {
            (Some(name), ..) | (None, Some(name), _) => name.to_owned(),
            (None, None, Some(name)) => name.clone(),
            (None, None, None) => header.path_bytes().into_owned(),
        };
        let link = || match (extensions.pax(b"linkpath"), &extensions.long_link) {
            (Some(target), _) => target.to_owned(),
            (None, Some(target)) => target.clone(),
            (None, None) => header.link_name_bytes().map(|target| target.into_owned()).unwrap_or_default(),
        };
        let attribute = |key: &[u8]| extensions.pax(key).or_else(|| global.get(key));
        let id = |key: &'static str, from_header: std::io::Result<u64>| {
            let value = match attribute(key.as_bytes()) {
                Some(text) => parse_number(text),
                None => from_header.ok(),
            };
            // The largest value is chown's "leave as it is".
            value.and_then(|id| u32::try_from(id).ok()).filter(|id| *id != u32::MAX).ok_or_else(field(key))
        };
        let device = || -> Result<(u32, u32), TarError> {
            let major = header.device_major().map_err(|_| field("device major")())?;
            let minor = header.device_minor().map_err(|_| field("device minor")())?;
            Ok((major.unwrap_or(0), minor.unwrap_or(0)))
        };
        let kind = match header.entry_type() {
            // Before ustar a directory was a file whose name ends with a slash.
            EntryType::Regular | EntryType::Continuous if path.ends_with(b"/") => EntryKind::Directory,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => EntryKind::File,
            EntryType::Directory => EntryKind::Directory,
            EntryType::Symlink => EntryKind::Symlink { target: link() },
            EntryType::Link => EntryKind::HardLink { target: link() },
            EntryType::Char => device().map(|(major, minor)| EntryKind::CharDevice { major, minor })?,
            EntryType::Block => device().map(|(major, minor)| EntryKind::BlockDevice { major, minor })?,
            EntryType::Fifo => EntryKind::Fifo,
            other => EntryKind::Other { typeflag: other.as_byte() },
        };
        let mtime = match attribute(b"mtime") {
            Some(text) => Mtime::parse(text).ok_or_else(field("mtime"))?,
            // Base-256 numbers can be negative: the same 64 bits.
            None => Mtime { seconds: header.mtime().map_err(|_| field("mtime")())? as i64, nanoseconds: 0 },
        };
        let xattrs = extensions.pax.iter().flat_map(PaxRecords::xattrs);
        Ok(Self {
            path,
            kind,
            mode: header.mode().map_err(|_| field("mode")())? & 0o7777,
            uid: id("uid", header.uid())?,
            gid: id("gid", header.gid())?,
            mtime,
            xattrs: xattrs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            size: 0,
            sparse: None,
        })
    }
}

pub(super) fn parse_number(text: &[u8]) -> Option<u64> {
    // `parse` alone would accept a sign.
    if !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_with_fractions() {
        for (text, seconds, nanoseconds) in [
            ("0", 0, 0),
            ("1700000000.5", 1_700_000_000, 500_000_000),
            ("1.123456789999", 1, 123_456_789),
            ("-1.25", -2, 750_000_000),
            ("-3", -3, 0),
        ] {
            assert_eq!(Mtime::parse(text.as_bytes()), Some(Mtime { seconds, nanoseconds }), "{text}");
        }
        for bad in ["", ".", "1.x", "1e5", "99999999999999999999", "\u{e9}", "-9223372036854775808.1"] {
            assert_eq!(Mtime::parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
