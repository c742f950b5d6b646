//! The measure for process mode: `runc run` of the same root with the bundle
//! that Docker would write. The root is mounted before, once: what Docker's
//! daemon does besides is not in runc's time.

mod profile;
mod spec;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use tempfile::TempDir;

use crate::error::{BenchError, file};
use crate::subject::{self, Moment, Subject};

/// Dropping it unmounts the root.
#[derive(Debug)]
pub(crate) struct Runc {
    dir: TempDir,
}

const ROOT: &str = "rootfs";

impl Runc {
    /// `layers` topmost first.
    pub(crate) fn make(scratch: &Path, layers: &[PathBuf]) -> Result<Self, BenchError> {
        let dir = tempfile::Builder::new().prefix("runc.").tempdir_in(scratch);
        let runc = Self { dir: dir.map_err(file("make a directory in", scratch))? };
        for name in [ROOT, "upper", "work", "state"] {
            fs::create_dir(runc.path(name)).map_err(file("make", runc.path(name)))?;
        }
        for (name, content) in spec::ETC_FILES {
            fs::write(runc.path(name), content).map_err(file("write", runc.path(name)))?;
        }
        let spec = spec::of_docker(&runc.path(""), &runc.id())?;
        fs::write(runc.path("config.json"), spec.to_string()).map_err(file("write", runc.path("config.json")))?;
        runc.mount(layers).map_err(|source| BenchError::Mount { path: runc.path(ROOT), source })?;
        Ok(runc)
    }

    fn mount(&self, layers: &[PathBuf]) -> std::io::Result<()> {
        let lowers: Vec<String> = layers.iter().map(|layer| layer.display().to_string()).collect();
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            lowers.join(":"),
            self.path("upper").display(),
            self.path("work").display()
        );
        let options = std::ffi::CString::new(options)?;
        mount("overlay", self.path(ROOT), "overlay", MountFlags::empty(), Some(options.as_c_str()))?;
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Also the name of its control group, which runc removes with it.
    fn id(&self) -> String {
        format!("casemate-bench-{}", std::process::id())
    }

    pub(crate) fn run(&self) -> Subject<'_> {
        let take = || {
            let mut command = Command::new("runc");
            command
                .arg("--root")
                .arg(self.path("state"))
                .arg("run")
                .arg("--bundle")
                .arg(self.dir.path())
                .arg(self.id());
            subject::time(&mut command, Moment::Exit, "")
        };
        Subject { labels: vec!["runc run (root mounted beforehand)".to_owned()], take: Box::new(take) }
    }
}

impl Drop for Runc {
    fn drop(&mut self) {
        if let Err(error) = unmount(self.path(ROOT), UnmountFlags::DETACH) {
            // Not mounted: it could not be made.
            if error != rustix::io::Errno::INVAL {
                eprintln!("casemate-bench: {} is left mounted: {error}", self.path(ROOT).display());
            }
        }
    }
}
