//! EROFS images of layers, for utility VMs: made by `mkfs.erofs` from the same
//! directory that overlayfs uses on the host, once, when first asked for.
//!
//! Uncompressed, as a guest without hardware virtualization reads that about
//! four times as fast as lz4; and the same bytes for the same layer: neither the
//! time of the build nor a random UUID gets in.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use casemate_model::{Classify, Digest, ErrorClass};
use rustix::fs::{FlockOperation, flock};

use super::Store;
use crate::disk::{DiskError, class_of, sync_parent};

/// The block size of EROFS on all machines, and what its length is padded to.
const BLOCK: u64 = 4096;

/// Where distributions have the program.
const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// `-T` would give every file this time (in erofs-utils 1.5 there is no way to
/// prevent it); SOURCE_DATE_EPOCH gives it to the image as a whole, and to files
/// only if they are newer. So it is the latest time an unpacked file can have:
/// 2262, the end of nanoseconds in 64 bits.
const LATEST_TIME: &str = "9223372036";

/// The image's place, not its content, tells images apart.
const NO_UUID: &str = "00000000-0000-0000-0000-000000000000";

/// From that much on holes are worth a chunk map; mkfs.erofs writes them out as
/// zeros otherwise.
const CHUNK_FROM_HOLES: u64 = 16 << 20;
/// Holes are found by chunks of this size, in bytes.
const CHUNK: &str = "65536";
/// mkfs.erofs 1.5 reads every byte of a hole (some hundred MB/s); a layer with
/// more of them would keep it busy for hours.
const MAX_HOLES: u64 = 256 << 30;

#[derive(Debug, thiserror::Error)]
pub enum ErofsError {
    #[error("mkfs.erofs is not installed")]
    NotInstalled,
    #[error("cannot run mkfs.erofs")]
    Run(#[source] io::Error),
    #[error("mkfs.erofs failed for the layer {diff_id} ({status}): {message}")]
    Failed { diff_id: Digest, status: std::process::ExitStatus, message: String },
    #[error("there is no layer {diff_id}")]
    NoLayer { diff_id: Digest },
    #[error("the files of the layer {diff_id} have {holes} bytes of holes, too many for an EROFS image")]
    TooSparse { diff_id: Digest, holes: u64 },
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl Classify for ErofsError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::NotInstalled => ErrorClass::Unavailable,
            Self::Run(source) => class_of(source),
            Self::Failed { .. } => ErrorClass::Internal,
            Self::NoLayer { .. } => ErrorClass::NotFound,
            Self::TooSparse { .. } => ErrorClass::ResourceExhausted,
            Self::Disk(source) => source.class(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NotInstalled => Some("apt-get install erofs-utils".to_owned()),
            Self::TooSparse { .. } => Some("run it with --isolation process".to_owned()),
            _ => None,
        }
    }
}

/// A read-only file for the engine, which opens it and passes it on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErofsImage {
    pub path: PathBuf,
    /// In bytes; a multiple of 4096.
    pub size: u64,
}

impl Store {
    /// The layer's EROFS image. The first call makes it, which takes as long as
    /// reading the layer; calls at the same time wait for one to do so.
    pub fn erofs(&self, diff_id: &Digest) -> Result<ErofsImage, ErofsError> {
        let path = self.layer(diff_id).join("layer.erofs");
        if let Some(image) = existing(&path)? {
            return Ok(image);
        }
        let _building = self.lock_build(diff_id)?;
        if let Some(image) = existing(&path)? {
            return Ok(image);
        }
        let staging = self.stage()?;
        let made = staging.path().join("layer.erofs");
        self.make_erofs(diff_id, &made, staging.path())?;
        let size = finish(&made)?;
        fs::rename(&made, &path).map_err(|e| DiskError::new("put in place", &path, e))?;
        sync_parent(&path)?;
        Ok(ErofsImage { path, size })
    }

    fn lock_build(&self, diff_id: &Digest) -> Result<File, ErofsError> {
        let path = self.layer(diff_id).join("erofs.lock");
        let lock = match File::options().write(true).create(true).truncate(false).mode(0o600).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(ErofsError::NoLayer { diff_id: diff_id.clone() });
            }
            result => result.map_err(|e| DiskError::new("open", &path, e))?,
        };
        flock(&lock, FlockOperation::LockExclusive).map_err(|e| DiskError::new("lock", &path, e))?;
        Ok(lock)
    }

    fn make_erofs(&self, diff_id: &Digest, to: &Path, scratch: &Path) -> Result<(), ErofsError> {
        let holes = self.layer_record(diff_id)?.holes;
        if holes > MAX_HOLES {
            return Err(ErofsError::TooSparse { diff_id: diff_id.clone(), holes });
        }
        let mut command = Command::new(self.mkfs);
        command.args(["--quiet", "-U", NO_UUID]);
        if holes >= CHUNK_FROM_HOLES {
            command.arg(format!("--chunksize={CHUNK}"));
        }
        let output = command
            .arg(to)
            .arg(self.layer_dir(diff_id))
            .env_clear()
            .env("PATH", SEARCH_PATH)
            .env("SOURCE_DATE_EPOCH", LATEST_TIME)
            .env("TMPDIR", scratch)
            .stdin(Stdio::null())
            .output();
        let output = match output {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(ErofsError::NotInstalled),
            result => result.map_err(ErofsError::Run)?,
        };
        if output.status.success() {
            return Ok(());
        }
        let message = last_line(&output.stderr).or_else(|| last_line(&output.stdout)).unwrap_or_default();
        Err(ErofsError::Failed { diff_id: diff_id.clone(), status: output.status, message })
    }
}

fn existing(path: &Path) -> Result<Option<ErofsImage>, DiskError> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(ErofsImage { path: path.to_owned(), size: metadata.size() })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(DiskError::new("look at", path, error)),
    }
}

/// Pads, closes to other users, and syncs.
fn finish(path: &Path) -> Result<u64, DiskError> {
    let finished = || -> io::Result<u64> {
        let file = File::options().write(true).open(path)?;
        let size = file.metadata()?.len().next_multiple_of(BLOCK);
        file.set_len(size)?;
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
        file.sync_all()?;
        Ok(size)
    };
    finished().map_err(|e| DiskError::new("finish", path, e))
}

fn last_line(output: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(output);
    text.lines().rev().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::io::Write;
    use std::os::fd::{AsRawFd, OwnedFd};

    use rustix::mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount,
        fsopen,
    };
    use tar::EntryType;

    use crate::fixture::{
        Description, Item, SampleImage, archive, describe, directory, docker_files, file, hard_link, not_root, symlink,
        tar,
    };
    use crate::store::tests::Home;

    /// False, with a line that says so, if the host cannot run this test.
    fn can_run() -> bool {
        let installed = Command::new("mkfs.erofs").arg("--help").output().is_ok();
        if !installed {
            let _ = io::stderr().write_all(b"skipped: needs mkfs.erofs (erofs-utils)\n");
        }
        installed && !not_root()
    }

    fn load(home: &Home, layer: Vec<u8>) -> Digest {
        let image = SampleImage::new(&[layer], |bytes| bytes.to_vec());
        home.load(&archive(&docker_files(&[(&image, &["app"])]))).unwrap();
        image.diff_id(0)
    }

    /// Everything a layer can hold.
    fn full_layer() -> Vec<u8> {
        let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let attributes: &[(&str, &[u8])] =
            &[("SCHILY.xattr.user.binary", b"\0a\n"), ("mtime", b"1700000000.123456789")];
        let executable: &[(&str, &[u8])] = &[("SCHILY.xattr.security.capability", &capability)];
        let content: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        let many: Vec<String> = (0..300).map(|index| format!("many/file-{index:03}")).collect();
        let mut items = vec![
            Item { mode: 0o1777, owner: (1, 2), ..directory("./") },
            Item { mode: 0o2755, owner: (70_000, 3_000_000), pax: attributes, ..directory("dir") },
            Item { mode: 0o4755, mtime: 1, pax: executable, ..file("dir/large", &content) },
            Item { mtime: 9_000_000_000, pax: attributes, ..file("dir/small", b"small") },
            hard_link("dir/same", "dir/large"),
            symlink("link", "dir/large"),
            Item { kind: EntryType::Char, device: (1, 3), mode: 0o666, ..file("null", b"") },
            Item { kind: EntryType::Block, device: (259, 70_000), ..file("disk", b"") },
            Item { kind: EntryType::Fifo, ..file("pipe", b"") },
            file("dir/.wh.gone", b""),
            file("opaque/.wh..wh..opq", b""),
            directory("many"),
        ];
        items.extend(many.iter().map(|path| file(path, path.as_bytes())));
        tar(&items)
    }

    /// Mounts the image without a loop device, for this process's eyes only.
    /// None, with the reason, if the kernel does not do that.
    fn mount(image: &Path) -> Option<OwnedFd> {
        let mounted = fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC).and_then(|context| {
            fsconfig_set_string(&context, "source", image)?;
            fsconfig_set_flag(&context, "ro")?;
            fsconfig_create(&context)?;
            fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_RDONLY)
        });
        let reason = |e| format!("skipped in part: this kernel does not mount an EROFS file without a device: {e}\n");
        mounted.map_err(|e| io::stderr().write_all(reason(e).as_bytes())).ok()
    }

    fn extracted(image: &Path, scratch: &Path) -> BTreeMap<String, Description> {
        let to = scratch.join("extracted");
        let output = Command::new("fsck.erofs").arg(format!("--extract={}", to.display())).arg(image).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        describe(&to)
    }

    #[test]
    fn the_image_holds_what_the_directory_holds() {
        if !can_run() {
            return;
        }
        let home = Home::new();
        let layer = load(&home, full_layer());
        let image = home.store.erofs(&layer).unwrap();
        let metadata = image.path.metadata().unwrap();
        assert_eq!((metadata.mode() & 0o7777, metadata.len() % BLOCK, metadata.len()), (0o600, 0, image.size));
        let expected = describe(&home.store.layer_dir(&layer));
        assert_eq!(expected["dir/gone"].kind, "device 2 0");
        if let Some(mounted) = mount(&image.path) {
            assert_eq!(describe(Path::new(&format!("/proc/self/fd/{}", mounted.as_raw_fd()))), expected);
        }
        // What fsck extracts lacks attributes, and in 1.5 links are copies and
        // sockets and devices come with what mode they come.
        let scratch = tempfile::tempdir().unwrap();
        let essence = |tree: &BTreeMap<String, Description>| -> Vec<_> {
            let essence = |(path, d): (&String, &Description)| (path.clone(), d.kind.clone(), d.content, d.owner);
            tree.iter().map(essence).collect()
        };
        assert_eq!(essence(&extracted(&image.path, scratch.path())), essence(&expected));
    }

    #[test]
    fn images_are_made_once_and_are_reproducible() {
        if !can_run() {
            return;
        }
        let (one, two) = (Home::new(), Home::new());
        let layer = load(&one, full_layer());
        assert_eq!(load(&two, full_layer()), layer);
        let images: Vec<ErofsImage> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| one.store.erofs(&layer).unwrap())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(images.iter().all(|image| *image == images[0]));
        let inode = images[0].path.metadata().unwrap().ino();
        assert_eq!(one.store.erofs(&layer).unwrap().path.metadata().unwrap().ino(), inode);
        let other = two.store.erofs(&layer).unwrap();
        assert!(fs::read(&other.path).unwrap() == fs::read(&images[0].path).unwrap());
    }

    #[test]
    fn holes_do_not_become_data() {
        if !can_run() {
            return;
        }
        let home = Home::new();
        let mut content = vec![0; 20 << 20];
        content[1_000_000] = 1;
        content[20_000_001] = 2;
        let layer = load(&home, tar(&[file("sparse", &content), file("small", b"x"), directory("d")]));
        let image = home.store.erofs(&layer).unwrap();
        assert!(image.size < 2 << 20, "{}", image.size);
        let expected = describe(&home.store.layer_dir(&layer));
        if let Some(mounted) = mount(&image.path) {
            assert_eq!(describe(Path::new(&format!("/proc/self/fd/{}", mounted.as_raw_fd()))), expected);
        }
        let pax: [(&str, &[u8]); 2] = [("GNU.sparse.size", b"1099511627776"), ("GNU.sparse.map", b"0,1")];
        let huge = load(&home, tar(&[Item { pax: &pax, ..file("huge", b"x") }]));
        assert!(matches!(home.store.erofs(&huge), Err(ErofsError::TooSparse { .. })));
    }

    #[test]
    fn failures_are_told_apart() {
        if !can_run() {
            return;
        }
        let mut home = Home::new();
        let layer = load(&home, tar(&[file("a", b"a")]));
        home.store.mkfs = "mkfs.erofs-that-is-not-there";
        let error = home.store.erofs(&layer).unwrap_err();
        assert_eq!(
            (error.class(), error.hint().as_deref()),
            (ErrorClass::Unavailable, Some("apt-get install erofs-utils"))
        );
        home.store.mkfs = "false";
        assert!(matches!(home.store.erofs(&layer), Err(ErofsError::Failed { .. })));
        home.store.mkfs = "mkfs.erofs";
        let absent: Digest = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
        assert!(matches!(home.store.erofs(&absent), Err(ErofsError::NoLayer { .. })));
        assert!(home.store.erofs(&layer).is_ok());
    }
}
