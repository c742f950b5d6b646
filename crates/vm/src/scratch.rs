//! Scratch disks: an empty ext4 image, made once for each size, and sparse
//! copies of it.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use casemate_model::{Bytes, Classify, ErrorClass};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, SeekFrom};
use rustix::io::Errno;

/// An empty file system of one size, in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScratchImage {
    path: PathBuf,
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
const LAYOUT: u32 = 1;

/// Named one by one, so that all hosts make the same, whatever their
/// `mke2fs.conf` says. No journal: the disk is thrown away with its container.
/// No checksums: they cost the guest's processor and protect from no one.
const FEATURES: &str = "none,dir_index,dir_nlink,ext_attr,extent,extra_isize,filetype,flex_bg,huge_file,large_file,\
                        sparse_super,uninit_bg";

/// Every container's disk has the same, and sees no other.
const UUID: &str = "63617365-6d61-7465-8000-000000000001";

impl ScratchImage {
    /// The image for `size` in `cache_dir`, made if it is not there. Any
    /// number of processes may do this at once.
    ///
    /// # Errors
    /// If `mkfs.ext4` is missing or fails, or the directory cannot be written.
    pub fn prepare(cache_dir: &Path, size: Bytes) -> Result<Self, ScratchError> {
        if size < MINIMUM || size > MAXIMUM || !size.0.is_multiple_of(4096) {
            return Err(ScratchError::Size { size });
        }
        let path = cache_dir.join(format!("scratch-{LAYOUT}-{}.ext4", size.0));
        if !path.exists() {
            make(cache_dir, &path, size)?;
        }
        Ok(Self { path })
    }

    /// A copy of its own for one container, at `path`, which must not exist:
    /// opened for reading and writing, and readable by its owner only.
    ///
    /// Shares the blocks where the file system can; otherwise copies those
    /// that hold data, which for an empty file system are few.
    pub fn copy_to(&self, path: &Path) -> Result<File, ScratchError> {
        let source = File::open(&self.path).map_err(failed("open", &self.path))?;
        let copy = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(failed("create", path))?;
        match copy_sparsely(&source, &copy) {
            Ok(()) => Ok(copy),
            Err(error) => {
                // Half a file system is of no use; the first error is the one to tell.
                let _ = fs::remove_file(path);
                Err(failed("copy to", path)(error))
            }
        }
    }
}

/// Makes the image without a name, and names it when it is whole.
fn make(directory: &Path, path: &Path, size: Bytes) -> Result<(), ScratchError> {
    let mode = Mode::from_raw_mode(0o600);
    let nameless = rustix::fs::open(directory, OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, mode)
        .map_err(|errno| failed("make a file in", directory)(errno.into()))?;
    let nameless = File::from(nameless);
    nameless.set_len(size.0).map_err(failed("extend", path))?;
    // This process's own entry: the child's `/proc/self` would be another.
    let handle = format!("/proc/{}/fd/{}", std::process::id(), nameless.as_raw_fd());
    mkfs(&handle)?;
    match rustix::fs::linkat(CWD, handle.as_str(), CWD, path, AtFlags::SYMLINK_FOLLOW) {
        // Another process was quicker, with the same content.
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(failed("name", path)(errno.into())),
    }
}

fn mkfs(path: &str) -> Result<(), ScratchError> {
    let program = MKFS.iter().find(|path| Path::new(path).exists()).ok_or(ScratchError::MkfsMissing)?;
    // The inode tables are zeroed now, which in a new file is a hole and costs
    // nothing: the guest's kernel would otherwise write the zeros while the
    // container runs, and make the file grow.
    let extended = "lazy_itable_init=0,root_owner=0:0,hash_seed=63617365-6d61-7465-8000-000000000002";
    let output = Command::new(program)
        .args(["-q", "-F", "-b", "4096", "-I", "256", "-m", "0", "-O", FEATURES, "-U", UUID, "-E", extended, path])
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
mod tests {
    use super::*;
    use std::io::{Read, Seek, Write};
    use std::os::unix::fs::MetadataExt;

    fn contents(mut file: &File) -> Vec<u8> {
        let mut bytes = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_copy_keeps_data_and_holes() {
        let directory = tempfile::tempdir().unwrap();
        let image = ScratchImage { path: directory.path().join("image") };
        let mut file = File::create_new(&image.path).unwrap();
        file.set_len(64 << 20).unwrap();
        for offset in [0u64, 5 << 20, (64 << 20) - 4096] {
            file.seek(io::SeekFrom::Start(offset)).unwrap();
            file.write_all(&[7; 4096]).unwrap();
        }
        let path = directory.path().join("copy");
        let copy = image.copy_to(&path).unwrap();
        assert!(contents(&copy) == contents(&File::open(&image.path).unwrap()));
        let metadata = copy.metadata().unwrap();
        assert!(metadata.blocks() * 512 < 1 << 20, "{} blocks", metadata.blocks());
        assert_eq!(metadata.mode() & 0o777, 0o600);
        assert!(matches!(image.copy_to(&path), Err(ScratchError::File { operation: "create", .. })));
    }

    #[test]
    fn an_empty_image_is_all_hole() {
        let directory = tempfile::tempdir().unwrap();
        let image = ScratchImage { path: directory.path().join("image") };
        File::create_new(&image.path).unwrap().set_len(1 << 20).unwrap();
        let copy = image.copy_to(&directory.path().join("copy")).unwrap();
        assert_eq!(copy.metadata().unwrap().len(), 1 << 20);
        assert_eq!(copy.metadata().unwrap().blocks(), 0);
    }

    #[test]
    fn sizes_that_are_no_disk_are_refused() {
        for size in [0, 4096, (16 << 20) + 1, u64::MAX] {
            let made = ScratchImage::prepare(Path::new("/nonexistent"), Bytes(size));
            assert!(matches!(made, Err(ScratchError::Size { .. })), "{size}");
        }
    }

    fn has_mkfs() -> bool {
        MKFS.iter().any(|path| Path::new(path).exists())
    }

    #[test]
    fn an_image_is_made_once_and_is_small() {
        if !has_mkfs() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let size = Bytes(10 * Bytes::GIB);
        let image = ScratchImage::prepare(directory.path(), size).unwrap();
        let first = fs::metadata(&image.path).unwrap();
        assert_eq!(first.len(), size.0);
        assert!(first.blocks() * 512 < 1 << 20, "{} blocks", first.blocks());
        assert_eq!(ScratchImage::prepare(directory.path(), size).unwrap(), image);
        assert_eq!(fs::metadata(&image.path).unwrap().ino(), first.ino());
        let entries = fs::read_dir(directory.path()).unwrap().count();
        assert_eq!(entries, 1);
    }

    #[test]
    fn many_at_once_agree() {
        if !has_mkfs() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let size = Bytes::mib(64);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| ScratchImage::prepare(directory.path(), size).unwrap());
            }
        });
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
