//! EROFS images of layers, for utility VMs: made from the same directory that
//! overlayfs uses on the host, once, when first asked for.
//!
//! Uncompressed, as a guest without hardware virtualization reads that about
//! four times as fast as lz4.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use casemate_model::{Classify, Digest, ErrorClass};
use rustix::fs::{FlockOperation, flock};

use super::Store;
use crate::disk::{DiskError, sync_parent};
use crate::erofs::{self, Holes, WriteError};

/// From that much on holes are worth a second look at a layer's large files.
const KEEP_HOLES_FROM: u64 = 16 << 20;

#[derive(Debug, thiserror::Error)]
pub enum ErofsError {
    #[error("there is no layer {diff_id}")]
    NoLayer { diff_id: Digest },
    #[error("cannot make an EROFS image of the layer {diff_id}")]
    Write { diff_id: Digest, source: WriteError },
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl Classify for ErofsError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::NoLayer { .. } => ErrorClass::NotFound,
            Self::Write { source, .. } => source.class(),
            Self::Disk(source) => source.class(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Write { source, .. } => source.hint(),
            Self::NoLayer { .. } | Self::Disk(_) => None,
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
        let size = self.make_erofs(diff_id, &made)?;
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

    fn make_erofs(&self, diff_id: &Digest, to: &Path) -> Result<u64, ErofsError> {
        let holes = match self.layer_record(diff_id)?.holes {
            KEEP_HOLES_FROM.. => Holes::Kept,
            _ => Holes::Filled,
        };
        let directory = self.layer_dir(diff_id);
        let directory = File::open(&directory).map_err(|e| DiskError::new("open", &directory, e))?;
        let image = File::options().write(true).create_new(true).mode(0o600).open(to);
        let image = image.map_err(|e| DiskError::new("make", to, e))?;
        let size = erofs::write(&directory.into(), &image, holes)
            .map_err(|source| ErofsError::Write { diff_id: diff_id.clone(), source })?;
        image.sync_all().map_err(|e| DiskError::new("sync", to, e))?;
        Ok(size)
    }
}

fn existing(path: &Path) -> Result<Option<ErofsImage>, DiskError> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(ErofsImage { path: path.to_owned(), size: metadata.size() })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(DiskError::new("look at", path, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::fixture::{Item, SampleImage, archive, directory, docker_files, file, mount_erofs, not_root, tar};
    use crate::store::tests::Home;

    fn load(home: &Home, layer: Vec<u8>) -> Digest {
        let image = SampleImage::new(&[layer], |bytes| bytes.to_vec());
        home.load(&archive(&docker_files(&[(&image, &["app"])]))).unwrap();
        image.diff_id(0)
    }

    fn layer() -> Vec<u8> {
        tar(&[directory("dir"), file("dir/file", b"content"), file("other", &[7; 5000])])
    }

    #[test]
    fn images_are_made_once_and_are_reproducible() {
        if not_root() {
            return;
        }
        let (one, two) = (Home::new(), Home::new());
        let diff_id = load(&one, layer());
        assert_eq!(load(&two, layer()), diff_id);
        let images: Vec<ErofsImage> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| one.store.erofs(&diff_id).unwrap())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(images.iter().all(|image| *image == images[0]));
        let metadata = images[0].path.metadata().unwrap();
        assert_eq!((metadata.mode() & 0o7777, metadata.len() % 4096, metadata.len()), (0o600, 0, images[0].size));
        assert_eq!(one.store.erofs(&diff_id).unwrap().path.metadata().unwrap().ino(), metadata.ino());
        let other = two.store.erofs(&diff_id).unwrap();
        assert!(fs::read(&other.path).unwrap() == fs::read(&images[0].path).unwrap());
    }

    #[test]
    fn what_a_layer_says_of_its_holes_is_heeded() {
        if not_root() {
            return;
        }
        let home = Home::new();
        let pax: [(&str, &[u8]); 2] = [("GNU.sparse.size", b"1099511627776"), ("GNU.sparse.map", b"0,1")];
        let huge = load(&home, tar(&[Item { pax: &pax, ..file("huge", b"x") }]));
        let image = home.store.erofs(&huge).unwrap();
        // One chunk of 16 MiB, of which one block is on the disk, and the map.
        assert!(image.size < 18 << 20, "{}", image.size);
        assert!(image.path.metadata().unwrap().blocks() * 512 < 1 << 20);
        if let Some(mounted) = mount_erofs(&image.path) {
            assert_eq!(fs::metadata(mounted.path().join("huge")).unwrap().len(), 1 << 40);
        }
    }

    #[test]
    fn failures_are_told_apart() {
        if not_root() {
            return;
        }
        let home = Home::new();
        let diff_id = load(&home, layer());
        let absent: Digest = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
        assert!(matches!(home.store.erofs(&absent), Err(ErofsError::NoLayer { .. })));
        // Whatever fails, nothing is left where the image will be.
        fs::rename(home.store.layer_dir(&diff_id), home.store.layer(&diff_id).join("moved")).unwrap();
        assert!(matches!(home.store.erofs(&diff_id), Err(ErofsError::Disk(_))));
        fs::rename(home.store.layer(&diff_id).join("moved"), home.store.layer_dir(&diff_id)).unwrap();
        assert!(home.store.erofs(&diff_id).is_ok());
    }
}
