//! What is in a container's `/dev`.

use std::os::fd::BorrowedFd;

use casemate_model::DeviceKind;
use casemate_tree::beneath::{Wanted, open_or_make};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, Uid, chownat, makedev, mknodat, symlink};
use rustix::io::Errno;

use crate::device::DeviceNode;
use crate::error::SetupStep;
use crate::report::{AtStep, StepResult};

const NODES: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

const LINKS: [(&str, &str); 5] = [
    ("pts/ptmx", "/dev/ptmx"),
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
];

/// Fills the fresh `/dev`. With a umask of zero.
pub(crate) fn make() -> StepResult<()> {
    for (path, major, minor) in NODES {
        mknodat(CWD, path, FileType::CharacterDevice, Mode::from_raw_mode(0o666), makedev(major, minor))
            .at(SetupStep::MakeDevice, path)?;
    }
    for (target, path) in LINKS {
        symlink(target, path).at(SetupStep::MakeFile, path)?;
    }
    // As Docker has it, where the kernel has such a file.
    if rustix::fs::stat(c"/proc/kcore").is_ok() {
        symlink("/proc/kcore", "/dev/core").at(SetupStep::MakeFile, "/dev/core")?;
    }
    Ok(())
}

/// Makes the nodes that were asked for, where the container is to find them.
/// Where something is already, that is left, as runc does.
pub(crate) fn add(root: BorrowedFd<'_>, nodes: &[DeviceNode]) -> StepResult<()> {
    nodes.iter().try_for_each(|node| add_one(root, node))
}

fn add_one(root: BorrowedFd<'_>, node: &DeviceNode) -> StepResult<()> {
    let path = node.path.trim_end_matches('/');
    let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
    let directory = if directory.is_empty() { "/" } else { directory };
    let directory = open_or_make(root, directory, Wanted::Directory).at(SetupStep::MakeDirectory, directory)?;
    let kind = if node.kind == DeviceKind::Block { FileType::BlockDevice } else { FileType::CharacterDevice };
    let number = makedev(node.major, node.minor);
    match mknodat(&directory, name, kind, Mode::from_raw_mode(node.mode), number) {
        Err(Errno::EXIST) => return Ok(()),
        other => other.at(SetupStep::MakeDevice, path)?,
    }
    let (uid, gid) = (Uid::from_raw(node.uid), Gid::from_raw(node.gid));
    chownat(&directory, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).at(SetupStep::MakeDevice, path)
}
