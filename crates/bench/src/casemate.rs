//! The program under test, in directories of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use casemate_image::Store;
use serde_json::Value;
use tempfile::TempDir;

use crate::error::{BenchError, file};
use crate::subject::{self, Moment, Subject};

/// Dropping it removes all its containers and both directories.
#[derive(Debug)]
pub(crate) struct Casemate {
    program: PathBuf,
    lib: PathBuf,
    root: TempDir,
    run: TempDir,
}

impl Casemate {
    pub(crate) fn at(prefix: &Path, dir: &Path) -> Result<Self, BenchError> {
        let prefix = std::path::absolute(prefix).map_err(file("find", prefix))?;
        let (program, lib) = (prefix.join("bin/casemate"), prefix.join("lib/casemate"));
        for path in [&program, &lib.join("vmlinux"), &lib.join("initrd.img")] {
            if !path.exists() {
                return Err(BenchError::NotStaged { path: path.clone() });
            }
        }
        // Short: the keeper's socket lies below, and a socket's path has 107
        // bytes at most.
        let private = |parent: &Path| {
            tempfile::Builder::new().prefix("cmbench.").tempdir_in(parent).map_err(file("make a directory in", parent))
        };
        Ok(Self { program, lib, root: private(dir)?, run: private(Path::new("/run"))? })
    }

    /// `casemate ARGS` on the directories of this run, and nothing of the
    /// user's own settings.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("CASEMATE_") {
                command.env_remove(name);
            }
        }
        command
            .env("CASEMATE_ROOT", self.root.path().join("engine"))
            .env("CASEMATE_RUN", self.run.path())
            .env("CASEMATE_LIB", &self.lib)
            .args(args);
        command
    }

    /// `casemate run ARGS`, where the last argument `x` is what it prints.
    pub(crate) fn run<'a>(&'a self, args: &'a [&'a str], moment: Moment) -> Subject<'a> {
        let words = format!("casemate run {}", args.join(" "));
        let (labels, expected) = match moment {
            Moment::Exit => (vec![words], ""),
            Moment::FirstByteAndExit => (vec![format!("{words}: first output"), format!("{words}: exit")], "x\n"),
        };
        let take = move || subject::time(self.command(&["run"]).args(args), moment, expected);
        Subject { labels, take: Box::new(take) }
    }

    /// Both modes work, and the image and all that is prepared once are there.
    pub(crate) fn check_it_runs(&self) -> Result<(), BenchError> {
        for isolation in ["process", "hyperv"] {
            let mut command = self.command(&["run", "--rm", "--isolation", isolation, "busybox", "echo", "x"]);
            subject::time(&mut command, Moment::Exit, "x\n")?;
        }
        Ok(())
    }

    /// Starts a container that does nothing, in the background.
    pub(crate) fn start_idle(&self, isolation: &str, name: &str) -> Result<(), BenchError> {
        let mut command =
            self.command(&["run", "-d", "--name", name, "--isolation", isolation, "busybox", "sleep", "1000000"]);
        subject::output(&mut command).map(drop)
    }

    pub(crate) fn remove(&self, names: &[String]) -> Result<(), BenchError> {
        subject::output(self.command(&["rm", "-f"]).args(names)).map(drop)
    }

    pub(crate) fn inspect(&self, name: &str) -> Result<Value, BenchError> {
        let text = subject::output(&mut self.command(&["inspect", name]))?;
        let value: Option<Value> =
            serde_json::from_str(&text).ok().and_then(|mut all: Value| Some(all.get_mut(0)?.take()));
        value.ok_or(BenchError::Format { what: "what inspect prints", found: text })
    }

    /// The built-in image's unpacked layers, topmost first.
    pub(crate) fn layer_dirs(&self) -> Result<Vec<PathBuf>, BenchError> {
        let store = Store::open(&self.root.path().join("engine")).map_err(BenchError::Store)?;
        let image = store.resolve("busybox").map_err(BenchError::Image)?;
        Ok(image.layers.iter().rev().map(|layer| store.layer_dir(layer)).collect())
    }

    pub(crate) fn kernel(&self) -> PathBuf {
        self.lib.join("vmlinux")
    }

    /// For what else is made during this run.
    pub(crate) fn scratch(&self) -> &Path {
        self.root.path()
    }
}

impl Drop for Casemate {
    fn drop(&mut self) {
        let listed = subject::output(&mut self.command(&["ps", "-a", "-q", "--no-trunc"]));
        let names: Vec<String> = listed.unwrap_or_default().lines().map(str::to_owned).collect();
        let removed = if names.is_empty() { Ok(()) } else { self.remove(&names) };
        if let Err(error) = removed {
            eprintln!("casemate-bench: left behind: {}", casemate_model::chain(&error));
        }
    }
}
