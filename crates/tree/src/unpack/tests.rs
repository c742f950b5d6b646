//! Layers from good and bad hands, unpacked for real: as root.

use std::fs::{self, File};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, XattrFlags, lsetxattr, mknodat};
use tar::EntryType;

use super::{Limits, UnpackError, Unpacked, unpack_layer};
use crate::fixture::{Item, describe, directory, file, gnu_tar, hard_link, names, not_root, symlink, tar, xattrs};
use crate::tarball::{TarError, TarReader};

const LIMITS: Limits = Limits { entries: 1 << 20, bytes: 1 << 40, directory_names: 1 << 20 };

/// A directory to unpack into, with something beside it that must stay as it is.
struct Ground {
    scratch: tempfile::TempDir,
}

impl Ground {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        fs::create_dir(scratch.path().join("outside")).unwrap();
        fs::write(scratch.path().join("outside/secret"), "secret").unwrap();
        fs::create_dir(scratch.path().join("diff")).unwrap();
        Self { scratch }
    }

    fn diff(&self) -> PathBuf {
        self.scratch.path().join("diff")
    }

    fn outside(&self) -> PathBuf {
        self.scratch.path().join("outside")
    }

    fn unpack_bytes(&self, bytes: &[u8]) -> Result<Unpacked, UnpackError> {
        self.unpack_with(bytes, &LIMITS)
    }

    fn unpack_with(&self, bytes: &[u8], limits: &Limits) -> Result<Unpacked, UnpackError> {
        let before = describe(&self.outside());
        let root = File::open(self.diff()).unwrap();
        let result = unpack_layer(&mut TarReader::new(bytes), root.into(), limits);
        assert_eq!(describe(&self.outside()), before, "nothing outside was touched");
        result
    }

    fn unpack(&self, items: &[Item<'_>]) -> Result<Unpacked, UnpackError> {
        self.unpack_bytes(&tar(items))
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.diff().join(path)).unwrap()
    }

    fn is_whiteout(&self, path: &str) -> bool {
        let metadata = self.diff().join(path).symlink_metadata().unwrap();
        metadata.file_type().is_char_device() && metadata.rdev() == 0
    }

    fn is_opaque(&self, path: &str) -> bool {
        xattrs(&self.diff().join(path)).get("trusted.overlay.opaque").is_some_and(|value| value == b"y")
    }
}

#[test]
fn every_kind_of_entry_arrives_whole() {
    if not_root() {
        return;
    }
    let ground = Ground::new();
    let kind = |path, kind, mode, device| Item { path, kind, mode, device, owner: (7, 8), ..Item::default() };
    let unpacked = ground
        .unpack(&[
            Item { mode: 0o1777, mtime: 5, owner: (1, 2), ..directory("./") },
            Item { mtime: 1_000_000_000, mode: 0o2750, owner: (3, 4), ..directory("dir/") },
            Item { mode: 0o4755, owner: (1000, 70_000), mtime: 1_234_567_890, ..file("dir/setuid", b"hello") },
            hard_link("dir/same", "dir/setuid"),
            hard_link("/also", "/dir/setuid"),
            Item { owner: (9, 9), ..symlink("link", "../../anywhere") },
            kind("null", EntryType::Char, 0o666, (1, 3)),
            kind("disk", EntryType::Block, 0o660, (259, 70_000)),
            kind("pipe", EntryType::Fifo, 0o600, (0, 0)),
            file("made/on/the/way", b"x"),
            Item { pax: &[("mtime", b"1700000000.123456789"), ("uid", b"3000000000")], ..file("pax", b"") },
            Item { pax: &[("mtime", b"-5"), ("comment", b"\n\n")], ..file("before-1970", b"") },
        ])
        .unwrap();
    assert_eq!((unpacked.size, unpacked.holes), (6, 0));
    let tree = describe(&ground.diff());
    let at = |path: &str| &tree[path];
    assert_eq!((at(".").mode, at(".").owner, at(".").mtime), (0o1777, (1, 2), (5, 0)));
    assert_eq!((at("dir").mode, at("dir").owner, at("dir").mtime), (0o2750, (3, 4), (1_000_000_000, 0)));
    let setuid = at("dir/setuid");
    assert_eq!((setuid.mode, setuid.owner, setuid.mtime), (0o4755, (1000, 70_000), (1_234_567_890, 0)));
    assert_eq!(at("dir/same").same_as.as_deref(), Some("also"));
    assert_eq!(setuid.same_as.as_deref(), Some("also"));
    assert_eq!((at("link").kind.as_str(), at("link").owner), ("link to ../../anywhere", (9, 9)));
    assert_eq!(at("link").mtime, (1_600_000_000, 0));
    assert_eq!((at("null").kind.as_str(), at("null").mode), ("device 2 103", 0o666));
    assert_eq!(at("disk").kind, format!("device 6 {:x}", rustix::fs::makedev(259, 70_000)));
    assert_eq!((at("pipe").kind.as_str(), at("pipe").owner), ("type 1", (7, 8)));
    assert_eq!((at("made/on").mode, at("made/on").owner, at("made/on").mtime), (0o755, (0, 0), (0, 0)));
    assert_eq!((at("pax").mtime, at("pax").owner.0), ((1_700_000_000, 123_456_789), 3_000_000_000));
    assert_eq!(at("before-1970").mtime, (0, 0));
}

#[test]
fn names_above_the_root_are_refused() {
    if not_root() {
        return;
    }
    for path in ["../outside/new", "a/../../outside/new", "/../outside/new", ".."] {
        let error = Ground::new().unpack(&[file(path, b"x")]).unwrap_err();
        assert!(matches!(error, UnpackError::Escape { .. }), "{path}: {error}");
        let error = Ground::new().unpack(&[Item { pax: &[("path", path.as_bytes())], ..file("p", b"") }]).unwrap_err();
        assert!(matches!(error, UnpackError::Escape { .. }), "{path} in PAX: {error}");
    }
    let ground = Ground::new();
    ground.unpack(&[file("/etc/../absolute", b"x")]).unwrap();
    assert_eq!(ground.read("absolute"), "x");
    let error = ground.unpack(&[file("./", b"")]);
    assert!(error.is_ok(), "a name with a slash is a directory: {error:?}");
    assert!(matches!(ground.unpack(&[symlink(".", "x")]), Err(UnpackError::Name { .. })));
}

#[test]
fn links_are_followed_within_the_root_only() {
    if not_root() {
        return;
    }
    let ground = Ground::new();
    let outside = ground.outside().to_string_lossy().into_owned();
    ground
        .unpack(&[
            directory("usr/lib"),
            symlink("lib", "usr/lib"),
            file("lib/a", b"a"),
            symlink("usr/up", "../../../../.."),
            file("usr/up/b", b"b"),
            symlink("absolute", "/usr"),
            file("absolute/lib/c", b"c"),
            // A directory of the host; in the layer it is a path like any other.
            directory(outside.trim_start_matches('/')),
            symlink("host", &outside),
            file("host/d", b"d"),
        ])
        .unwrap();
    assert_eq!(ground.read("usr/lib/a"), "a");
    assert_eq!(ground.read("b"), "b");
    assert_eq!(ground.read("usr/lib/c"), "c");
    assert_eq!(ground.read(&format!("{}/d", outside.trim_start_matches('/'))), "d");

    for items in [
        // Nothing of that name in the layer.
        vec![symlink("host", &outside), file("host/secret", b"overwritten")],
        vec![symlink("host", &outside), symlink("again", "host"), file("again/x/y", b"x")],
        vec![symlink("loop", "loop"), file("loop/x", b"x")],
        vec![symlink("proc", "/proc/self/root"), file("proc/etc/x", b"x")],
        vec![file("file", b""), file("file/x", b"x")],
        vec![directory("a"), symlink("a/b", "../../outside"), file("a/b/secret", b"x")],
    ] {
        let error = Ground::new().unpack(&items).unwrap_err();
        assert!(matches!(error, UnpackError::Parent { .. }), "{error:?}");
    }
}

#[test]
fn a_link_is_replaced_not_written_through() {
    if not_root() {
        return;
    }
    let ground = Ground::new();
    let secret = ground.outside().join("secret").to_string_lossy().into_owned();
    let outside = ground.outside().to_string_lossy().into_owned();
    ground
        .unpack(&[
            symlink("a", &secret),
            file("a", b"new"),
            symlink("b", &outside),
            directory("b"),
            file("b/secret", b"inside"),
            directory("c"),
            file("c/old", b""),
            symlink("c", &outside),
            directory("d"),
            file("d/old", b""),
            Item { mode: 0o700, ..directory("d") },
            file("e", b"long content"),
            file("e", b"short"),
            directory("f/deep/er"),
            file("f", b"a file now"),
        ])
        .unwrap();
    assert_eq!(ground.read("a"), "new");
    assert_eq!(ground.read("b/secret"), "inside");
    assert!(ground.diff().join("c").is_symlink());
    assert!(ground.diff().join("d/old").exists(), "a directory keeps its content");
    assert_eq!(ground.diff().join("d").metadata().unwrap().permissions().mode() & 0o7777, 0o700);
    assert_eq!(ground.read("e"), "short");
    assert_eq!(ground.read("f"), "a file now");
}

#[test]
fn hard_links_stay_in_the_layer() {
    if not_root() {
        return;
    }
    let ground = Ground::new();
    let outside = ground.outside().to_string_lossy().into_owned();
    let secret = format!("{outside}/secret");
    for items in [
        vec![hard_link("stolen", &secret)],
        vec![hard_link("stolen", "/etc/hostname")],
        vec![symlink("host", &outside), hard_link("stolen", "host/secret")],
        vec![hard_link("self", "self")],
        vec![directory("d"), hard_link("l", "d")],
        vec![hard_link("l", "/")],
    ] {
        let error = Ground::new().unpack(&items).unwrap_err();
        assert!(matches!(error, UnpackError::HardLink { .. }), "{error:?}");
    }
    let error = Ground::new().unpack(&[hard_link("stolen", "../outside/secret")]).unwrap_err();
    assert!(matches!(error, UnpackError::Escape { .. }), "{error:?}");
    // A link to a symbolic link is to the link itself.
    ground.unpack(&[symlink("s", &secret), hard_link("h", "s")]).unwrap();
    assert_eq!(fs::read_link(ground.diff().join("h")).unwrap(), Path::new(&secret));
    assert_eq!(ground.diff().join("s").symlink_metadata().unwrap().nlink(), 2);
}

#[test]
fn whiteouts_take_overlayfs_form() {
    if not_root() {
        return;
    }
    let ground = Ground::new();
    ground
        .unpack(&[
            file("a/.wh.gone", b""),
            file(".wh.top", b""),
            directory("opaque"),
            file("opaque/.wh..wh..opq", b""),
            file("opaque/kept", b"kept"),
            file("made/.wh..wh..opq", b""),
            file(".wh..wh.aufs", b""),
            directory(".wh..wh.plnk"),
            file(".wh..wh.plnk/1.2", b""),
            // Hidden and made anew in one layer, in either order.
            file(".wh.new-dir", b""),
            directory("new-dir"),
            file("old-dir/x", b""),
            file(".wh.old-dir", b""),
            file(".wh.new-file", b""),
            file("new-file", b"new"),
            file("old-file", b"old"),
            file(".wh.old-file", b""),
            file(".wh.on-the-way", b""),
            file("on-the-way/x", b"x"),
        ])
        .unwrap();
    assert!(ground.is_whiteout("a/gone") && ground.is_whiteout("top"));
    assert!(ground.is_opaque("opaque") && ground.is_opaque("made"));
    assert_eq!(ground.read("opaque/kept"), "kept");
    assert!(ground.is_opaque("new-dir") && ground.is_opaque("old-dir") && ground.is_opaque("on-the-way"));
    assert!(!ground.is_opaque("a") && !ground.is_opaque("."));
    assert_eq!((ground.read("new-file"), ground.read("old-file")), ("new".into(), "old".into()));
    assert!(!names(&ground.diff()).iter().any(|name| name.contains(".wh.")));

    let ground = Ground::new();
    ground.unpack(&[file(".wh..wh..opq", b"")]).unwrap();
    assert!(ground.is_opaque("."));
    for bad in [".wh.", "a/.wh..", ".wh..."] {
        assert!(matches!(ground.unpack(&[file(bad, b"")]), Err(UnpackError::Whiteout { .. })), "{bad}");
    }
}

#[test]
fn no_image_speaks_to_overlayfs() {
    if not_root() {
        return;
    }
    let ground = Ground::new();
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    // Version 2, three entries: owner rwx, group r-x, other ---.
    let acl =
        [2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 4, 0, 5, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255];
    let attributes: &[(&str, &[u8])] = &[
        ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
        ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
        ("SCHILY.xattr.trusted.other", b"x"),
        ("SCHILY.xattr.user.overlay.opaque", b"y"),
        ("SCHILY.xattr.security.selinux", b"unconfined"),
        ("SCHILY.xattr.user.binary", b"\0a\n=\xff"),
        ("SCHILY.xattr.user.empty", b""),
    ];
    let executable = [attributes, &[("SCHILY.xattr.security.capability", &capability)]].concat();
    let with_default = [attributes, &[("SCHILY.xattr.system.posix_acl_default", &acl)]].concat();
    ground
        .unpack(&[
            Item { pax: &with_default, ..directory("dir") },
            Item { pax: &executable, mode: 0o755, owner: (5, 5), ..file("dir/file", b"x") },
            Item { pax: attributes, ..symlink("link", "dir") },
            Item { pax: attributes, kind: EntryType::Fifo, ..file("pipe", b"") },
        ])
        .unwrap();
    let keys = |path: &str| xattrs(&ground.diff().join(path)).into_keys().collect::<Vec<_>>();
    assert_eq!(keys("dir"), ["system.posix_acl_default", "user.binary", "user.empty"]);
    let of_file = xattrs(&ground.diff().join("dir/file"));
    assert_eq!(of_file["user.binary"], b"\0a\n=\xff");
    assert_eq!(of_file["user.empty"], b"");
    assert_eq!(of_file["security.capability"], capability);
    assert!(
        !of_file.keys().any(|key| key.starts_with("trusted.") || key.contains("overlay") || key.contains("selinux"))
    );
    assert!(keys("link").is_empty() && keys("pipe").is_empty());
    assert!(ground.diff().join("link").is_symlink());
}

#[test]
fn what_gnu_tar_packs_comes_out_the_same() {
    if not_root() {
        return;
    }
    let source = tempfile::tempdir().unwrap();
    let at = |path: &str| source.path().join(path);
    fs::create_dir_all(at("deep/er")).unwrap();
    let long = format!("{}/{}", "d".repeat(90), "f".repeat(200));
    fs::create_dir(at(&"d".repeat(90))).unwrap();
    fs::write(at(&long), "long name").unwrap();
    std::os::unix::fs::symlink("x".repeat(300), at("long-link")).unwrap();
    fs::write(at("deep/er/file"), vec![7; 100_000]).unwrap();
    fs::hard_link(at("deep/er/file"), at("hard")).unwrap();
    fs::hard_link(at(&long), at("deep/hard-to-long")).unwrap();
    fs::write(at("caf\u{e9}\n"), "odd name").unwrap();
    lsetxattr(at("hard"), "user.note", b"\n5 a=b\n\0", XattrFlags::empty()).unwrap();
    mknodat(CWD, at("char"), FileType::CharacterDevice, Mode::from_raw_mode(0o640), rustix::fs::makedev(4, 64))
        .unwrap();
    fs::set_permissions(at("deep"), fs::Permissions::from_mode(0o1770)).unwrap();
    rustix::fs::chownat(CWD, at("hard"), Some(rustix::fs::Uid::from_raw(2_200_000)), None, AtFlags::empty()).unwrap();
    let expected = describe(source.path());
    for options in [&["--format=posix", "--xattrs"][..], &["--format=gnu"]] {
        let ground = Ground::new();
        ground.unpack_bytes(&gnu_tar(source.path(), options)).unwrap();
        let mut expected = expected.clone();
        let is_gnu = options == ["--format=gnu"];
        for description in expected.values_mut() {
            if is_gnu {
                // It has neither attributes nor fractions of seconds.
                description.xattrs.clear();
                description.mtime.1 = 0;
            }
        }
        assert_eq!(describe(&ground.diff()), expected, "{options:?}");
    }
}

#[test]
fn sparse_files_of_all_formats_keep_their_holes() {
    if not_root() {
        return;
    }
    const HUGE: u64 = 200 << 30;
    let source = tempfile::tempdir().unwrap();
    let sparse = File::create(source.path().join("sparse")).unwrap();
    use std::os::unix::fs::FileExt;
    // Enough pieces that the old format needs blocks beyond its header.
    for piece in 0..60_u64 {
        sparse.write_all_at(&[piece as u8 + 1; 5000], piece * (1 << 30) + 4096 * piece).unwrap();
    }
    sparse.set_len(HUGE).unwrap();
    File::create(source.path().join("only-a-hole")).unwrap().set_len(HUGE).unwrap();
    fs::write(source.path().join("after"), "after").unwrap();
    let formats: [&[&str]; 4] = [
        &["--format=gnu"],
        &["--format=posix", "--sparse-version=0.0"],
        &["--format=posix", "--sparse-version=0.1"],
        &["--format=posix", "--sparse-version=1.0"],
    ];
    for format in formats {
        let ground = Ground::new();
        let packed = gnu_tar(source.path(), &[format, &["--sparse"]].concat());
        let unpacked = ground.unpack_bytes(&packed).unwrap();
        assert_eq!(unpacked.size, 2 * HUGE + 5, "{format:?}");
        assert_eq!(names(&ground.diff()), [".", "after", "only-a-hole", "sparse"], "{format:?}");
        assert_eq!(ground.read("after"), "after");
        for name in ["sparse", "only-a-hole"] {
            let metadata = ground.diff().join(name).metadata().unwrap();
            assert_eq!(metadata.len(), HUGE, "{format:?}");
            assert!(metadata.blocks() * 512 < 4 << 20, "{format:?} {name}: {}", metadata.blocks());
        }
        let file = File::open(ground.diff().join("sparse")).unwrap();
        let mut buffer = [0xff; 5001];
        for piece in 0..60_u64 {
            file.read_exact_at(&mut buffer, piece * (1 << 30) + 4096 * piece).unwrap();
            assert!(buffer[..5000].iter().all(|byte| *byte == piece as u8 + 1), "{format:?}");
            assert_eq!(buffer[5000], 0, "{format:?}");
        }
    }
}

#[test]
fn zeros_become_holes() {
    if not_root() {
        return;
    }
    let ground = Ground::new();
    let mut data = vec![0; 10 << 20];
    data[5_000_000] = 1;
    data[9_999_999] = 2;
    let unpacked = ground.unpack(&[file("zeros", &data), file("after", b"x")]).unwrap();
    assert_eq!((unpacked.size, unpacked.holes), ((10 << 20) + 1, (10 << 20) - 8192));
    assert_eq!(fs::read(ground.diff().join("zeros")).unwrap(), data);
    assert!(ground.diff().join("zeros").metadata().unwrap().blocks() <= 16);
}

#[test]
fn global_headers_are_for_owners_and_times() {
    if not_root() {
        return;
    }
    let pax = |key: &str, value: &str| {
        let rest = key.len() + value.len() + 3;
        let length = rest + (rest + 2).to_string().len();
        format!("{length} {key}={value}\n")
    };
    let records = pax("mtime", "77") + &pax("uid", "12") + &pax("path", "../evil") + &pax("size", "99");
    let ground = Ground::new();
    ground
        .unpack(&[
            Item { kind: EntryType::XGlobalHeader, data: records.as_bytes(), ..file("global", b"") },
            file("a", b"a"),
            Item { pax: &[("uid", b"13")], ..file("b", b"b") },
        ])
        .unwrap();
    let tree = describe(&ground.diff());
    assert_eq!((tree["a"].owner.0, tree["a"].mtime), (12, (77, 0)));
    assert_eq!((tree["b"].owner.0, tree["b"].mtime), (13, (77, 0)));
}

#[test]
fn damage_and_excess_are_named() {
    if not_root() {
        return;
    }
    let error = |bytes: &[u8]| Ground::new().unpack_bytes(bytes).unwrap_err();
    let good = tar(&[file("a", &[1; 2000])]);
    assert!(matches!(error(&good[..1000]), UnpackError::Tar(TarError::Truncated { .. })));
    assert!(matches!(error(&good[..100]), UnpackError::Tar(TarError::Truncated { .. })));
    assert!(matches!(error(&[7; 512]), UnpackError::Tar(TarError::Header { position: 0 })));
    let unknown = tar(&[Item { kind: EntryType::new(b'V'), ..file("label", b"") }]);
    assert!(matches!(error(&unknown), UnpackError::Type { typeflag: b'V', .. }));
    let no_owner = tar(&[Item { pax: &[("uid", b"4294967295")], ..file("a", b"") }]);
    assert!(matches!(error(&no_owner), UnpackError::Tar(TarError::Field { field: "uid", .. })));
    let name = "n".repeat(256);
    let long = tar(&[Item { pax: &[("path", name.as_bytes())], ..file("a", b"") }]);
    assert!(matches!(error(&long), UnpackError::Entry { .. }));

    let many: Vec<String> = (0..11).map(|index| format!("d{index}")).collect();
    let many = tar(&many.iter().map(|name| directory(name)).collect::<Vec<_>>());
    let limited = |limits: Limits| Ground::new().unpack_with(&many, &limits).unwrap_err();
    let few = limited(Limits { entries: 10, ..LIMITS });
    assert!(matches!(few, UnpackError::TooManyEntries { limit: 10 }));
    let short = limited(Limits { directory_names: 12, ..LIMITS });
    assert!(matches!(short, UnpackError::DirectoryNames { limit: 12 }));
    let small = limited(Limits { bytes: 2000, ..LIMITS });
    assert!(matches!(small, UnpackError::TooMuch { limit: 2000 }));
    let large = tar(&[file("a", &[1; 3000])]);
    let error = Ground::new().unpack_with(&large, &Limits { bytes: 2999, ..LIMITS }).unwrap_err();
    assert!(matches!(error, UnpackError::TooMuch { limit: 2999 }));
}

/// A directory that is in use already, and a copy into it.
mod copies {
    use super::*;
    use crate::{CopyRules, unpack_copy};

    fn copy(ground: &Ground, rules: &CopyRules, items: &[Item<'_>]) -> Result<Unpacked, UnpackError> {
        let before = describe(&ground.outside());
        let root = File::open(ground.diff()).unwrap();
        let result = unpack_copy(&mut TarReader::new(&tar(items)[..]), root.into(), rules, &LIMITS);
        assert_eq!(describe(&ground.outside()), before, "nothing outside was touched");
        result
    }

    #[test]
    fn nothing_has_the_meaning_it_has_in_a_layer() {
        if not_root() {
            return;
        }
        let ground = Ground::new();
        fs::write(ground.diff().join("there"), "there").unwrap();
        fs::set_permissions(ground.diff(), fs::Permissions::from_mode(0o711)).unwrap();
        let items = [
            Item { mode: 0o700, owner: (5, 5), ..directory("./") },
            file(".wh.there", b"a file"),
            file("new/way/file", b"x"),
            file("new/.wh..wh..opq", b""),
        ];
        let unpacked = copy(&ground, &CopyRules::default(), &items).unwrap();
        assert_eq!(unpacked.entries, 4);
        assert_eq!((ground.read(".wh.there"), ground.read("there")), ("a file".into(), "there".into()));
        assert!(!ground.is_opaque("new"));
        let root = ground.diff().metadata().unwrap();
        assert_eq!((root.mode() & 0o7777, root.uid()), (0o711, 0));
        let made = ground.diff().join("new/way").metadata().unwrap();
        assert!(made.mtime() > 1_600_000_000 && made.mode() & 0o7777 == 0o755);
    }

    #[test]
    fn owners_are_the_archives_or_the_users() {
        if not_root() {
            return;
        }
        let items = [Item { owner: (7, 8), mode: 0o4755, ..file("f", b"") }, directory("made/d"), symlink("l", "f")];
        let owners = |rules: &CopyRules| {
            let ground = Ground::new();
            copy(&ground, rules, &items).unwrap();
            let tree = describe(&ground.diff());
            ["f", "made", "made/d", "l"].map(|name| tree[name].owner)
        };
        assert_eq!(owners(&CopyRules::default()), [(7, 8), (0, 0), (0, 0), (0, 0)]);
        let to = CopyRules { owner: Some((1000, 50)), ..CopyRules::default() };
        assert_eq!(owners(&to), [(1000, 50), (0, 0), (1000, 50), (1000, 50)]);
    }

    #[test]
    fn directories_and_files_replace_each_other_only_if_they_may() {
        if not_root() {
            return;
        }
        let with = |strict: bool, item: Item<'_>| {
            let ground = Ground::new();
            fs::create_dir(ground.diff().join("dir")).unwrap();
            fs::write(ground.diff().join("dir/in"), "").unwrap();
            fs::write(ground.diff().join("file"), "").unwrap();
            std::os::unix::fs::symlink("dir", ground.diff().join("link")).unwrap();
            let rules =
                CopyRules { no_overwrite_dir_non_dir: strict, destination: "/to".into(), ..CopyRules::default() };
            copy(&ground, &rules, &[item]).map(|_| names(&ground.diff())).map_err(|error| error.to_string())
        };
        let all = |names: &[&str]| Ok(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert_eq!(with(false, file("dir", b"x")), all(&[".", "dir", "file", "link"]));
        assert_eq!(with(false, directory("file")), all(&[".", "dir", "dir/in", "file", "link"]));
        let error = |text: &str| Err(text.to_owned());
        assert_eq!(
            with(true, file("dir", b"x")),
            error(r#"cannot overwrite directory "dir" with non-directory "/to""#)
        );
        let over = |name| format!(r#"cannot overwrite non-directory "{name}" with directory "/to""#);
        assert_eq!(with(true, directory("file")), Err(over("file")));
        assert_eq!(with(true, directory("link")), Err(over("link")));
        assert_eq!(with(true, file("file", b"new")), all(&[".", "dir", "dir/in", "file", "link"]));
        assert_eq!(with(true, directory("dir")), all(&[".", "dir", "dir/in", "file", "link"]));
    }

    /// While another process replaces what was just made by links to the
    /// outside, again and again.
    #[test]
    fn races_lead_nowhere() {
        use std::sync::atomic::{AtomicBool, Ordering};
        if not_root() {
            return;
        }
        let ground = Ground::new();
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let outside = ground.outside();
                while !over.load(Ordering::Relaxed) {
                    for name in ["dir", "file", "pipe"] {
                        let path = ground.diff().join(name);
                        let to = if name == "dir" { outside.clone() } else { outside.join("secret") };
                        let aside = ground.scratch.path().join("aside");
                        let _ = fs::rename(&path, &aside);
                        let _ = std::os::unix::fs::symlink(to, &path);
                        let _ = fs::remove_dir_all(&aside).or_else(|_| fs::remove_file(&aside));
                    }
                }
            });
            let strange = Item { owner: (77, 77), mode: 0o4777, mtime: 5, ..Item::default() };
            let items = [
                Item { path: "dir", kind: EntryType::Directory, ..strange },
                Item { path: "dir/secret", data: b"overwritten", ..strange },
                Item { path: "file", data: b"overwritten", ..strange },
                Item { path: "pipe", kind: EntryType::Fifo, ..strange },
            ];
            let mut whole = 0;
            for _ in 0..500 {
                // It fails when the other comes between, and harms nobody.
                whole += u32::from(copy(&ground, &CopyRules::default(), &items).is_ok());
            }
            over.store(true, Ordering::Relaxed);
            assert!(whole > 0, "not one came through");
        });
        assert_eq!(fs::read_to_string(ground.outside().join("secret")).unwrap(), "secret");
        assert_eq!(names(&ground.outside()), [".", "secret"]);
    }
}
