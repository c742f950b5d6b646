//! The program under test, in directories of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use casemate_image::Store;
use serde_json::Value;
use tempfile::TempDir;

use crate::error::{BenchError, file};
use crate::subject::{self, Moment, Subject};

/// Its first command starts a daemon. Dropping it removes all its containers,
/// ends the daemon, and removes both directories.
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
            if ["CASEMATE_", "DOCKER_"].iter().any(|start| name.to_string_lossy().starts_with(start)) {
                command.env_remove(name);
            }
        }
        command
            .env("CASEMATE_ROOT", self.root.path().join("engine"))
            .env("CASEMATE_RUN", self.run.path())
            .env("CASEMATE_LIB", &self.lib)
            // No context of the user's either.
            .env("DOCKER_CONFIG", self.root.path())
            .args(args);
        command
    }

    /// Docker's own client on the same daemon.
    pub(crate) fn docker_run<'a>(&'a self, args: &'a [&'a str]) -> Subject<'a> {
        let socket = format!("unix://{}", self.run.path().join("docker.sock").display());
        let take = move || {
            let mut command = Command::new("docker");
            command.env("DOCKER_HOST", &socket).env("DOCKER_CONFIG", self.root.path()).env_remove("DOCKER_CONTEXT");
            subject::time(command.arg("run").args(args), Moment::Exit, "")
        };
        Subject { labels: vec![format!("docker run {} (casemate)", args.join(" "))], take: Box::new(take) }
    }

    fn end_daemon(&self) -> Result<(), BenchError> {
        let path = self.run.path().join("casemate.pid");
        let Ok(text) = std::fs::read_to_string(&path) else { return Ok(()) };
        let pid = text.trim().parse().ok().and_then(rustix::process::Pid::from_raw);
        let pid = pid.ok_or(BenchError::Format { what: "the daemon's pid file", found: text })?;
        let failed = file("end the daemon of", path);
        let daemon = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty());
        let daemon = match daemon {
            Ok(daemon) => daemon,
            Err(rustix::io::Errno::SRCH) => return Ok(()),
            Err(error) => return Err(failed(error.into())),
        };
        let ended = rustix::process::pidfd_send_signal(&daemon, rustix::process::Signal::TERM).and_then(|()| {
            // Readable when it has ended.
            rustix::event::poll(&mut [rustix::event::PollFd::new(&daemon, rustix::event::PollFlags::IN)], None)
        });
        ended.map(drop).map_err(|error| failed(error.into()))
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
        if let Err(error) = removed.and_then(|()| self.end_daemon()) {
            eprintln!("casemate-bench: left behind: {}", casemate_model::chain(&error));
        }
    }
}
