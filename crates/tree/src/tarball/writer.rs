//! Writing tar streams: POSIX headers, with PAX records for what does not fit
//! them, as Docker writes them.

use std::io::{self, Write};

use tar::{EntryType, Header};

use super::entry::{Entry, EntryKind};
use super::sparse::SparseMap;
use super::{BLOCK, MAX_EXTENSION};

/// What is collected before it is written: headers are small.
const BUFFER: usize = 64 << 10;

/// Numbers of seven octal digits, which is what most fields hold.
const LARGEST_ID: u64 = 0o7_777_777;
/// Of eleven.
const LARGEST_SIZE: u64 = 0o77_777_777_777;

/// Of an extended header, for attributes: readers take [`MAX_EXTENSION`], and
/// names and numbers need some of it.
const MOST_XATTRS: usize = MAX_EXTENSION as usize / 2;

/// Entries one after the other; each [`TarWriter::begin`] is followed by as many
/// bytes of [`TarWriter::data`] as it said.
#[derive(Debug)]
pub struct TarWriter<W: Write> {
    out: io::BufWriter<W>,
    /// Bytes of data still to come for the current entry.
    owed: u64,
    padding: usize,
}

impl<W: Write> TarWriter<W> {
    pub fn new(out: W) -> Self {
        Self { out: io::BufWriter::with_capacity(BUFFER, out), owed: 0, padding: 0 }
    }

    /// Writes the entry's headers. Returns how many bytes of data it has: of a
    /// sparse file those of its segments. Fractions of seconds are left out, and
    /// attributes that would make the header too large to be read.
    pub fn begin(&mut self, entry: &Entry) -> io::Result<u64> {
        assert_eq!(self.owed, 0, "an entry's data was not written");
        self.pad()?;
        let map = entry.sparse.as_ref().filter(|_| entry.kind == EntryKind::File).map(data_map);
        let stored = match (&entry.kind, &entry.sparse, &map) {
            (EntryKind::File, Some(sparse), Some(map)) => map.len() as u64 + sparse.stored(),
            (EntryKind::File, _, _) => entry.size,
            _ => 0,
        };
        let mut header = Header::new_ustar();
        let records = self.describe(entry, stored, &mut header)?;
        if !records.is_empty() {
            self.write_extended(&records)?;
        }
        self.out.write_all(header.as_bytes())?;
        self.owed = stored;
        self.padding = (stored.next_multiple_of(BLOCK as u64) - stored) as usize;
        if let Some(map) = map {
            self.data(&map)?;
        }
        Ok(self.owed)
    }

    pub fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        assert!(bytes.len() as u64 <= self.owed, "more data than was announced");
        self.owed -= bytes.len() as u64;
        self.out.write_all(bytes)
    }

    /// Ends the archive and returns what it was written to.
    pub fn finish(mut self) -> io::Result<W> {
        assert_eq!(self.owed, 0, "an entry's data was not written");
        self.pad()?;
        self.out.write_all(&[0; 2 * BLOCK])?;
        self.out.into_inner().map_err(io::IntoInnerError::into_error)
    }

    fn pad(&mut self) -> io::Result<()> {
        let padding = std::mem::take(&mut self.padding);
        self.out.write_all(&[0; BLOCK][..padding])
    }

    /// Fills the header; returns the PAX records for what it cannot hold.
    fn describe(&self, entry: &Entry, stored: u64, header: &mut Header) -> io::Result<Vec<u8>> {
        let mut records = Vec::new();
        let mut name = entry.path.clone();
        if let Some(sparse) = entry.sparse.as_ref().filter(|_| entry.kind == EntryKind::File) {
            debug_assert!(sparse.stored() <= entry.size);
            record(&mut records, b"GNU.sparse.major", b"1");
            record(&mut records, b"GNU.sparse.minor", b"0");
            record(&mut records, b"GNU.sparse.name", &entry.path);
            record(&mut records, b"GNU.sparse.realsize", entry.size.to_string().as_bytes());
            // For who does not know such files: not to be taken for the file.
            let base = name.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
            name = [b"GNUSparseFile.0/", &base[..base.len().min(80)]].concat();
        }
        let fields = header.as_ustar_mut().ok_or(io::ErrorKind::InvalidInput)?;
        if !fits(&mut fields.name, &name) {
            record(&mut records, b"path", &name);
        }
        let (kind, target) = match &entry.kind {
            EntryKind::File => (EntryType::Regular, None),
            EntryKind::Directory => (EntryType::Directory, None),
            EntryKind::Symlink { target } => (EntryType::Symlink, Some(target)),
            EntryKind::HardLink { target } => (EntryType::Link, Some(target)),
            EntryKind::CharDevice { .. } => (EntryType::Char, None),
            EntryKind::BlockDevice { .. } => (EntryType::Block, None),
            EntryKind::Fifo => (EntryType::Fifo, None),
            EntryKind::Other { typeflag } => (EntryType::new(*typeflag), None),
        };
        if let Some(target) = target
            && !fits(&mut fields.linkname, target)
        {
            record(&mut records, b"linkpath", target);
        }
        header.set_entry_type(kind);
        header.set_mode(entry.mode);
        let mut number = |key: &[u8], value: u64, largest: u64| {
            if value > largest {
                record(&mut records, key, value.to_string().as_bytes());
                return 0;
            }
            value
        };
        header.set_uid(number(b"uid", entry.uid.into(), LARGEST_ID));
        header.set_gid(number(b"gid", entry.gid.into(), LARGEST_ID));
        header.set_size(number(b"size", stored, LARGEST_SIZE));
        match u64::try_from(entry.mtime.seconds) {
            Ok(seconds) => header.set_mtime(number(b"mtime", seconds, LARGEST_SIZE)),
            Err(_) => {
                header.set_mtime(0);
                record(&mut records, b"mtime", entry.mtime.seconds.to_string().as_bytes());
            }
        }
        if let EntryKind::CharDevice { major, minor } | EntryKind::BlockDevice { major, minor } = entry.kind {
            header.set_device_major(major)?;
            header.set_device_minor(minor)?;
        }
        let mut room = MOST_XATTRS;
        for (name, value) in &entry.xattrs {
            let key = [b"SCHILY.xattr.", name.as_slice()].concat();
            let Some(left) = room.checked_sub(key.len() + value.len()) else { break };
            room = left;
            record(&mut records, &key, value);
        }
        header.set_cksum();
        Ok(records)
    }

    fn write_extended(&mut self, records: &[u8]) -> io::Result<()> {
        let mut header = Header::new_ustar();
        let fields = header.as_ustar_mut().ok_or(io::ErrorKind::InvalidInput)?;
        fits(&mut fields.name, b"PaxHeaders.0/file");
        header.set_entry_type(EntryType::XHeader);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(records.len() as u64);
        header.set_cksum();
        self.out.write_all(header.as_bytes())?;
        self.out.write_all(records)?;
        let padding = records.len().next_multiple_of(BLOCK) - records.len();
        self.out.write_all(&[0; BLOCK][..padding])
    }
}

/// Puts a name into a header's field. What is too long, or not plain text (the
/// field's encoding is nobody's promise), is cut and told to be so.
fn fits(field: &mut [u8; 100], name: &[u8]) -> bool {
    for (to, from) in field.iter_mut().zip(name) {
        *to = if from.is_ascii() { *from } else { b'_' };
    }
    name.len() <= field.len() && name.is_ascii()
}

/// `LENGTH KEY=VALUE\n`, where the length counts itself.
fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + b" =\n".len();
    let digits = |length: usize| length.to_string().len();
    let mut length = rest + digits(rest);
    if rest + digits(length) > length {
        length = rest + digits(length);
    }
    records.extend_from_slice(length.to_string().as_bytes());
    for part in [b" ", key, b"=", value, b"\n"] {
        records.extend_from_slice(part);
    }
}

/// The map at the beginning of a sparse file's data, see [`super::sparse`].
fn data_map(sparse: &SparseMap) -> Vec<u8> {
    let mut map = format!("{}\n", sparse.segments().len());
    for segment in sparse.segments() {
        map.push_str(&format!("{}\n{}\n", segment.offset, segment.length));
    }
    let mut map = map.into_bytes();
    map.resize(map.len().next_multiple_of(BLOCK), 0);
    map
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use proptest::prelude::*;

    use super::*;
    use crate::tarball::{Mtime, Segment, TarReader};

    fn entry(path: &[u8], kind: EntryKind) -> Entry {
        Entry {
            path: path.to_vec(),
            kind,
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: Mtime { seconds: 1, nanoseconds: 0 },
            xattrs: Vec::new(),
            size: 0,
            sparse: None,
        }
    }

    fn written(entries: &[(Entry, Vec<u8>)]) -> Vec<u8> {
        let mut writer = TarWriter::new(Vec::new());
        for (entry, data) in entries {
            assert_eq!(writer.begin(entry).unwrap(), data.len() as u64);
            writer.data(data).unwrap();
        }
        writer.finish().unwrap()
    }

    fn read(bytes: &[u8]) -> Vec<(Entry, Vec<u8>)> {
        let mut reader = TarReader::new(bytes);
        let mut found = Vec::new();
        while let Some(entry) = reader.next_entry().unwrap() {
            let mut data = Vec::new();
            reader.read_to_end(&mut data).unwrap();
            found.push((entry, data));
        }
        found
    }

    #[test]
    fn what_fits_no_field_is_in_records() {
        let segments = vec![Segment { offset: 512, length: 3 }, Segment { offset: 1 << 40, length: 2 }];
        let large = u32::MAX - 1;
        let entries = [
            (Entry { size: 600, ..entry(b"plain", EntryKind::File) }, vec![1; 600]),
            (entry(&[b'd'; 100], EntryKind::Directory), vec![]),
            (Entry { uid: large, gid: large, ..entry(&[b'n'; 101], EntryKind::Fifo) }, vec![]),
            (entry("caf\u{e9}".as_bytes(), EntryKind::Symlink { target: vec![b't'; 4095] }), vec![]),
            (entry(b"\xff\n", EntryKind::HardLink { target: b"\xfe".to_vec() }), vec![]),
            (entry(b"dev", EntryKind::BlockDevice { major: 259, minor: 0xfffff }), vec![]),
            (Entry { mtime: Mtime { seconds: -5, nanoseconds: 0 }, ..entry(b"old", EntryKind::File) }, vec![]),
            (Entry { mtime: Mtime { seconds: 1 << 40, nanoseconds: 0 }, ..entry(b"late", EntryKind::File) }, vec![]),
            (Entry { xattrs: vec![(b"user.x".to_vec(), b"\0=\n".to_vec())], ..entry(b"x", EntryKind::File) }, vec![]),
            (
                Entry {
                    size: (1 << 40) + 100,
                    sparse: SparseMap::new(segments, (1 << 40) + 100, 5),
                    ..entry(&[b's'; 200], EntryKind::File)
                },
                b"abcde".to_vec(),
            ),
        ];
        assert_eq!(read(&written(&entries)), entries);
    }

    /// Go's reader, and so Docker, stops at an extended header of 1 MiB.
    #[test]
    fn attributes_do_not_make_a_header_unreadable() {
        let xattrs = (0..20).map(|n| (format!("user.{n}").into_bytes(), vec![b'v'; 60_000])).collect();
        let found = read(&written(&[(Entry { xattrs, ..entry(b"x", EntryKind::File) }, vec![])]));
        assert_eq!(found[0].0.xattrs.len(), 8);
    }

    proptest! {
        #[test]
        fn entries_read_back(
            path in prop::collection::vec(1_u8.., 1..300),
            target in prop::collection::vec(1_u8.., 1..300),
            (mode, uid, gid) in (0_u32..0o10000, 0..u32::MAX, 0..u32::MAX),
            seconds in any::<i64>(),
            data in prop::collection::vec(any::<u8>(), 0..2000),
            xattr in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let about = Entry {
                mode, uid, gid,
                mtime: Mtime { seconds, nanoseconds: 0 },
                xattrs: vec![(b"user.a".to_vec(), xattr)],
                ..entry(&path, EntryKind::File)
            };
            let link = Entry { kind: EntryKind::Symlink { target }, ..about.clone() };
            // A file's name that ends with a slash is a directory's.
            let file = Entry { size: data.len() as u64, path: [&path[..], b"."].concat(), ..about };
            let entries = [(file, data), (link, vec![])];
            prop_assert_eq!(read(&written(&entries)), entries);
        }
    }
}
