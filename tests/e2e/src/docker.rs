//! A daemon of a test's own, and Docker's stock client for it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::deadline::{PATIENCE, eventually};
use crate::engine::Engine;
use crate::http::{self, Answer};
use crate::modes::{Fixture, Isolation};
use crate::process::{Finished, Spawned};

/// `casemate daemon` on directories of its own, and who talks to it. Or the
/// daemon that the tests are held against.
#[derive(Debug)]
pub struct Docker {
    engine: Engine,
    another: Option<Another>,
}

/// A daemon that is not the tests' own.
#[derive(Debug)]
struct Another {
    socket: PathBuf,
    /// What it had before.
    containers: String,
}

impl Fixture for Docker {
    fn new(isolation: Isolation) -> Self {
        let engine = Engine::new(isolation);
        engine.start_daemon();
        Self { engine, another: None }
    }

    fn missing() -> Option<String> {
        let found = std::env::var_os("PATH")
            .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join("docker").exists()));
        (!found).then(|| "needs Docker's client, docker, on the PATH".to_owned())
    }

    /// Removes every container, stops the daemon, and looks for what is left.
    fn finish(self) {
        self.remove_all();
        self.engine.finish();
    }
}

impl Docker {
    /// Another daemon of this host. What it has stays.
    pub(crate) fn another(socket: PathBuf) -> Self {
        // Its ports are those of the network that it is in.
        let engine = Engine::here(Isolation::Process);
        let mut docker = Self { engine, another: Some(Another { socket: socket.clone(), containers: String::new() }) };
        let containers = docker.containers();
        docker.another = Some(Another { socket, containers });
        docker
    }

    /// The end of a test of another daemon.
    pub(crate) fn leave(self) {
        self.remove_all();
        self.engine.finish();
    }

    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    pub fn isolation(&self) -> &'static str {
        self.engine.isolation.as_str()
    }

    pub fn socket(&self) -> PathBuf {
        match &self.another {
            Some(another) => another.socket.clone(),
            None => self.engine.socket(),
        }
    }

    /// The words that ask for the isolation. Docker's daemon knows none on Linux.
    fn isolation_flags(&self) -> Vec<&'static str> {
        if self.another.is_some() { Vec::new() } else { vec!["--isolation", self.isolation()] }
    }

    pub fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    pub fn start_daemon(&self) {
        self.engine.start_daemon();
    }

    pub fn daemon_pid(&self) -> u32 {
        self.engine.daemon_pid()
    }

    pub fn stop_daemon(&self) {
        self.engine.stop_daemon();
    }

    pub fn kill_daemon(&self) {
        self.engine.kill_daemon();
    }

    pub fn kill_and_restart_daemon(&self) {
        self.kill_daemon();
        self.start_daemon();
    }

    /// The environment of Docker's clients.
    pub fn for_clients(&self, command: &mut Command) {
        let config = self.engine.scratch().join("docker-config");
        fs::create_dir_all(&config).expect("a directory for the client's configuration");
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("DOCKER_")) {
            command.env_remove(name);
        }
        command.env("DOCKER_HOST", self.host()).env("DOCKER_CONFIG", &config).env("HOME", &config);
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("docker");
        self.for_clients(&mut command);
        command.args(args);
        command
    }

    /// Runs a command of the client to its end.
    #[track_caller]
    pub fn cli(&self, args: &[&str]) -> Finished {
        self.spawn(args).wait()
    }

    #[track_caller]
    pub fn spawn(&self, args: &[&str]) -> Spawned {
        Spawned::start(self.command(args))
    }

    /// `run --isolation …`
    pub fn run_args<'a>(&self, args: &[&'a str]) -> Vec<&'a str> {
        [&["run"], &self.isolation_flags()[..], args].concat()
    }

    #[track_caller]
    pub fn run(&self, args: &[&str]) -> Finished {
        self.spawn_run(args).wait()
    }

    #[track_caller]
    pub fn spawn_run(&self, args: &[&str]) -> Spawned {
        self.spawn(&self.run_args(args))
    }

    /// A container that runs until it is ended; its id.
    #[track_caller]
    pub fn start(&self, name: &str, options: &[&str]) -> String {
        let args = [&["--detach", "--name", name], options, &["busybox", "sleep", "100000"]].concat();
        self.run(&args).word()
    }

    /// A container that is not started; its id.
    #[track_caller]
    pub fn create(&self, args: &[&str]) -> String {
        self.cli(&[&["create"], &self.isolation_flags()[..], args].concat()).word()
    }

    #[track_caller]
    pub fn inspect(&self, name: &str) -> Value {
        let text = self.cli(&["container", "inspect", name]).ok().out();
        let mut values: Value = serde_json::from_str(&text).expect("inspect prints JSON");
        values[0].take()
    }

    #[track_caller]
    pub fn state(&self, name: &str) -> Value {
        self.inspect(name)["State"].take()
    }

    /// Waits until its state is as the test wants it.
    #[track_caller]
    pub fn until(&self, name: &str, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        eventually(&format!("{name} {what}"), PATIENCE, || {
            let inspected = self.inspect(name);
            if fits(&inspected) { Ok(inspected) } else { Err(inspected["State"].to_string()) }
        })
    }

    #[track_caller]
    pub fn until_status(&self, name: &str, status: &str) {
        self.until(name, &format!("is {status}"), |inspected| inspected["State"]["Status"] == status);
    }

    #[track_caller]
    pub fn until_gone(&self, name: &str) {
        eventually(&format!("{name} is gone"), PATIENCE, || {
            let answer = self.get(&format!("/containers/{name}/json"));
            if answer.status == 404 { Ok(()) } else { Err(answer.status) }
        });
    }

    /// What `events` has to tell of the past, of what these options choose.
    #[track_caller]
    pub fn events_so_far(&self, options: &[&str]) -> Vec<String> {
        // The client cuts what it reckons itself down to whole seconds.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock that is set");
        let until = format!("{}.{:09}", now.as_secs(), now.subsec_nanos());
        let args = [&["events", "--since", "1h", "--until", &until, "--format", "{{.Action}}"], options].concat();
        self.cli(&args).ok().out().lines().map(str::to_owned).collect()
    }

    /// A request of the test's own, on a connection of its own.
    pub fn request(&self, method: &str, path: &str, json: Option<&Value>) -> Answer {
        http::request_json(&self.socket(), method, path, json)
    }

    pub fn get(&self, path: &str) -> Answer {
        self.request("GET", path, None)
    }

    pub fn post(&self, path: &str) -> Answer {
        self.request("POST", path, None)
    }

    /// The ids of all containers, in lines.
    fn containers(&self) -> String {
        self.cli(&["ps", "--all", "--quiet", "--no-trunc"]).ok().out()
    }

    /// Those that are the test's.
    fn own_containers(&self) -> Vec<String> {
        let before = self.another.as_ref().map_or("", |another| &another.containers);
        self.containers().lines().filter(|id| !before.contains(*id)).map(str::to_owned).collect()
    }

    /// `rm -f` of whatever there is.
    #[track_caller]
    pub fn remove_all(&self) {
        let ids = self.own_containers();
        if ids.is_empty() {
            return;
        }
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let removed = self.cli(&[&["rm", "--force"], &ids[..]].concat());
        // One that is removed at its end may have come to it meanwhile.
        let complaints = removed.err();
        let forgivable = |line: &str| line.contains("No such container") || line.contains("is already in progress");
        assert!(complaints.lines().all(forgivable), "{removed:?}");
        eventually("all containers are gone", PATIENCE, || {
            let left = self.own_containers();
            if left.is_empty() { Ok(()) } else { Err(left.join(" ")) }
        });
    }
}
