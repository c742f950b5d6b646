//! Reading an archive through once, keeping each of its files under its digest.

use std::io::{self, Read, Write};
use std::path::Path;

use casemate_model::Digest;
use casemate_tree::{Entry, EntryKind, TarReader};
use sha2::{Digest as _, Sha256};

use super::{ArchiveError, Blob, Contents};
use crate::compression::{DecompressError, decompress};
use crate::disk::DiskError;
use crate::limits::Limits;

const BLOBS: &str = "blobs/sha256/";

/// A place to keep an archive's files in.
pub(crate) trait Keep {
    type File: Write;

    /// A new file; its name is not known before its content is.
    fn create(&mut self) -> Result<Self::File, DiskError>;

    /// The file is complete. The same content may come more than once.
    fn keep(&mut self, file: Self::File, blob: &Blob) -> Result<(), DiskError>;

    /// Where files are kept, for errors.
    fn place(&self) -> &Path;
}

/// Reads the archive to its end. `progress` is told the bytes of its tar stream
/// read so far.
pub(crate) fn scan(
    archive: impl Read,
    keep: &mut impl Keep,
    limits: &Limits,
    progress: &mut dyn FnMut(u64),
) -> Result<Contents, ArchiveError> {
    let (_, stream) = decompress(archive).map_err(|error| match error {
        DecompressError::Read(source) => ArchiveError::Read(source),
        DecompressError::Unsupported(compression) => ArchiveError::Compression(compression),
    })?;
    let mut tar = TarReader::new(stream.take(limits.unpacked));
    let result = scan_entries(&mut tar, keep, limits, progress);
    match result {
        // The stream did not end, it was cut off.
        Err(ArchiveError::Tar(_)) if tar.position() >= limits.unpacked => {
            Err(ArchiveError::TooMuch { limit: limits.unpacked })
        }
        Ok(contents) => {
            // Not for its content, but a writer into a pipe is owed a reader.
            io::copy(&mut tar.into_inner(), &mut io::sink()).map_err(ArchiveError::Read)?;
            Ok(contents)
        }
        error => error,
    }
}

fn scan_entries(
    tar: &mut TarReader<impl Read>,
    keep: &mut impl Keep,
    limits: &Limits,
    progress: &mut dyn FnMut(u64),
) -> Result<Contents, ArchiveError> {
    let mut contents = Contents::default();
    let mut entries = 0;
    while let Some(entry) = tar.next_entry()? {
        entries += 1;
        if entries > limits.archive_entries {
            return Err(ArchiveError::TooManyEntries { limit: limits.archive_entries });
        }
        // What has no proper name cannot be what any JSON in the archive names.
        let Some(path) = std::str::from_utf8(&entry.path).ok().and_then(clean_path) else {
            continue;
        };
        if path.len() > limits.archive_path {
            return Err(ArchiveError::TooLarge { path, limit: limits.archive_path as u64 });
        }
        match &entry.kind {
            EntryKind::File => {
                let blob = keep_file(tar, &path, &entry, keep, limits, progress)?;
                contents.add_file(path, blob)?;
            }
            EntryKind::Symlink { target } => contents.add_link(path.clone(), relative_to(&path, target)),
            EntryKind::HardLink { target } => {
                contents.add_link(path, std::str::from_utf8(target).ok().and_then(clean_path));
            }
            EntryKind::Directory
            | EntryKind::CharDevice { .. }
            | EntryKind::BlockDevice { .. }
            | EntryKind::Fifo
            | EntryKind::Other { .. } => {}
        }
        progress(tar.position());
    }
    Ok(contents)
}

fn keep_file(
    tar: &mut TarReader<impl Read>,
    path: &str,
    entry: &Entry,
    keep: &mut impl Keep,
    limits: &Limits,
    progress: &mut dyn FnMut(u64),
) -> Result<Blob, ArchiveError> {
    if entry.sparse.is_some() {
        return Err(ArchiveError::Sparse { path: path.to_owned() });
    }
    if entry.size > limits.unpacked {
        return Err(ArchiveError::TooMuch { limit: limits.unpacked });
    }
    let mut file = keep.create()?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 17];
    loop {
        let read = match tar.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(tar.read_error(error).into()),
        };
        hasher.update(&buffer[..read]);
        file.write_all(&buffer[..read]).map_err(|e| DiskError::new("write below", keep.place(), e))?;
        progress(tar.position());
    }
    let blob = Blob { digest: Digest::from_sha256(hasher.finalize().into()), size: entry.size };
    match path.strip_prefix(BLOBS).map(|hex| format!("sha256:{hex}").parse::<Digest>()) {
        Some(Ok(expected)) if expected != blob.digest => {
            return Err(ArchiveError::Digest { path: path.to_owned(), expected, actual: blob.digest });
        }
        _ => {}
    }
    keep.keep(file, &blob)?;
    Ok(blob)
}

impl Contents {
    fn add_file(&mut self, path: String, blob: Blob) -> Result<(), ArchiveError> {
        match self.files.get(&path) {
            Some(known) if *known != blob => Err(ArchiveError::Duplicate { path }),
            _ => {
                self.files.insert(path, blob);
                Ok(())
            }
        }
    }

    /// A link that points nowhere only matters if something names it.
    fn add_link(&mut self, path: String, target: Option<String>) {
        if let Some(target) = target {
            self.links.insert(path, target);
        }
    }
}

/// The path of a content-addressed file.
pub(crate) fn blob_path(digest: &Digest) -> String {
    format!("{BLOBS}{}", digest.hex())
}

/// Without `.`, `..` and empty components; none if nothing is left.
pub(super) fn clean_path(path: &str) -> Option<String> {
    let mut clean: Vec<&str> = Vec::new();
    for component in path.split('/') {
        match component {
            "" | "." => {}
            ".." => {
                clean.pop();
            }
            name => clean.push(name),
        }
    }
    (!clean.is_empty()).then(|| clean.join("/"))
}

/// Where a symbolic link at `path` points.
fn relative_to(path: &str, target: &[u8]) -> Option<String> {
    let target = std::str::from_utf8(target).ok()?;
    match path.rsplit_once('/') {
        Some((parent, _)) if !target.starts_with('/') => clean_path(&format!("{parent}/{target}")),
        _ => clean_path(target),
    }
}
