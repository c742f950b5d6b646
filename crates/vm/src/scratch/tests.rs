use super::ScratchLifetime::{Ephemeral, Kept};
use super::*;
use std::io::{Read, Seek, Write};
use std::os::unix::fs::MetadataExt;

fn contents(mut file: &File) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

fn image(directory: &tempfile::TempDir, lifetime: ScratchLifetime) -> ScratchImage {
    ScratchImage { path: directory.path().join("image"), lifetime }
}

#[test]
fn a_copy_keeps_data_and_holes() {
    let directory = tempfile::tempdir().unwrap();
    let image = image(&directory, Ephemeral);
    let mut file = File::create_new(&image.path).unwrap();
    file.set_len(64 << 20).unwrap();
    for offset in [0u64, 5 << 20, (64 << 20) - 4096] {
        file.seek(io::SeekFrom::Start(offset)).unwrap();
        file.write_all(&[7; 4096]).unwrap();
    }
    let copy = image.disk_at(&directory.path().join("copy")).unwrap().file;
    assert!(contents(&copy) == contents(&File::open(&image.path).unwrap()));
    let metadata = copy.metadata().unwrap();
    assert!(metadata.blocks() * 512 < 1 << 20, "{} blocks", metadata.blocks());
    assert_eq!(metadata.mode() & 0o777, 0o600);
}

#[test]
fn an_empty_image_is_all_hole() {
    let directory = tempfile::tempdir().unwrap();
    let image = image(&directory, Ephemeral);
    File::create_new(&image.path).unwrap().set_len(1 << 20).unwrap();
    let copy = image.disk_at(&directory.path().join("copy")).unwrap().file;
    assert_eq!(copy.metadata().unwrap().len(), 1 << 20);
    assert_eq!(copy.metadata().unwrap().blocks(), 0);
}

#[test]
fn a_kept_disk_is_used_again_and_an_ephemeral_one_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk");
    let image = |lifetime| {
        let image = image(&directory, lifetime);
        fs::write(&image.path, b"made anew").unwrap();
        image
    };
    let entries = || fs::read_dir(directory.path()).unwrap().count();

    for _ in 0..2 {
        let ScratchDisk { file: mut disk, fresh } = image(Ephemeral).disk_at(&path).unwrap();
        assert_eq!((contents(&disk).as_slice(), fresh), (&b"made anew"[..], true));
        disk.write_all(b"written").unwrap();
    }
    assert_eq!(entries(), 1, "the image");

    let ScratchDisk { file: disk, fresh } = image(Kept).disk_at(&path).unwrap();
    assert_eq!((contents(&disk).as_slice(), fresh), (&b"made anew"[..], true));
    disk.set_len(4).unwrap();
    // What was copied into a container before its only start.
    for lifetime in [Kept, Ephemeral] {
        let ScratchDisk { file: disk, fresh } = image(lifetime).disk_at(&path).unwrap();
        assert_eq!((contents(&disk).as_slice(), fresh), (&b"made"[..], false));
    }
    assert_eq!(entries(), 2, "the image and the disk");
}

#[test]
fn sizes_that_are_no_disk_are_refused() {
    for size in [0, 4096, (16 << 20) + 1, u64::MAX] {
        let made = ScratchImage::prepare(Path::new("/nonexistent"), Bytes(size), Kept);
        assert!(matches!(made, Err(ScratchError::Size { .. })), "{size}");
    }
}

fn has_mkfs() -> bool {
    MKFS.iter().any(|path| Path::new(path).exists())
}

/// `s_feature_compat` of ext4's superblock.
fn has_journal(image: &Path) -> bool {
    const HAS_JOURNAL: u8 = 4;
    let mut superblock = [0; 2048];
    File::open(image).unwrap().read_exact(&mut superblock).unwrap();
    assert_eq!(superblock[1024 + 0x38..][..2], [0x53, 0xef], "ext4's magic number");
    superblock[1024 + 0x5c] & HAS_JOURNAL != 0
}

#[test]
fn an_image_is_made_once_and_is_small() {
    if !has_mkfs() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    for size in [MINIMUM, Bytes(10 * Bytes::GIB)] {
        for lifetime in [Ephemeral, Kept] {
            let image = ScratchImage::prepare(directory.path(), size, lifetime).unwrap();
            let first = fs::metadata(&image.path).unwrap();
            assert_eq!(first.len(), size.0);
            assert!(first.blocks() * 512 < 1 << 20, "{} blocks", first.blocks());
            assert_eq!(has_journal(&image.path), lifetime == Kept);
            assert_eq!(ScratchImage::prepare(directory.path(), size, lifetime).unwrap(), image);
            assert_eq!(fs::metadata(&image.path).unwrap().ino(), first.ino());
        }
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 4);
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
            scope.spawn(|| ScratchImage::prepare(directory.path(), size, Kept).unwrap());
        }
    });
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}
