//! An engine of a test's own: its directories, its command line, and its end.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::deadline::{PATIENCE, eventually, try_eventually};
use crate::host;
use crate::http;
use crate::leaks::Leaks;
use crate::modes::{Fixture, Isolation};
use crate::network::Node;
use crate::note;
use crate::prefix::Prefix;
use crate::process::{Finished, Spawned, ended_within, pid};

/// The host's tables are compared before and after: one engine at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Directories, and the daemon that serves there: started by the first command
/// that needs it, ended with the test.
#[derive(Debug)]
pub struct Engine {
    pub isolation: Isolation,
    pub prefix: Prefix,
    /// On a real filesystem: overlayfs does not stand on every other.
    root: TempDir,
    /// Short, because a socket's path has 107 bytes.
    run: TempDir,
    leaks: Leaks,
    /// None while nobody has needed it, or the test has it down.
    daemon: RefCell<Option<Spawned>>,
    /// The engine's options that it is started with.
    options: RefCell<Vec<String>>,
    finished: Cell<bool>,
    _alone: MutexGuard<'static, ()>,
}

impl Fixture for Engine {
    /// Takes the test's thread to a network of its own: whatever is started by the
    /// test is in there, and nothing in there reaches the host's.
    fn new(isolation: Isolation) -> Self {
        Node::enter_new();
        Self::here(isolation)
    }

    fn missing() -> Option<String> {
        None
    }

    /// Removes every container and looks for what is left.
    fn finish(self) {
        self.remove_all();
        self.expect_bridges();
        self.stop_daemon();
        self.leaks.check();
        self.all_is_well();
    }
}

impl Engine {
    /// In the network that this thread is in.
    pub(crate) fn here(isolation: Isolation) -> Self {
        let prefix = Prefix::staged();
        let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = |at: &str| {
            let made = tempfile::Builder::new().prefix("e2e-").tempdir_in(at);
            made.unwrap_or_else(|error| panic!("cannot make a directory in {at}: {error}"))
        };
        let (root, run) = (dir("/var/tmp"), dir("/run"));
        let leaks = Leaks::before(root.path(), run.path());
        Self {
            isolation,
            prefix,
            root,
            run,
            leaks,
            daemon: RefCell::default(),
            options: RefCell::default(),
            finished: Cell::new(false),
            _alone: alone,
        }
    }

    /// Nothing is left that would have to be cleared up, or shown.
    pub fn all_is_well(&self) {
        self.finished.set(true);
    }

    pub fn root(&self) -> &Path {
        self.root.path()
    }

    pub fn run_dir(&self) -> &Path {
        self.run.path()
    }

    pub fn is_hyperv(&self) -> bool {
        self.isolation == Isolation::Hyperv
    }

    /// What must not be left at this time.
    pub fn leaks(&self) -> &Leaks {
        if UnixStream::connect(self.socket()).is_ok() {
            self.expect_bridges();
        }
        &self.leaks
    }

    /// Those of the networks that there are, as the daemon tells.
    fn expect_bridges(&self) {
        let networks = http::request_json(&self.socket(), "GET", "/networks", None).is(200).json();
        let name = |network: &Value| {
            let id = network["Id"].as_str().expect("an id");
            let given = network["Options"]["com.docker.network.bridge.name"].as_str();
            given.map_or_else(|| format!("br-{}", &id[..12]), str::to_owned)
        };
        self.leaks.expect_bridges(networks.as_array().expect("a list").iter().map(name).collect::<BTreeSet<_>>());
    }

    /// A place for the test's own files.
    pub fn scratch(&self) -> PathBuf {
        let path = self.root().join("test");
        fs::create_dir_all(&path).expect("a directory for the test's files");
        path
    }

    pub fn socket(&self) -> PathBuf {
        self.run_dir().join("docker.sock")
    }

    /// Has a daemon serve with these options of the engine from now on.
    pub fn configure(&self, options: &[&str]) {
        self.stop_daemon();
        self.options.replace(options.iter().map(|option| (*option).to_owned()).collect());
    }

    /// The program on this engine's directories, and nothing of the user's own
    /// settings.
    pub fn program(&self, args: &[&str]) -> Command {
        let Prefix { program, lib } = &self.prefix;
        let mut command = Command::new(program);
        let is_setting =
            |name: &OsStr| ["CASEMATE_", "DOCKER_"].iter().any(|start| name.to_string_lossy().starts_with(start));
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_setting(name)) {
            command.env_remove(name);
        }
        command
            .env("CASEMATE_ROOT", self.root())
            .env("CASEMATE_RUN", self.run_dir())
            .env("CASEMATE_LIB", lib)
            .env("DOCKER_CONFIG", self.root().join("test/docker-config"))
            .args(args);
        command
    }

    /// A command for a daemon that is there.
    pub fn command(&self, args: &[&str]) -> Command {
        self.be_served();
        self.program(args)
    }

    /// The command that starts a daemon on these directories.
    pub fn daemon_command(&self) -> Command {
        let mut command = self.program(&["daemon"]);
        command.args(&*self.options.borrow());
        command.env("CASEMATE_LOG", "info,casemate_api=debug,casemate_engine=debug");
        command
    }

    /// Somebody else's daemon will do.
    fn be_served(&self) {
        if UnixStream::connect(self.socket()).is_err() {
            self.daemon.take();
            self.start_daemon();
        }
    }

    pub fn start_daemon(&self) {
        let daemon = Spawned::start(self.daemon_command());
        daemon.stderr.wait_for("API listens");
        self.leaks.expect_daemon(Some(daemon.pid()));
        let before = self.daemon.replace(Some(daemon));
        assert!(before.is_none(), "there was a daemon already");
    }

    pub fn daemon_pid(&self) -> u32 {
        self.daemon.borrow().as_ref().expect("a daemon that runs").pid()
    }

    /// What the daemon has written so far.
    pub fn daemon_log(&self) -> String {
        let daemon = self.daemon.borrow();
        String::from_utf8_lossy(&daemon.as_ref().expect("a daemon that runs").stderr.so_far()).into_owned()
    }

    fn take_daemon(&self) -> Option<Spawned> {
        self.leaks.expect_daemon(None);
        self.daemon.take()
    }

    /// As an administrator would: it ends well, and without its socket.
    pub fn stop_daemon(&self) {
        if let Some(daemon) = self.take_daemon() {
            daemon.signal(Signal::TERM);
            daemon.wait().ok();
            assert!(!self.socket().exists(), "the daemon left its socket");
        }
    }

    /// The daemon that a command has started on demand: by its pid file.
    pub fn on_demand_daemon(&self) -> u32 {
        let file = self.run_dir().join("casemate.pid");
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        text.trim().parse().expect("a number")
    }

    /// Ends it.
    pub fn stop_on_demand_daemon(&self) {
        let number = self.on_demand_daemon();
        kill_process(pid(number), Signal::TERM).expect("a daemon that runs");
        assert!(ended_within(number, PATIENCE), "the daemon {number} does not end");
    }

    /// kill -9.
    pub fn kill_daemon(&self) {
        let daemon = self.take_daemon().expect("a daemon that runs");
        daemon.signal(Signal::KILL);
        let finished = daemon.wait().exits(137);
        note(&format!("the daemon that was killed wrote:\n{}", finished.err()));
    }

    /// Runs a command to its end.
    #[track_caller]
    pub fn cli(&self, args: &[&str]) -> Finished {
        self.spawn(args).wait()
    }

    #[track_caller]
    pub fn spawn(&self, args: &[&str]) -> Spawned {
        Spawned::start(self.command(args))
    }

    pub fn run_args<'b>(&self, args: &[&'b str]) -> Vec<&'b str> {
        ["run", "--isolation", self.isolation.as_str()].into_iter().chain(args.iter().copied()).collect()
    }

    /// `run --isolation …` to its end.
    #[track_caller]
    pub fn run(&self, args: &[&str]) -> Finished {
        self.spawn_run(args).wait()
    }

    #[track_caller]
    pub fn spawn_run(&self, args: &[&str]) -> Spawned {
        self.spawn(&self.run_args(args))
    }

    /// A shell's script in a container of the built-in image, removed after.
    #[track_caller]
    pub fn script(&self, options: &[&str], script: &str) -> Finished {
        let args: Vec<&str> = ["--rm"].iter().chain(options).chain(&["busybox", "sh", "-c", script]).copied().collect();
        self.run(&args)
    }

    /// A container that runs until it is ended.
    #[track_caller]
    pub fn start<'a>(&'a self, name: &'a str, options: &[&str]) -> Container<'a> {
        let args = [&["--detach", "--name", name], options, &["busybox", "sleep", "100000"]].concat();
        self.run(&args).ok();
        self.container(name)
    }

    pub fn container<'a>(&'a self, name: &'a str) -> Container<'a> {
        Container { engine: self, name }
    }

    /// `rm -f` of whatever there is, until nothing is.
    #[track_caller]
    pub fn remove_all(&self) {
        eventually("all containers are removed", PATIENCE, || {
            let ids = self.cli(&["ps", "--all", "--quiet", "--no-trunc"]).ok().out();
            if ids.is_empty() {
                return Ok(());
            }
            let args: Vec<&str> = ["rm", "--force"].into_iter().chain(ids.lines()).collect();
            let removed = self.cli(&args);
            // One that is removed at its end may have come to it meanwhile; one whose
            // removal was asked for by a command that was killed is still on its way.
            let expected = |line: &str| line.contains("No such container") || line.contains("is already in progress");
            assert!(removed.err().lines().all(expected), "{removed:?}");
            Err("some are left")
        });
    }

    /// What the engine's processes wrote down, for whoever reads of a failure.
    fn print_logs(&self) {
        if let Some(daemon) = self.take_daemon() {
            eprintln!("--- the daemon's log\n{}", String::from_utf8_lossy(&daemon.stderr.so_far()));
        }
        for path in host::files_below(&self.root().join("containers")) {
            if path.file_name() == Some(OsStr::new("keeper.log")) || path.file_name() == Some(OsStr::new("state.json"))
            {
                let text = fs::read_to_string(&path).unwrap_or_default();
                eprintln!("--- {}\n{text}", path.display());
            }
        }
    }

    /// After a failure: takes away what is the engine's by its directories,
    /// without its help.
    fn clear_up(&self) {
        let groups = self.own_cgroups();
        self.kill_all();
        for line in host::mounts() {
            let target = line.split(' ').nth(1).unwrap_or_default();
            let dirs = [self.root(), self.run_dir()];
            if dirs.iter().any(|dir| Path::new(target).starts_with(dir)) {
                let _ = unmount(target, UnmountFlags::DETACH);
            }
        }
        // Their processes may need a moment to be gone.
        let _ = try_eventually(Duration::from_secs(5), || remove_all(&groups));
    }

    /// As a reboot would leave it: no processes, no control groups, and an
    /// empty `/run`.
    #[track_caller]
    pub fn lose_the_host(&self) {
        let groups = self.own_cgroups();
        drop(self.take_daemon());
        for pid in self.kill_all() {
            assert!(ended_within(pid, PATIENCE), "process {pid} survived");
        }
        eventually("the control groups are gone", PATIENCE, || {
            remove_all(&groups).map_err(|left| format!("{left} are left"))
        });
        for name in host::names(self.run_dir()) {
            let path = self.run_dir().join(name);
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
    }

    fn kill_all(&self) -> Vec<u32> {
        let pids: Vec<u32> = self.leaks.processes().into_iter().map(|process| process.pid).collect();
        for number in &pids {
            let _ = kill_process(pid(*number), Signal::KILL);
        }
        pids
    }

    fn own_cgroups(&self) -> Vec<PathBuf> {
        let ours = |path: &PathBuf| {
            let id = path.file_name().unwrap_or_default();
            self.root().join("containers").join(id).exists() || self.run_dir().join("containers").join(id).exists()
        };
        host::cgroups().into_iter().filter(ours).collect()
    }
}

/// How many could not be removed.
fn remove_all(groups: &[PathBuf]) -> Result<(), usize> {
    match groups.iter().filter(|path| fs::remove_dir(path).is_err() && path.exists()).count() {
        0 => Ok(()),
        left => Err(left),
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if self.finished.get() {
            return;
        }
        self.print_logs();
        self.clear_up();
    }
}

/// A container by its name.
#[derive(Clone, Copy, Debug)]
pub struct Container<'a> {
    engine: &'a Engine,
    name: &'a str,
}

impl Container<'_> {
    pub fn inspect(&self) -> Value {
        let text = self.engine.cli(&["inspect", self.name]).ok().out();
        let mut values: Value = serde_json::from_str(&text).expect("inspect prints JSON");
        values[0].take()
    }

    pub fn state(&self) -> Value {
        self.inspect()["State"].take()
    }

    #[track_caller]
    pub fn exec(&self, command: &[&str]) -> Finished {
        let args: Vec<&str> = ["exec", self.name].iter().chain(command).copied().collect();
        self.engine.cli(&args)
    }

    /// The host's processes for it, of this role.
    pub fn host_pids(&self, role: &str) -> Vec<u32> {
        let text = self.engine.cli(&["top", "--host", "--format", "json", self.name]).ok().out();
        let processes = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("a line of JSON"));
        let of_role = processes.filter(|process| process["Role"] == role);
        of_role.map(|process| process["PID"].as_u64().expect("a pid") as u32).collect()
    }

    #[track_caller]
    pub fn host_pid(&self, role: &str) -> u32 {
        match self.host_pids(role)[..] {
            [pid] => pid,
            ref pids => panic!("{} processes in the role of {role} for {}", pids.len(), self.name),
        }
    }

    /// Waits until it has this status.
    #[track_caller]
    pub fn until(&self, status: &str) {
        eventually(&format!("{} is {status}", self.name), PATIENCE, || {
            let state = self.state();
            if state["Status"] == status { Ok(()) } else { Err(state) }
        });
    }

    /// Waits until the engine does not know it any more.
    #[track_caller]
    pub fn until_gone(&self) {
        eventually(&format!("{} is gone", self.name), PATIENCE, || {
            let inspected = self.engine.cli(&["inspect", self.name]);
            if inspected.code == 1 { Ok(()) } else { Err(inspected.out()) }
        });
    }
}
