//! The kernel's filesystems in a container, with Docker's flags
//! (moby `oci.DefaultLinuxSpec`).
//!
//! Paths are used as they are here: the root has been entered, so they cannot
//! lead out of it; nobody else is at work in it yet; and each is checked to be
//! a real directory before (an image could make `/proc` a link to elsewhere, and
//! what is masked below `/proc` would then stay visible, CVE-2019-19921).

use std::ffi::{CStr, CString};
use std::os::fd::{BorrowedFd, OwnedFd};

use casemate_model::{Bytes, Container, Ipc};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, mkdirat, openat2};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MoveMountFlags, OpenTreeFlags, mount, move_mount, open_tree};

use crate::error::SetupStep;
use crate::report::{AtStep, StepResult};

/// Docker's size of `/dev/shm`.
const DEFAULT_SHM: Bytes = Bytes::mib(64);

/// The directories of the root that are mounted on.
pub(crate) const TARGETS: [&str; 3] = ["proc", "dev", "sys"];

/// What no kernel filesystem in a container has any use for.
pub(crate) const BARE: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);

pub(crate) fn proc_and_dev(root: BorrowedFd<'_>, container: &Container, host_shm: Option<&OwnedFd>) -> StepResult<()> {
    real_directory(root, "proc")?;
    filesystem(c"proc", "/proc", c"proc", BARE, None)?;
    real_directory(root, "dev")?;
    let flags = MountFlags::NOSUID | MountFlags::STRICTATIME;
    filesystem(c"tmpfs", "/dev", c"tmpfs", flags, Some(c"mode=755,size=65536k"))?;
    make_directory("/dev/pts")?;
    make_directory("/dev/mqueue")?;
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    filesystem(c"devpts", "/dev/pts", c"devpts", flags, Some(c"newinstance,ptmxmode=0666,mode=0620,gid=5"))?;
    filesystem(c"mqueue", "/dev/mqueue", c"mqueue", BARE, None)?;
    shared_memory(container, host_shm)
}

/// The host's own goes with its IPC namespace. One that was asked for comes
/// with the others of its kind.
fn shared_memory(container: &Container, host_shm: Option<&OwnedFd>) -> StepResult<()> {
    const SHM: &str = "/dev/shm";
    if container.namespaces.ipc == Ipc::None {
        return Ok(());
    }
    make_directory(SHM)?;
    if let Some(tree) = host_shm {
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        return move_mount(tree, c"", CWD, SHM, flags).at(SetupStep::Mount, SHM);
    }
    if container.tmpfs.iter().any(|tmpfs| tmpfs.path.trim_end_matches('/') == SHM) {
        return Ok(());
    }
    let Bytes(size) = container.shm_size.unwrap_or(DEFAULT_SHM);
    let options = CString::new(format!("mode=1777,size={size}")).map_err(|_| Errno::INVAL);
    let options = options.at(SetupStep::Mount, SHM)?;
    filesystem(c"shm", SHM, c"tmpfs", BARE, Some(&options))
}

/// The host's `/dev/shm`, attached nowhere yet: for a container that shares
/// its IPC namespace.
pub(crate) fn open_host_shm() -> StepResult<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    open_tree(CWD, c"/dev/shm", flags).at(SetupStep::Mount, "/dev/shm")
}

pub(crate) fn sys(root: BorrowedFd<'_>, writable: bool) -> StepResult<()> {
    real_directory(root, "sys")?;
    let flags = if writable { BARE } else { BARE | MountFlags::RDONLY };
    filesystem(c"sysfs", "/sys", c"sysfs", flags, None)
}

fn make_directory(path: &str) -> StepResult<()> {
    rustix::fs::mkdir(path, Mode::from_raw_mode(0o755)).at(SetupStep::MakeDirectory, path)
}

pub(crate) fn filesystem(
    source: &CStr,
    target: &str,
    kind: &CStr,
    flags: MountFlags,
    options: Option<&CStr>,
) -> StepResult<()> {
    mount(source, target, kind, flags, options).at(SetupStep::Mount, target)
}

/// Makes sure that `/name` is a directory and nothing that leads to another.
fn real_directory(root: BorrowedFd<'_>, name: &str) -> StepResult<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let check = || openat2(root, name, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH);
    let found = match check() {
        Err(Errno::NOENT) => mkdirat(root, name, Mode::from_raw_mode(0o755)).and_then(|()| check()),
        other => other,
    };
    found.map(drop).at(SetupStep::Mount, &format!("/{name}"))
}
