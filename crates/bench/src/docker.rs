//! The other measure for process mode: a Docker daemon, where one answers.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::error::{BenchError, file};
use crate::subject::{self, Moment, Subject};

/// An image of the same root in Docker's store. Dropping it removes it.
#[derive(Debug)]
pub(crate) struct Docker {
    image: String,
}

/// Why Docker is left out.
#[derive(Debug, thiserror::Error)]
#[error("no Docker daemon answers: {reason}")]
pub(crate) struct NoDocker {
    reason: String,
}

/// Whether Docker's client is here, with or without a daemon of its own.
pub(crate) fn has_client() -> bool {
    subject::output(Command::new("docker").arg("--version")).is_ok()
}

impl Docker {
    /// `layers` topmost first. Finds the daemon as any `docker` command does.
    pub(crate) fn reach(layers: &[PathBuf]) -> Result<Result<Self, NoDocker>, BenchError> {
        let answered = subject::output(Command::new("docker").args(["info", "--format", "{{.ServerVersion}}"]));
        if let Err(error) = answered {
            let reason = casemate_model::chain(&error).replace('\n', " ");
            return Ok(Err(NoDocker { reason }));
        }
        let docker = Self { image: format!("casemate-bench:{}", std::process::id()) };
        docker.import(layers)?;
        Ok(Ok(docker))
    }

    fn import(&self, layers: &[PathBuf]) -> Result<(), BenchError> {
        let mut command = Command::new("docker");
        command.args(["import", "-", &self.image]).stdin(Stdio::piped()).stdout(Stdio::null());
        let spawned = command.spawn();
        let mut child = spawned.map_err(|source| BenchError::Spawn { program: "docker".to_owned(), source })?;
        let sent = match child.stdin.take() {
            Some(stdin) => send(layers, stdin),
            None => Ok(()),
        };
        let status = child.wait().map_err(file("wait for", "docker"))?;
        if !status.success() {
            return Err(BenchError::Failed { command: "docker import".to_owned(), message: status.to_string() });
        }
        sent.map_err(file("send the image to", "docker"))
    }

    /// `docker run --rm OPTIONS IMAGE true`.
    pub(crate) fn run(&self, options: &'static [&'static str]) -> Subject<'_> {
        let words: String = options.iter().map(|option| format!("{option} ")).collect();
        let take = move || {
            let mut command = Command::new("docker");
            command.args(["run", "--rm"]).args(options).args([&self.image, "true"]);
            subject::time(&mut command, Moment::Exit, "")
        };
        Subject { labels: vec![format!("docker run --rm {words}IMAGE true")], take: Box::new(take) }
    }
}

/// As one archive: layers are in overlayfs form, lowest first, so that what is
/// higher replaces what is below.
fn send(layers: &[PathBuf], to: impl Write) -> io::Result<()> {
    let mut archive = tar::Builder::new(to);
    archive.follow_symlinks(false);
    for layer in layers.iter().rev() {
        archive.append_dir_all(".", layer)?;
    }
    archive.into_inner()?.flush()
}

impl Drop for Docker {
    fn drop(&mut self) {
        if let Err(error) = subject::output(Command::new("docker").args(["rmi", "-f", &self.image])) {
            eprintln!("casemate-bench: left behind: {}", casemate_model::chain(&error));
        }
    }
}
