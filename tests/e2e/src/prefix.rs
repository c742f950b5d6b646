//! The build under test, laid out as it is installed, and what the host must
//! have so that it can be tested.

use std::path::{Path, PathBuf};

/// `bin/casemate` and `lib/casemate/{vmlinux,initrd.img,busybox.tar}`.
#[derive(Clone, Debug)]
pub struct Prefix {
    pub program: PathBuf,
    pub lib: PathBuf,
}

impl Prefix {
    /// Where `CASEMATE_TEST_PREFIX` says, or where `make` puts it.
    pub fn staged() -> Self {
        let root = match std::env::var_os("CASEMATE_TEST_PREFIX") {
            Some(path) => PathBuf::from(path),
            None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../out"),
        };
        let root = std::path::absolute(root).expect("an absolute path");
        let prefix = Self { program: root.join("bin/casemate"), lib: root.join("lib/casemate") };
        for path in [&prefix.program, &prefix.kernel(), &prefix.initrd(), &prefix.busybox()] {
            assert!(
                path.exists(),
                "{} is missing: 'make test' builds what is tested and runs the tests",
                path.display()
            );
        }
        prefix
    }

    pub fn kernel(&self) -> PathBuf {
        self.lib.join("vmlinux")
    }

    pub fn initrd(&self) -> PathBuf {
        self.lib.join("initrd.img")
    }

    pub fn busybox(&self) -> PathBuf {
        self.lib.join("busybox.tar")
    }
}

/// Where programs are looked for, as the product does.
const PROGRAM_DIRS: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

pub fn program(name: &str) -> Option<PathBuf> {
    PROGRAM_DIRS.iter().map(|dir| Path::new(dir).join(name)).find(|path| path.exists())
}

/// Why a test cannot run here. In CI nothing may be missing.
pub fn skip(reason: &str) {
    assert!(std::env::var_os("CI").is_none_or(|ci| ci.is_empty()), "skipped in CI: {reason}");
    eprintln!("skipped: {reason}");
}

/// What both isolations need and this host lacks.
pub fn missing_for_process() -> Option<String> {
    (!rustix::process::geteuid().is_root()).then(|| "needs root".to_owned())
}

pub fn missing_for_hyperv() -> Option<String> {
    missing_for_process().or_else(|| {
        ["qemu-system-x86_64", "mkfs.ext4"]
            .into_iter()
            .find(|name| program(name).is_none())
            .map(|name| format!("needs {name}"))
    })
}
