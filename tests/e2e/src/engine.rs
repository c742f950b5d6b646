//! An engine of a test's own: its directories, its command line, and its end.

use std::cell::Cell;
use std::ffi::OsStr;
use std::fs;
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
use crate::leaks::Leaks;
use crate::modes::{Fixture, Isolation};
use crate::prefix::Prefix;
use crate::process::{Finished, Spawned, ended_within, pid};

/// The host's tables are compared before and after: one engine at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

#[derive(Debug)]
pub struct Engine {
    pub isolation: Isolation,
    pub prefix: Prefix,
    /// On a real filesystem: overlayfs does not stand on every other.
    root: TempDir,
    /// Short, because a socket's path has 107 bytes.
    run: TempDir,
    leaks: Leaks,
    finished: Cell<bool>,
    _alone: MutexGuard<'static, ()>,
}

/// The command line of an engine, with options for all its commands.
#[derive(Clone, Debug)]
pub struct Cli<'a> {
    engine: &'a Engine,
    options: Vec<String>,
}

impl Fixture for Engine {
    fn new(isolation: Isolation) -> Self {
        let prefix = Prefix::staged();
        let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = |at: &str| {
            let made = tempfile::Builder::new().prefix("e2e-").tempdir_in(at);
            made.unwrap_or_else(|error| panic!("cannot make a directory in {at}: {error}"))
        };
        let (root, run) = (dir("/var/tmp"), dir("/run"));
        let leaks = Leaks::before(root.path(), run.path());
        Self { isolation, prefix, root, run, leaks, finished: Cell::new(false), _alone: alone }
    }

    fn missing() -> Option<String> {
        None
    }

    /// Removes every container and looks for what is left.
    fn finish(self) {
        self.remove_all();
        self.leaks.check();
        self.all_is_well();
    }
}

impl Engine {
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

    pub fn leaks(&self) -> &Leaks {
        &self.leaks
    }

    /// A place for the test's own files.
    pub fn scratch(&self) -> PathBuf {
        let path = self.root().join("test");
        fs::create_dir_all(&path).expect("a directory for the test's files");
        path
    }

    /// The same engine with options that all its commands have.
    pub fn with<'a>(&'a self, options: &[&str]) -> Cli<'a> {
        Cli { engine: self, options: options.iter().map(|option| (*option).to_owned()).collect() }
    }

    fn plain(&self) -> Cli<'_> {
        self.with(&[])
    }

    pub fn command(&self, args: &[&str]) -> Command {
        self.plain().command(args)
    }

    /// Runs a command to its end.
    #[track_caller]
    pub fn cli(&self, args: &[&str]) -> Finished {
        self.plain().cli(args)
    }

    #[track_caller]
    pub fn spawn(&self, args: &[&str]) -> Spawned {
        self.plain().spawn(args)
    }

    /// `run --isolation …` to its end.
    #[track_caller]
    pub fn run(&self, args: &[&str]) -> Finished {
        self.plain().run(args)
    }

    #[track_caller]
    pub fn spawn_run(&self, args: &[&str]) -> Spawned {
        self.plain().spawn_run(args)
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
        self.plain().start(name, options)
    }

    pub fn container<'a>(&'a self, name: &'a str) -> Container<'a> {
        Container { engine: self, name }
    }

    /// `rm -f` of whatever there is.
    #[track_caller]
    pub fn remove_all(&self) {
        let ids = self.cli(&["ps", "--all", "--quiet", "--no-trunc"]).ok().out();
        let ids: Vec<&str> = ids.lines().collect();
        if ids.is_empty() {
            return;
        }
        let args: Vec<&str> = ["rm", "--force"].into_iter().chain(ids).collect();
        let removed = self.cli(&args);
        // One that is removed at its end may have come to it meanwhile.
        let complaints = removed.err();
        assert!(complaints.lines().all(|line| line.contains("No such container")), "{removed:?}");
    }

    /// What the engine's keepers wrote down, for whoever reads of a failure.
    fn print_logs(&self) {
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

impl<'a> Cli<'a> {
    pub fn command(&self, args: &[&str]) -> Command {
        let Prefix { program, lib } = &self.engine.prefix;
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CASEMATE_")) {
            command.env_remove(name);
        }
        command
            .env("CASEMATE_ROOT", self.engine.root())
            .env("CASEMATE_RUN", self.engine.run_dir())
            .env("CASEMATE_LIB", lib)
            .args(&self.options)
            .args(args);
        command
    }

    #[track_caller]
    pub fn cli(&self, args: &[&str]) -> Finished {
        self.spawn(args).wait()
    }

    #[track_caller]
    pub fn spawn(&self, args: &[&str]) -> Spawned {
        Spawned::start(self.command(args))
    }

    #[track_caller]
    pub fn run(&self, args: &[&str]) -> Finished {
        self.spawn_run(args).wait()
    }

    #[track_caller]
    pub fn spawn_run(&self, args: &[&str]) -> Spawned {
        self.spawn(&self.run_args(args))
    }

    pub fn run_args<'b>(&self, args: &[&'b str]) -> Vec<&'b str> {
        ["run", "--isolation", self.engine.isolation.as_str()].into_iter().chain(args.iter().copied()).collect()
    }

    #[track_caller]
    pub fn start(&self, name: &'a str, options: &[&str]) -> Container<'a> {
        let args: Vec<&str> = ["--detach", "--name", name]
            .iter()
            .chain(options)
            .chain(&["busybox", "sleep", "100000"])
            .copied()
            .collect();
        self.run(&args).ok();
        self.engine.container(name)
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
