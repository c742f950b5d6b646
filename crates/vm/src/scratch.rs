//! Scratch disks: empty ext4 images, made once for each size and lifetime, and
//! sparse copies of them.
//!
//! What a guest has written is never looked at on the host, not even by a
//! file system check: its bytes may be hostile. A disk that was left in the
//! middle of writes is made whole by the next guest's own kernel, from its
//! journal.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use casemate_model::{Bytes, Classify, ErrorClass};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, SeekFrom};
use rustix::io::Errno;

/// How long a scratch disk is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScratchLifetime {
    /// By one VM, and gone with it. It has no journal, and no name.
    Ephemeral,
    /// By one VM after the other, the end of each of which may come at any
    /// moment. It has a journal.
    Kept,
}

/// One container's disk.
#[derive(Debug)]
pub struct ScratchDisk {
    /// Open for reading and writing.
    pub file: File,
    /// No VM has had it yet.
    pub fresh: bool,
}

/// A file system of one size, in the cache, with nothing in it but the
/// directories that overlayfs writes to: `upper`, and `work` with its own
/// `work`. Made here they cost the guest nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScratchImage {
    path: PathBuf,
    lifetime: ScratchLifetime,
}

#[derive(Debug, thiserror::Error)]
pub enum ScratchError {
    #[error("a scratch disk of {size}: expected whole blocks of 4096 bytes, {min} to {max}", min = MINIMUM, max = MAXIMUM)]
    Size { size: Bytes },
    #[error("mkfs.ext4 is not installed")]
    MkfsMissing,
    #[error("mkfs.ext4 failed: {message}")]
    Mkfs { message: String },
    #[error("cannot {operation} {path}")]
    File { operation: &'static str, path: PathBuf, source: io::Error },
}

impl Classify for ScratchError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Size { .. } => ErrorClass::InvalidArgument,
            Self::MkfsMissing => ErrorClass::Unavailable,
            Self::File { source, .. } if source.kind() == io::ErrorKind::StorageFull => ErrorClass::ResourceExhausted,
            Self::Mkfs { .. } | Self::File { .. } => ErrorClass::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::MkfsMissing => Some("apt-get install e2fsprogs".to_owned()),
            _ => None,
        }
    }
}

/// ext4 itself needs less, a container more.
const MINIMUM: Bytes = Bytes::mib(16);
/// ext4's own limit with blocks of 4096 bytes and 32-bit numbers of them.
const MAXIMUM: Bytes = Bytes(16 << 40);

const MKFS: [&str; 3] = ["/usr/sbin/mkfs.ext4", "/sbin/mkfs.ext4", "/usr/bin/mkfs.ext4"];

/// Changes with the options below: an image of older ones is not used.
const LAYOUT: u32 = 3;

/// Named one by one, so that all hosts make the same, whatever their
/// `mke2fs.conf` says. No checksums: they cost the guest's processor and
/// protect from no one.
const FEATURES: &str = "none,dir_index,dir_nlink,ext_attr,extent,extra_isize,filetype,flex_bg,huge_file,large_file,\
                        sparse_super,uninit_bg";

/// A journal's least length (`JBD2_MIN_JOURNAL_BLOCKS` of the kernel).
const LEAST_JOURNAL: Bytes = Bytes::mib(4);
/// A longer one defers more writes to their places; but all of it comes to lie
/// on the host's disk when it is used.
const MOST_JOURNAL: Bytes = Bytes::mib(32);
/// Of the disk that a journal may take.
const JOURNAL_SHARE: u64 = 16;

/// Every container's disk has the same, and sees no other.
const UUID: &str = "63617365-6d61-7465-8000-000000000001";

impl ScratchLifetime {
    fn name(self) -> &'static str {
        match self {
            Self::Ephemeral => "ephemeral",
            Self::Kept => "kept",
        }
    }

    fn journal(self, disk: Bytes) -> Option<Bytes> {
        match self {
            Self::Ephemeral => None,
            Self::Kept => Some(Bytes((disk.0 / JOURNAL_SHARE).clamp(LEAST_JOURNAL.0, MOST_JOURNAL.0))),
        }
    }
}

impl ScratchImage {
    /// The image for `size` and `lifetime` in `cache_dir`, made if it is not
    /// there. Any number of processes may do this at once.
    ///
    /// # Errors
    /// If `mkfs.ext4` is missing or fails, or the directory cannot be written.
    pub fn prepare(cache_dir: &Path, size: Bytes, lifetime: ScratchLifetime) -> Result<Self, ScratchError> {
        if size < MINIMUM || size > MAXIMUM || !size.0.is_multiple_of(4096) {
            return Err(ScratchError::Size { size });
        }
        let path = cache_dir.join(format!("scratch-{LAYOUT}-{}-{}.ext4", lifetime.name(), size.0));
        if !path.exists() {
            make(cache_dir, &path, size, lifetime)?;
        }
        Ok(Self { path, lifetime })
    }

    /// One container's disk, readable by its owner only: the one at `path`, if
    /// a VM before this one has left a [kept](ScratchLifetime::Kept) one there,
    /// whatever its size; a new copy of this image otherwise, which comes to lie
    /// there if it is one to keep, whole or not at all.
    ///
    /// A copy shares the image's blocks where the file system can; otherwise
    /// those that hold data are copied, which for an empty one are few.
    pub fn disk_at(&self, path: &Path) -> Result<ScratchDisk, ScratchError> {
        match File::options().read(true).write(true).open(path) {
            Ok(file) => return Ok(ScratchDisk { file, fresh: false }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed("open", path)(error)),
        }
        let source = File::open(&self.path).map_err(failed("open", &self.path))?;
        let file = nameless(path.parent().unwrap_or(Path::new("/")))?;
        copy_sparsely(&source, &file).map_err(failed("copy to", path))?;
        if self.lifetime == ScratchLifetime::Kept {
            name(&file, path).map_err(|errno| failed("name", path)(errno.into()))?;
        }
        Ok(ScratchDisk { file, fresh: true })
    }
}

/// Makes the image without a name, and names it when it is whole.
fn make(directory: &Path, path: &Path, size: Bytes, lifetime: ScratchLifetime) -> Result<(), ScratchError> {
    let image = nameless(directory)?;
    image.set_len(size.0).map_err(failed("extend", path))?;
    let tree = tempfile::tempdir_in(directory).map_err(failed("make a directory in", directory))?;
    make_tree(tree.path()).map_err(failed("fill", tree.path()))?;
    mkfs(&handle(&image), tree.path(), lifetime.journal(size))?;
    match name(&image, path) {
        // Another process was quicker, with the same content.
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(failed("name", path)(errno.into())),
    }
}

fn make_tree(root: &Path) -> io::Result<()> {
    let directory = |path: PathBuf, mode| {
        fs::create_dir(&path)?;
        fs::set_permissions(path, Permissions::from_mode(mode))
    };
    fs::set_permissions(root, Permissions::from_mode(0o755))?;
    directory(root.join("upper"), 0o755)?;
    directory(root.join("work"), 0o755)?;
    // As overlayfs makes it.
    directory(root.join("work/work"), 0)
}

/// A file that goes with its last descriptor unless it is named.
fn nameless(directory: &Path) -> Result<File, ScratchError> {
    let mode = Mode::from_raw_mode(0o600);
    rustix::fs::open(directory, OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, mode)
        .map(File::from)
        .map_err(|errno| failed("make a file in", directory)(errno.into()))
}

fn name(file: &File, path: &Path) -> Result<(), Errno> {
    rustix::fs::linkat(CWD, handle(file).as_str(), CWD, path, AtFlags::SYMLINK_FOLLOW)
}

/// This process's own entry: a child's `/proc/self` would be another.
fn handle(file: &File) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd())
}

fn mkfs(path: &str, tree: &Path, journal: Option<Bytes>) -> Result<(), ScratchError> {
    let program = MKFS.iter().find(|path| Path::new(path).exists()).ok_or(ScratchError::MkfsMissing)?;
    // The inode tables are zeroed now, which in a new file is a hole and costs
    // nothing: the guest's kernel would otherwise write the zeros while the
    // container runs, and make the file grow. The journal's zeros are there
    // already.
    let extended = "lazy_itable_init=0,lazy_journal_init=1,hash_seed=63617365-6d61-7465-8000-000000000002";
    let mut features = FEATURES.to_owned();
    let mut command = Command::new(program);
    if let Some(Bytes(length)) = journal {
        features.push_str(",has_journal");
        command.arg("-J").arg(format!("size={}", length / Bytes::MIB));
    }
    let output = command
        .args(["-q", "-F", "-b", "4096", "-I", "256", "-m", "0", "-O", &features, "-U", UUID, "-E", extended])
        .arg("-d")
        .arg(tree)
        .arg(path)
        .env_clear()
        // Else features and sizes of the host's configuration are added.
        .env("MKE2FS_CONFIG", "/dev/null")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .map_err(failed("run", Path::new(program)))?;
    if output.status.success() {
        return Ok(());
    }
    let message = String::from_utf8_lossy(&output.stderr);
    Err(ScratchError::Mkfs { message: message.trim().lines().last().unwrap_or("no message").to_owned() })
}

fn copy_sparsely(source: &File, copy: &File) -> io::Result<()> {
    match rustix::fs::ioctl_ficlone(copy, source) {
        Ok(()) => return Ok(()),
        // Not on this file system, or not between these two.
        Err(Errno::OPNOTSUPP | Errno::XDEV | Errno::INVAL | Errno::NOTTY | Errno::NOSYS | Errno::TXTBSY) => {}
        Err(errno) => return Err(errno.into()),
    }
    let length = source.metadata()?.len();
    copy.set_len(length)?;
    let mut position = 0;
    while position < length {
        let start = match rustix::fs::seek(source, SeekFrom::Data(position)) {
            Ok(start) => start,
            // No data from here to the end.
            Err(Errno::NXIO) => break,
            Err(errno) => return Err(errno.into()),
        };
        let end = rustix::fs::seek(source, SeekFrom::Hole(start))?;
        copy_range(source, copy, start, end)?;
        position = end;
    }
    Ok(())
}

fn copy_range(source: &File, copy: &File, start: u64, end: u64) -> io::Result<()> {
    let (mut from, mut to) = (start, start);
    while from < end {
        let length = usize::try_from(end - from).unwrap_or(usize::MAX);
        let copied = rustix::fs::copy_file_range(source.as_fd(), Some(&mut from), copy.as_fd(), Some(&mut to), length)?;
        if copied == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

fn failed(operation: &'static str, path: &Path) -> impl Fn(io::Error) -> ScratchError {
    move |source| ScratchError::File { operation, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests;
