//! The walls around the VM process, as the host makes them: a root of its own
//! that holds QEMU and nothing else, a user of its own, its cgroups.
//!
//! The root is a small read-only tmpfs with QEMU, the libraries and firmware it
//! loads, the guest's kernel and its initramfs, each mounted read-only; there
//! is no `/proc`, `/sys`, shell, or any place to write; `/etc` holds the
//! loader's cache alone, and `/dev` is `null`, and `kvm` where that is used. It is put together
//! beside the host's tree, and first attached in the mount namespace of the
//! process it is for: the host's mount table never shows it.

use std::ffi::{CString, OsString};
use std::fs;
use std::io;
use std::num::NonZeroU32;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use casemate_model::{Classify, ErrorClass};
use rustix::fs::{CWD, FileType, Gid, Mode, OFlags, Uid};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags};

use crate::accelerator::{self, Accelerator, KVM_DEVICE};
use crate::sys::{self, Cgroups, Mount, Restrictions};

/// Who the VM process is on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jail {
    /// A number that no other process has; it needs no entry in `/etc/passwd`.
    pub uid: NonZeroU32,
    pub gid: NonZeroU32,
    /// Directories of the cgroups to join: one for cgroup v2, one for each
    /// controller for v1. They must exist.
    pub cgroups: Vec<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum JailError {
    #[error("{path} does not exist")]
    Missing { path: PathBuf },
    #[error("cannot {operation} {path} for the virtual machine's root")]
    Root { operation: &'static str, path: PathBuf, source: io::Error },
    #[error("cannot make the virtual machine's root: {operation}")]
    Filesystem { operation: &'static str, source: io::Error },
    #[error("cannot open {path}")]
    Cgroup { path: PathBuf, source: io::Error },
}

impl Classify for JailError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Missing { .. } => ErrorClass::Unavailable,
            Self::Root { .. } | Self::Filesystem { .. } | Self::Cgroup { .. } => ErrorClass::Internal,
        }
    }
}

/// Where the guest's kernel is in the jail.
pub(crate) const KERNEL: &str = "/kernel";
/// Where its initramfs is.
pub(crate) const INITRD: &str = "/initrd";

/// The finished root, attached nowhere yet.
pub(crate) struct Root {
    pub(crate) tmpfs: OwnedFd,
    pub(crate) mounts: Vec<Mount>,
}

/// Nothing is written once the root is made; this much holds its directories,
/// which take no pages, and is the smallest size there is.
const TMPFS_SIZE: &str = "4096";
/// Directories, mount points and links; a dozen are used.
const TMPFS_INODES: &str = "64";

impl Root {
    pub(crate) fn make(
        qemu: &Path,
        kernel: &Path,
        initrd: &Path,
        accelerator: Accelerator,
        jail: &Jail,
    ) -> Result<Self, JailError> {
        let tmpfs = make_tmpfs().map_err(|source| JailError::Filesystem { operation: "mount a tmpfs", source })?;
        let mut root = Self { tmpfs, mounts: Vec::new() };
        let program = Restrictions { no_exec: false, no_device: true };
        let data = Restrictions { no_exec: true, no_device: true };

        root.bind(qemu, qemu, program)?;
        root.bind(kernel, Path::new(KERNEL), data)?;
        root.bind(initrd, Path::new(INITRD), data)?;
        for directory in library_directories(qemu) {
            root.bind_or_link(&directory, program)?;
        }
        for path in data_paths(qemu) {
            root.bind_or_link(&path, data)?;
        }
        // QEMU tries out file locks on it.
        let null = Path::new("/dev/null");
        root.bind(null, null, Restrictions { no_exec: true, no_device: false })?;
        let with_kvm = accelerator == Accelerator::Kvm;
        if with_kvm {
            root.add_kvm(jail)?;
        }
        sys::restrict(root.tmpfs.as_fd(), Restrictions { no_exec: true, no_device: !with_kvm })
            .map_err(|source| JailError::Filesystem { operation: "make it read-only", source })?;
        Ok(root)
    }

    /// Mounts what `source` is at `target`, read-only.
    fn bind(&mut self, source: &Path, target: &Path, restrictions: Restrictions) -> Result<(), JailError> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree = rustix::mount::open_tree(CWD, source, flags).map_err(|errno| match errno {
            rustix::io::Errno::NOENT => JailError::Missing { path: source.to_owned() },
            errno => root_error("open", source)(errno.into()),
        })?;
        sys::restrict(tree.as_fd(), restrictions).map_err(root_error("restrict", source))?;
        let is_directory = fs::metadata(source).map_err(root_error("look at", source))?.is_dir();
        let relative = self.make_mount_point(target, is_directory).map_err(root_error("make", target))?;
        self.mounts.push(Mount { tree, target: relative });
        Ok(())
    }

    /// For paths that need not exist, and that a merged `/usr` has as links:
    /// those are made again as they are.
    fn bind_or_link(&mut self, path: &Path, restrictions: Restrictions) -> Result<(), JailError> {
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(root_error("look at", path)(error)),
            Ok(metadata) if metadata.is_symlink() => {
                let target = fs::read_link(path).map_err(root_error("read", path))?;
                let name = relative(path).map_err(root_error("make", path))?;
                rustix::fs::symlinkat(&target, &self.tmpfs, name).map_err(|e| root_error("link", path)(e.into()))
            }
            Ok(_) => self.bind(path, path, restrictions),
        }
    }

    /// An empty file or directory to mount on, and the directories above it.
    fn make_mount_point(&self, target: &Path, is_directory: bool) -> io::Result<CString> {
        let mut path = PathBuf::new();
        let mut components = target.components().filter(|c| matches!(c, Component::Normal(_))).peekable();
        while let Some(component) = components.next() {
            path.push(component);
            let made = if components.peek().is_some() || is_directory {
                rustix::fs::mkdirat(&self.tmpfs, &path, Mode::from_raw_mode(0o755))
            } else {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
                rustix::fs::openat(&self.tmpfs, &path, flags, Mode::from_raw_mode(0o444)).map(drop)
            };
            match made {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        relative(target)
    }

    /// A node of its own, since the host's belongs to root and a group that
    /// may open it for every VM.
    fn add_kvm(&self, jail: &Jail) -> Result<(), JailError> {
        let path = Path::new(KVM_DEVICE);
        let number = accelerator::kvm_device_number().map_err(root_error("look at", path))?;
        let name = relative(path).map_err(root_error("make", path))?;
        let make = || -> io::Result<()> {
            let mode = Mode::from_raw_mode(0o600);
            rustix::fs::mknodat(&self.tmpfs, name.as_c_str(), FileType::CharacterDevice, mode, number)?;
            let (uid, gid) = (Uid::from_raw(jail.uid.get()), Gid::from_raw(jail.gid.get()));
            let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
            Ok(rustix::fs::chownat(&self.tmpfs, name.as_c_str(), Some(uid), Some(gid), flags)?)
        };
        make().map_err(root_error("make", path))
    }
}

fn make_tmpfs() -> io::Result<OwnedFd> {
    use rustix::mount::{fsconfig_create, fsconfig_set_string, fsmount, fsopen};
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let context: BorrowedFd<'_> = context.as_fd();
    fsconfig_set_string(context, "size", TMPFS_SIZE)?;
    fsconfig_set_string(context, "nr_inodes", TMPFS_INODES)?;
    fsconfig_set_string(context, "mode", "0755")?;
    fsconfig_create(context)?;
    Ok(fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?)
}

/// Directories of shared libraries and QEMU's modules.
fn library_directories(qemu: &Path) -> Vec<PathBuf> {
    let mut directories: Vec<PathBuf> = ["/usr/lib", "/usr/lib64", "/lib", "/lib64"].map(PathBuf::from).into();
    if let Some(prefix) = own_prefix(qemu) {
        directories.extend(["lib", "lib64"].map(|name| prefix.join(name)));
    }
    directories
}

/// Firmware, and the loader's cache of where libraries are.
fn data_paths(qemu: &Path) -> Vec<PathBuf> {
    let mut paths = vec![PathBuf::from("/usr/share/qemu"), PathBuf::from("/etc/ld.so.cache")];
    if let Some(prefix) = own_prefix(qemu) {
        paths.push(prefix.join("share/qemu"));
    }
    paths
}

/// The installation QEMU belongs to, if it is not the distribution's.
fn own_prefix(qemu: &Path) -> Option<&Path> {
    let prefix = qemu.parent()?.parent()?;
    (prefix != Path::new("/usr") && prefix != Path::new("/")).then_some(prefix)
}

/// Opens the way into each cgroup.
pub(crate) fn open_cgroups(jail: &Jail) -> Result<Cgroups, JailError> {
    let mut cgroups = Cgroups { unified: None, procs: Vec::new() };
    for directory in &jail.cgroups {
        let failed = |path: &Path, source| JailError::Cgroup { path: path.to_owned(), source };
        let opened = fs::File::open(directory).map_err(|source| failed(directory, source))?;
        let kind = rustix::fs::fstatfs(&opened).map_err(|errno| failed(directory, errno.into()))?.f_type;
        if u64::try_from(kind) == Ok(CGROUP2_MAGIC) {
            cgroups.unified = Some(opened.into());
        } else {
            let path = directory.join("cgroup.procs");
            let procs = fs::File::options().write(true).open(&path).map_err(|source| failed(&path, source))?;
            cgroups.procs.push(procs.into());
        }
    }
    Ok(cgroups)
}

/// `CGROUP2_SUPER_MAGIC` of linux/magic.h.
const CGROUP2_MAGIC: u64 = 0x6367_7270;

fn relative(path: &Path) -> io::Result<CString> {
    let bytes = path.strip_prefix("/").unwrap_or(path).as_os_str().as_bytes();
    Ok(CString::new(bytes)?)
}

/// As an argument of exec.
pub(crate) fn c_string(text: OsString) -> io::Result<CString> {
    Ok(CString::new(text.into_vec())?)
}

fn root_error(operation: &'static str, path: &Path) -> impl Fn(io::Error) -> JailError {
    move |source| JailError::Root { operation, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distributions_qemu_needs_the_distributions_directories_only() {
        let qemu = Path::new("/usr/bin/qemu-system-x86_64");
        assert_eq!(library_directories(qemu), ["/usr/lib", "/usr/lib64", "/lib", "/lib64"].map(PathBuf::from));
        assert_eq!(data_paths(qemu), ["/usr/share/qemu", "/etc/ld.so.cache"].map(PathBuf::from));
    }

    #[test]
    fn another_installation_brings_its_own() {
        let qemu = Path::new("/opt/qemu/bin/qemu-system-x86_64");
        assert!(library_directories(qemu).contains(&PathBuf::from("/opt/qemu/lib")));
        assert!(data_paths(qemu).contains(&PathBuf::from("/opt/qemu/share/qemu")));
    }
}
