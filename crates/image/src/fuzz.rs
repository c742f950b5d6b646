//! The parsers of this crate on arbitrary bytes, in memory.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::path::Path;

use casemate_model::Digest;
use casemate_tree::TarReader;

use crate::archive::{self, Blob, Fetch, Keep};
use crate::compression::decompress;
use crate::disk::DiskError;
use crate::hash::digest_of;
use crate::limits::Limits;

/// The archive's files, in memory.
#[derive(Default)]
struct Memory(HashMap<Digest, Vec<u8>>);

impl Keep for Memory {
    type File = Vec<u8>;

    fn create(&mut self) -> Result<Vec<u8>, DiskError> {
        Ok(Vec::new())
    }

    fn keep(&mut self, file: Vec<u8>, blob: &Blob) -> Result<(), DiskError> {
        assert_eq!((digest_of(&file), file.len() as u64), (blob.digest.clone(), blob.size), "the file was kept whole");
        self.0.insert(blob.digest.clone(), file);
        Ok(())
    }

    fn place(&self) -> &Path {
        Path::new("memory")
    }
}

impl Fetch for Memory {
    fn open(&self, blob: &Blob) -> Result<impl Read, DiskError> {
        Ok(self.0[&blob.digest].as_slice())
    }
}

/// A fuzz target: takes the bytes for an archive and parses all that a load
/// parses, short of touching a disk. It panics if one of the crate's promises
/// does not hold: a planned image whose files are not those its digests name,
/// or a sparse map that does not fit its data.
pub fn fuzz_archive(data: &[u8]) {
    // Small, so that no input is slow.
    let limits = Limits {
        json: 64 << 10,
        archive_entries: 256,
        unpacked: 4 << 20,
        images: 16,
        layer_entries: 1024,
        ..Limits::default()
    };
    let mut memory = Memory::default();
    let Ok(contents) = archive::scan(data, &mut memory, &limits, &mut |_| {}) else {
        // The bytes may still be a layer.
        return walk_layer(data, &limits);
    };
    let Ok(images) = archive::plan(&contents, &memory, &limits) else {
        return walk_layer(data, &limits);
    };
    for layer in images.iter().flat_map(|image| &image.layers) {
        walk_layer(&memory.0[&layer.blob.digest], &limits);
    }
}

/// Reads a layer's entries and data.
fn walk_layer(bytes: &[u8], limits: &Limits) {
    let Ok((_, stream)) = decompress(bytes) else {
        return;
    };
    let mut tar = TarReader::new(stream.take(limits.unpacked));
    let mut entries = 0;
    while let Ok(Some(entry)) = tar.next_entry() {
        entries += 1;
        if entries > limits.layer_entries {
            return;
        }
        let mut counted = Counted(0);
        if io::copy(&mut tar, &mut counted).is_ok() {
            match &entry.sparse {
                Some(map) => assert_eq!(counted.0, map.segments().iter().map(|segment| segment.length).sum::<u64>()),
                None => assert_eq!(counted.0, entry.size),
            }
        }
    }
}

struct Counted(u64);

impl Write for Counted {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0 += buffer.len() as u64;
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
