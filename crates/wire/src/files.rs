//! The part of the vocabulary that is about a container's files.
//!
//! What is asked of a container that is not running is asked of a keeper that
//! was given it with `open_files` instead of `create`: it prepares the container
//! in the same way and never starts it.

use casemate_model::Failure;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::client::CallError;
use crate::convert::{InvalidMessage, no_null};
use crate::message as written;
use crate::vocabulary::Create;

/// Longer than any path the kernel takes.
const MAX_PATH: usize = 4096;

/// A file, as Docker's `X-Docker-Container-Path-Stat` tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathStat {
    /// The last part of the path that was asked for.
    pub name: String,
    /// In bytes.
    pub size: u64,
    /// Kind and permissions, as `st_mode` has them.
    pub mode: u32,
    /// Seconds since 1970, and nanoseconds.
    pub mtime: (i64, u32),
    /// Of a symbolic link: what it leads to in the end, from the root.
    pub link_target: String,
}

/// An archive to unpack in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyIn {
    /// A directory.
    pub path: String,
    /// A directory is not replaced by anything else, nor the other way round.
    pub no_overwrite_dir_non_dir: bool,
    /// The files become those of the container's user.
    pub copy_uid_gid: bool,
}

/// What there is to stream of all of a container's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileStream {
    /// What differs from the image, each as [`Change`] writes it.
    Changes,
    /// A tar stream of the whole root.
    Export,
    /// A tar stream of what the container has of its own, as a layer.
    Layer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    Modified,
    Added,
    Deleted,
}

/// A line of `diff`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub kind: ChangeKind,
    pub path: String,
}

/// Where an archive goes.
#[expect(async_fn_in_trait, reason = "single-threaded by design: no bound on the futures is wanted")]
pub trait Unpacking: AsyncWrite + Unpin {
    /// The archive is complete: waits until all of it is in its place. Dropped
    /// before, it is not, and what is there by then stays.
    async fn finish(self) -> Result<(), Failure>;
}

/// What a keeper and an agent can be asked about a container's files.
///
/// A call may wait for nothing but the files themselves. Dropping what it
/// returned gives the work up.
#[expect(async_fn_in_trait, reason = "single-threaded by design: no bound on the futures is wanted")]
pub trait Files {
    /// An error it ends with has a [`Failure`] in it.
    type Archive: AsyncRead + Unpin;
    type Unpacking: Unpacking;

    /// Prepares a container whose init is not going to be started, for what
    /// follows. Instead of `create`.
    async fn open_files(&self, create: Create) -> Result<(), Failure>;
    async fn stat_path(&self, path: String) -> Result<PathStat, Failure>;
    /// A tar stream of a file, or of a directory with all that is in it.
    async fn copy_out(&self, path: String) -> Result<(PathStat, Self::Archive), Failure>;
    /// Returns when what can be refused has been.
    async fn copy_in(&self, copy: CopyIn) -> Result<Self::Unpacking, Failure>;
    async fn stream_files(&self, what: FileStream) -> Result<Self::Archive, Failure>;
}

impl PathStat {
    /// The mode in the form of Go's `os.FileMode`, which is what Docker sends.
    pub fn go_mode(&self) -> u32 {
        const KIND: u32 = 0o170_000;
        let kind = match self.mode & KIND {
            0o040_000 => 1 << 31,
            0o120_000 => 1 << 27,
            0o060_000 => 1 << 26,
            0o010_000 => 1 << 25,
            0o140_000 => 1 << 24,
            0o020_000 => 1 << 26 | 1 << 21,
            0o100_000 => 0,
            // "Irregular".
            _ => 1 << 19,
        };
        let bits = [(0o4000, 23), (0o2000, 22), (0o1000, 20)];
        let special = bits.iter().filter(|(bit, _)| self.mode & bit != 0).map(|(_, go)| 1 << go);
        self.mode & 0o777 | kind | special.sum::<u32>()
    }
}

impl ChangeKind {
    fn letter(self) -> u8 {
        match self {
            Self::Modified => b'C',
            Self::Added => b'A',
            Self::Deleted => b'D',
        }
    }
}

impl Change {
    /// Its place in a stream of changes: the kind's letter, the path, a NUL.
    pub fn to_record(kind: ChangeKind, path: &[u8]) -> Vec<u8> {
        [&[kind.letter()], path, b"\0"].concat()
    }

    /// All changes of a whole stream.
    pub(crate) fn parse_all(stream: &[u8]) -> Result<Vec<Self>, InvalidMessage> {
        let Some(records) = stream.strip_suffix(b"\0") else {
            return if stream.is_empty() { Ok(Vec::new()) } else { Err(InvalidMessage::Change) };
        };
        let parse = |record: &[u8]| {
            let (kind, path) = record.split_first().ok_or(InvalidMessage::Change)?;
            let kinds = [ChangeKind::Modified, ChangeKind::Added, ChangeKind::Deleted];
            let kind = kinds.into_iter().find(|known| known.letter() == *kind).ok_or(InvalidMessage::Change)?;
            // Paths are bytes there and text in Docker's API.
            Ok(Self { kind, path: String::from_utf8_lossy(path).into_owned() })
        };
        records.split(|byte| *byte == 0).map(parse).collect()
    }
}

impl From<PathStat> for written::Response {
    fn from(stat: PathStat) -> Self {
        let PathStat { name, size, mode, mtime: (mtime_s, mtime_ns), link_target } = stat;
        Self::PathStat { name, size, mode, mtime_s, mtime_ns, link_target }
    }
}

impl TryFrom<written::Response> for PathStat {
    type Error = CallError;

    fn try_from(response: written::Response) -> Result<Self, CallError> {
        let written::Response::PathStat { name, size, mode, mtime_s, mtime_ns, link_target } = response else {
            return Err(CallError::Unexpected);
        };
        // Names go on as they are: they are asked for again.
        let cut = |text: String| text.chars().take(MAX_PATH).collect();
        let mtime = (mtime_s, mtime_ns.min(999_999_999));
        Ok(Self { name: cut(name), size, mode, mtime, link_target: cut(link_target) })
    }
}

impl From<&CopyIn> for written::FilesRequest {
    fn from(copy: &CopyIn) -> Self {
        let CopyIn { path, no_overwrite_dir_non_dir, copy_uid_gid } = copy;
        Self::CopyIn {
            path: path.clone(),
            no_overwrite_dir_non_dir: *no_overwrite_dir_non_dir,
            copy_uid_gid: *copy_uid_gid,
        }
    }
}

impl From<FileStream> for written::FilesRequest {
    fn from(what: FileStream) -> Self {
        match what {
            FileStream::Changes => Self::Changes,
            FileStream::Export => Self::Export,
            FileStream::Layer => Self::Layer,
        }
    }
}

pub(crate) fn path(path: String) -> Result<String, InvalidMessage> {
    no_null("path", path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_gos() {
        let mode =
            |mode| PathStat { name: String::new(), size: 0, mode, mtime: (0, 0), link_target: String::new() }.go_mode();
        // As Go prints `uint32(fi.Mode())` of such files.
        for (unix, go) in [
            (0o100_644, 0o644),
            (0o040_755, 0x8000_01ed),
            (0o041_777, 0x8010_01ff),
            (0o120_777, 0x0800_01ff),
            (0o104_755, 0x0080_01ed),
            (0o102_755, 0x0040_01ed),
            (0o020_666, 0x0420_01b6),
            (0o060_660, 0x0400_01b0),
            (0o010_600, 0x0200_0180),
            (0o140_600, 0x0100_0180),
        ] {
            assert_eq!(mode(unix), go, "{unix:o}");
        }
    }

    #[test]
    fn changes_come_back_and_noise_does_not() {
        let kinds = [ChangeKind::Modified, ChangeKind::Added, ChangeKind::Deleted];
        let stream: Vec<u8> = kinds.iter().flat_map(|kind| Change::to_record(*kind, b"/a\n\xff")).collect();
        let expected: Vec<Change> =
            kinds.iter().map(|kind| Change { kind: *kind, path: "/a\n\u{fffd}".to_owned() }).collect();
        assert_eq!(Change::parse_all(&stream).unwrap(), expected);
        assert_eq!(Change::parse_all(b"").unwrap(), []);
        for noise in [&b"\0"[..], b"A/a", b"X/a\0", b"A/a\0\0", b"A/a\0C"] {
            assert!(Change::parse_all(noise).is_err(), "{noise:?}");
        }
    }
}
