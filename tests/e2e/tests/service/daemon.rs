//! A daemon that a test starts as it likes.

use std::fs;
use std::process::Command;

use casemate_e2e::{Engine, Finished, Spawned};
use rustix::process::Signal;

pub(crate) struct Service<'a> {
    pub(crate) engine: &'a Engine,
    daemon: Spawned,
}

/// The daemon's command on the engine's directories. Its log is as configured.
pub(crate) fn command(engine: &Engine, flags: &[&str]) -> Command {
    let mut command = engine.program(&[&["daemon"], flags].concat());
    command.env_remove("RUST_LOG");
    command
}

/// A daemon that does not come up: what it said.
#[track_caller]
pub(crate) fn refused(engine: &Engine, flags: &[&str]) -> Finished {
    Spawned::start(command(engine, flags)).wait().exits(1)
}

/// A configuration file of the test's own.
pub(crate) fn configure(engine: &Engine, text: &str) -> String {
    let path = engine.scratch().join("daemon.json");
    fs::write(&path, text).expect("a configuration file");
    path.to_str().expect("a path in text").to_owned()
}

impl<'a> Service<'a> {
    #[track_caller]
    pub(crate) fn start(engine: &'a Engine, flags: &[&str]) -> Self {
        Self::of(engine, command(engine, flags))
    }

    #[track_caller]
    pub(crate) fn of(engine: &'a Engine, command: Command) -> Self {
        let daemon = Spawned::start(command);
        daemon.stderr.wait_for("API listens");
        Self { engine, daemon }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.daemon.pid()
    }

    #[track_caller]
    pub(crate) fn log_has(&self, text: &str) {
        self.daemon.stderr.wait_for(text);
    }

    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&self.daemon.stderr.so_far()).into_owned()
    }

    /// Where it listens on TCP, as the kernel chose.
    #[track_caller]
    pub(crate) fn tcp(&self) -> String {
        self.log_has("API listens address=\"tcp://");
        let log = self.log();
        let (_, rest) = log.split_once("API listens address=\"tcp://").expect("an address");
        rest.split_once('"').expect("its end").0.to_owned()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.daemon.signal(signal);
    }

    /// It ends well, by SIGTERM.
    #[track_caller]
    pub(crate) fn stop(self) -> Finished {
        self.signal(Signal::TERM);
        self.daemon.wait().ok()
    }

    #[track_caller]
    pub(crate) fn kill(self) {
        self.signal(Signal::KILL);
        self.daemon.wait().exits(137);
    }

    /// Docker's client, for this daemon's own socket.
    pub(crate) fn docker(&self, args: &[&str]) -> Command {
        docker(self.engine, &format!("unix://{}/docker.sock", self.engine.run_dir().display()), args)
    }

    #[track_caller]
    pub(crate) fn cli(&self, args: &[&str]) -> Finished {
        Spawned::start(self.docker(args)).wait()
    }
}

/// Docker's client with nothing but this to go by.
pub(crate) fn docker(engine: &Engine, host: &str, args: &[&str]) -> Command {
    let config = engine.scratch().join("docker-config");
    fs::create_dir_all(&config).expect("a directory for the client's configuration");
    let mut command = Command::new("docker");
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("DOCKER_")) {
        command.env_remove(name);
    }
    command.env("DOCKER_CONFIG", &config).env("HOME", &config).args(["--host", host]).args(args);
    command
}
