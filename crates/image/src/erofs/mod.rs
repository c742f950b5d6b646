//! Writes a directory as an EROFS image: uncompressed, and the same bytes for
//! the same directory.
//!
//! ```text
//! | super block | inodes, each with its attributes and, where  | whole blocks of files |
//! |  (at 1024)  | it fits, the last piece of its data          | and directories       |
//! ```
//!
//! The directory is gathered first ([`tree`]), then everything gets its place
//! ([`layout`]), then it is written ([`write`]); nobody may change it meanwhile.
//! It comes from an image and may hold anything: names of 255 bytes, as many
//! links as there are files, holes of terabytes. The format is the kernel's
//! (Linux `fs/erofs/erofs_fs.h`, since 5.15); extended inodes only, as compact
//! ones have no time of their own.

mod format;
mod holes;
mod layout;
mod tree;
mod write;

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use casemate_model::{Classify, ErrorClass};

use crate::disk::class_of;
use layout::Layout;
use tree::Tree;

/// The block size of EROFS on all machines; an image is a multiple of it.
pub(crate) const BLOCK: u64 = 4096;

/// Paths are those within the directory.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("cannot {operation} {path:?}")]
    Read { operation: &'static str, path: String, source: io::Error },
    #[error("{path:?} has more extended attributes than an EROFS image can hold")]
    Attributes { path: String },
    #[error("the files have more holes than an EROFS image can hold")]
    Holes,
    #[error("the files are larger than an EROFS image can be")]
    TooLarge,
    #[error("cannot write the image")]
    Write(#[from] io::Error),
}

impl WriteError {
    fn read(operation: &'static str, path: &[u8], source: impl Into<io::Error>) -> Self {
        Self::Read { operation, path: String::from_utf8_lossy(path).into_owned(), source: source.into() }
    }
}

impl Classify for WriteError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Read { source, .. } | Self::Write(source) => class_of(source),
            Self::Attributes { .. } | Self::Holes | Self::TooLarge => ErrorClass::ResourceExhausted,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Attributes { .. } | Self::Holes | Self::TooLarge => {
                Some("run it with --isolation process".to_owned())
            }
            Self::Read { .. } | Self::Write(_) => None,
        }
    }
}

/// Whether files are looked at for holes, which costs reading them once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holes {
    /// They become zeros.
    Filled,
    /// Those of large files stay holes.
    Kept,
}

/// Writes the directory into the empty file and returns its length.
pub(crate) fn write(directory: &OwnedFd, to: &File, holes: Holes) -> Result<u64, WriteError> {
    let tree = Tree::gather(directory, holes)?;
    let layout = Layout::of(&tree)?;
    write::write(directory, &tree, &layout, to)
}

#[cfg(test)]
mod tests;
