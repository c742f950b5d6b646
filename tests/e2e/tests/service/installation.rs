//! `make install` and `make uninstall`, into a directory as for a package.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use casemate_e2e::{Spawned, host, prefix};
use tempfile::TempDir;

fn script(name: &str, args: &[&Path]) {
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts").join(name));
    command.args(args);
    Spawned::start(command).wait().ok();
}

fn files(dir: &Path) -> BTreeSet<PathBuf> {
    host::files_below(dir).into_iter().filter(|path| !path.is_dir()).collect()
}

#[test]
fn everything_is_installed_works_from_there_and_goes_again() {
    let staged = prefix::Prefix::staged();
    let staged = staged.program.parent().and_then(Path::parent).expect("a prefix").to_owned();
    let to: TempDir = tempfile::Builder::new().prefix("casemate-test-").tempdir().unwrap();
    let prefix = Path::new("/opt/casemate");
    script("install.sh", &[&staged, prefix, to.path()]);
    let root = to.path().join("opt/casemate");
    for file in [
        "lib/casemate/vmlinux",
        "lib/casemate/docker-init",
        "lib/casemate/initrd.img",
        "lib/casemate/busybox.tar",
        "lib/systemd/system/casemate.socket",
        "share/man/man1/casemate.1",
        "share/man/man1/casemate-daemon.1",
    ] {
        assert!(root.join(file).is_file(), "{file} is missing");
    }
    let unit = fs::read_to_string(root.join("lib/systemd/system/casemate.service")).unwrap();
    assert!(unit.contains("ExecStart=/opt/casemate/bin/casemate daemon -H fd://\n") && !unit.contains('@'), "{unit}");
    let man = fs::read_to_string(root.join("share/man/man1/casemate-daemon.1")).unwrap();
    assert!(man.contains("tlsverify"));
    for (shell, file) in [
        ("bash", "share/bash-completion/completions/casemate"),
        ("zsh", "share/zsh/site-functions/_casemate"),
        ("fish", "share/fish/vendor_completions.d/casemate.fish"),
    ] {
        assert!(fs::read_to_string(root.join(file)).unwrap().contains("tlsverify"), "{shell}");
    }
    let mut version = Command::new(root.join("bin/casemate"));
    version.arg("--version");
    assert!(Spawned::start(version).wait().word().starts_with("casemate "));

    // What is somebody else's stays.
    fs::write(root.join("bin/other"), "").unwrap();
    script("uninstall.sh", &[prefix, to.path()]);
    assert_eq!(files(to.path()), BTreeSet::from([root.join("bin/other")]));
}
