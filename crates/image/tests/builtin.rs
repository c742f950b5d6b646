//! The built-in image, made by its script and loaded by this crate.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use casemate_image::{Reference, Store};

/// Why the test cannot run here, if it cannot.
fn missing() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return Some("root");
    }
    let is_dynamic = |output: std::process::Output| output.status.success();
    match Command::new("ldd").arg("/bin/busybox").output().map(is_dynamic) {
        Ok(false) if Path::new("/bin/busybox").exists() => None,
        _ => Some("busybox-static"),
    }
}

#[test]
fn the_built_in_image_is_reproducible_and_complete() {
    if let Some(missing) = missing() {
        let _ = writeln!(std::io::stderr(), "skipped: needs {missing}");
        return;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guest/busybox/build.sh");
    let scratch = tempfile::tempdir().unwrap();
    let build = |name: &str| {
        let out = scratch.path().join(name);
        let output = Command::new(&script).arg(&out).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        out
    };
    let archive = build("one.tar");
    assert!(fs::read(build("two.tar")).unwrap() == fs::read(&archive).unwrap());

    let store = Store::open(scratch.path()).unwrap();
    let name: Reference = "busybox".parse().unwrap();
    assert!(store.load_builtin(&name, &archive).unwrap());
    assert!(!store.load_builtin(&name, &archive).unwrap());
    let image = store.resolve("busybox").unwrap();
    assert_eq!(image.config.cmd, ["sh"]);
    assert!(image.config.env[0].starts_with("PATH=") && image.created.is_some());
    let [layer] = image.layers.as_slice() else {
        panic!("one layer: {:?}", image.layers);
    };
    let root = store.layer_dir(layer);
    assert_eq!(root.join("tmp").metadata().unwrap().permissions().mode() & 0o7777, 0o1777);
    let busybox = root.join("bin/busybox").metadata().unwrap();
    for applet in ["bin/sh", "bin/true", "bin/[", "bin/ps", "usr/bin/env"] {
        assert_eq!(root.join(applet).metadata().unwrap().ino(), busybox.ino(), "{applet}");
    }
    assert_eq!((busybox.uid(), busybox.permissions().mode() & 0o7777), (0, 0o755));
    let said = Command::new("chroot").arg(&root).args(["/bin/sh", "-c", "id -un; echo *"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&said.stdout), "root\nbin dev etc home proc root sbin sys tmp usr var\n");
}
