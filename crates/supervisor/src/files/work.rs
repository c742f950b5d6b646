//! What a child does with the files, once it has them before it.

use std::io::{self, Read, Write};
use std::os::fd::{BorrowedFd, OwnedFd};

use casemate_launch::{ChildFds, ContainerRoot, LaunchError};
use casemate_model::{Container, Failure, UserSpec};
use casemate_tree::beneath::{join, open_in, resolve};
use casemate_tree::{
    ChangeKind, CopyRules, Layers, Limits, TarReader, list_changes, pack, pack_below, pack_layer, unpack_copy,
};
use casemate_wire::{Change, CopyIn, PathStat, report};
use rustix::fs::{FileType, OFlags, Stat, fstat};

use super::error::FilesError;
use super::path::{base, clean, clean_with_end};

/// An archive comes from who may do anything in the container. What it may not
/// is to fill this program's memory.
const LIMITS: Limits = Limits { entries: u64::MAX, bytes: u64::MAX, directory_names: 64 << 20 };

/// The child's side of the pipes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Talk<'a> {
    fds: ChildFds<'a>,
}

/// The data's.
#[derive(Clone, Copy, Debug)]
struct Data<'a>(BorrowedFd<'a>);

impl<'a> Talk<'a> {
    pub(super) fn new(fds: ChildFds<'a>) -> Self {
        Self { fds }
    }

    /// Does the work and reports how it ended.
    pub(super) fn about<T>(
        self,
        subject: Result<T, LaunchError>,
        work: impl FnOnce(&T, Self) -> Result<(), FilesError>,
    ) {
        let outcome = subject.map_err(FilesError::from).and_then(|subject| work(&subject, self));
        self.tell(&report::ended(outcome.map_err(|error| Failure::from_error(&error))));
    }

    fn begun(self, stat: Option<PathStat>) {
        self.tell(&report::begun(stat));
    }

    fn data(self) -> Data<'a> {
        Data(self.fds.data)
    }

    /// A parent that is gone does not need it.
    fn tell(self, message: &[u8]) {
        let _ = Data(self.fds.report).write_all(message);
    }
}

impl Read for Data<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(self.0, buffer)?)
    }
}

impl Write for Data<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(self.0, bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(super) fn changes(layers: &Layers, talk: Talk<'_>) -> Result<(), FilesError> {
    talk.begun(None);
    let mut out = io::BufWriter::new(talk.data());
    list_changes(layers, |kind, path| {
        let kind = match kind {
            ChangeKind::Modified => casemate_wire::ChangeKind::Modified,
            ChangeKind::Added => casemate_wire::ChangeKind::Added,
            ChangeKind::Deleted => casemate_wire::ChangeKind::Deleted,
        };
        out.write_all(&Change::to_record(kind, path))
    })?;
    out.flush().map_err(FilesError::Stream)
}

pub(super) fn layer(layers: &Layers, talk: Talk<'_>) -> Result<(), FilesError> {
    talk.begun(None);
    Ok(pack_layer(layers, talk.data())?)
}

pub(super) fn export(root: &ContainerRoot, talk: Talk<'_>) -> Result<(), FilesError> {
    talk.begun(None);
    Ok(pack_below(root.directory(), talk.data())?)
}

pub(super) fn stat(root: &ContainerRoot, container: &Container, path: &str, talk: Talk<'_>) -> Result<(), FilesError> {
    let (_, stat) = look(root, container, path, path)?;
    talk.begun(Some(stat));
    Ok(())
}

/// The file's own name becomes the first of the archive's, or nothing for the
/// root.
pub(super) fn copy_out(
    root: &ContainerRoot,
    container: &Container,
    path: &str,
    talk: Talk<'_>,
) -> Result<(), FilesError> {
    let absolute = clean_with_end(path);
    let (file, stat) = look(root, container, &absolute, path)?;
    talk.begun(Some(stat));
    let name = match base(&absolute) {
        "/" => "",
        name => name,
    };
    Ok(pack(file, name.as_bytes(), talk.data())?)
}

pub(super) fn copy_in(
    root: &ContainerRoot,
    container: &Container,
    copy: &CopyIn,
    talk: Talk<'_>,
) -> Result<(), FilesError> {
    let CopyIn { path, no_overwrite_dir_non_dir, copy_uid_gid } = copy;
    let absolute = clean(path);
    let failed = FilesError::look(path, container.id.as_str());
    let directory = open_in(root.directory(), absolute.as_bytes(), OFlags::PATH).map_err(&failed)?;
    if kind(&fstat(&directory).map_err(&failed)?) != FileType::Directory {
        return Err(FilesError::NoDirectory);
    }
    if container.read_only {
        return Err(FilesError::ReadOnly);
    }
    let names = resolve(root.directory(), absolute.as_bytes()).map_err(&failed)?;
    let user = &container.init.user;
    let owner = (*copy_uid_gid && *user != UserSpec::default()).then(|| root.owner(user)).transpose()?;
    let rules = CopyRules {
        no_overwrite_dir_non_dir: *no_overwrite_dir_non_dir,
        owner,
        destination: format!("/{}", String::from_utf8_lossy(&join(&names))),
    };
    talk.begun(None);
    let mut tar = TarReader::new(io::BufReader::with_capacity(64 << 10, talk.data()));
    unpack_copy(&mut tar, directory, &rules, &LIMITS)?;
    // Whoever sends it may have filled it up.
    io::copy(&mut tar.into_inner(), &mut io::sink()).map_err(FilesError::Stream)?;
    Ok(())
}

/// Finds a file, itself if it is a link, unless the path says that it is a
/// directory.
fn look(
    root: &ContainerRoot,
    container: &Container,
    path: &str,
    asked: &str,
) -> Result<(OwnedFd, PathStat), FilesError> {
    let failed = FilesError::look(asked, container.id.as_str());
    let file = open_in(root.directory(), path.as_bytes(), OFlags::PATH | OFlags::NOFOLLOW).map_err(&failed)?;
    let stat = fstat(&file).map_err(&failed)?;
    let link_target = match kind(&stat) {
        FileType::Symlink => {
            let names = resolve(root.directory(), path.as_bytes()).map_err(&failed)?;
            format!("/{}", String::from_utf8_lossy(&join(&names)))
        }
        _ => String::new(),
    };
    let stat = PathStat {
        name: base(path).to_owned(),
        size: u64::try_from(stat.st_size).unwrap_or_default(),
        mode: stat.st_mode,
        mtime: (stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or_default()),
        link_target,
    };
    Ok((file, stat))
}

fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}
