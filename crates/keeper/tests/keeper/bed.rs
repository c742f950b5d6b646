//! A keeper and its container, made by hand.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use casemate_image::{Image, Store};
use casemate_model::{
    Bytes, Capabilities, Container, ContainerId, ContainerName, EtcFiles, ExitStatus, Exited, Failure, Isolation,
    Limits, MASKED_PATHS, Namespaces, OutputStream, Process, ProcessRef, READONLY_PATHS,
};
use casemate_record::{ContainerPaths, Layout, StateRecord, file};
use casemate_seccomp::{KernelVersion, Profile};
use casemate_wire::{CallError, Client, Create, ExecStarted, HostPlace, Network, Place, Stream, VmPlace};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;

/// Generous: a start under emulation takes a second or two, on a busy host ten.
const BOOT: Duration = Duration::from_secs(120);

/// Shorter than the pauses here, so that a guest that may stand still and one
/// that hangs are told apart.
pub(crate) const HEALTH_DEADLINE: Duration = Duration::from_millis(1500);

/// Different from the uids that an engine gives out.
const FIRST_UID: u32 = 1_950_000_000;

pub(crate) struct Bed {
    pub(crate) isolation: Isolation,
    dir: TempDir,
    layout: Layout,
    id: ContainerId,
    name: ContainerName,
}

/// A container that runs, and its keeper's process.
pub(crate) struct Running {
    pub(crate) client: Client,
    pub(crate) pid: u32,
    pub(crate) paths: ContainerPaths,
    stdout: Stream,
    read: String,
    /// Asked at once: a keeper goes with its container.
    exited: tokio::task::JoinHandle<Result<Exited, CallError>>,
    pub(crate) process: Child,
}

/// A container that does not run, and its keeper's process.
pub(crate) struct Visited {
    pub(crate) client: Client,
    process: Child,
}

fn staged(name: &str) -> PathBuf {
    let root = match std::env::var_os("CASEMATE_TEST_PREFIX") {
        Some(path) => PathBuf::from(path),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../out"),
    };
    let path = std::path::absolute(root).unwrap().join(name);
    assert!(path.exists(), "{} is missing: 'make test' builds what is tested and runs the tests", path.display());
    path
}

/// The built-in image, unpacked once for all runs of these tests.
fn image() -> &'static (Store, Image) {
    static IMAGE: OnceLock<(Store, Image)> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("images");
        fs::create_dir_all(&root).unwrap();
        let store = Store::open(&root).unwrap();
        store.load_builtin(&"busybox".parse().unwrap(), &staged("lib/casemate/busybox.tar")).unwrap();
        let image = store.resolve("busybox").unwrap();
        (store, image)
    })
}

/// Why these tests cannot run here, if they cannot.
fn missing(isolation: Isolation) -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("needs root".to_owned());
    }
    let there = |name: &&str| ["/usr/bin", "/usr/sbin"].iter().any(|dir| Path::new(dir).join(name).exists());
    let programs = ["qemu-system-x86_64", "mkfs.erofs", "mkfs.ext4"];
    let absent = programs.iter().find(|name| !there(name)).filter(|_| isolation == Isolation::Hyperv);
    absent.map(|name| format!("needs {name}"))
}

/// Runs the body with a keeper's surroundings, and looks for what is left.
pub(crate) fn in_mode<F: Future<Output = ()>>(isolation: Isolation, body: impl FnOnce(std::rc::Rc<Bed>) -> F) {
    if let Some(reason) = missing(isolation) {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci.is_empty()), "skipped in CI: {reason}");
        #[allow(clippy::print_stderr)]
        {
            eprintln!("skipped: {reason}");
        }
        return;
    }
    let bed = std::rc::Rc::new(Bed::new(isolation));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, body(std::rc::Rc::clone(&bed)));
    bed.nothing_is_left();
}

/// `async fn name(bed: Rc<Bed>) { … }` becomes `process::name` and
/// `hyperv::name`.
macro_rules! both_modes {
    ($($name:ident),* $(,)?) => {
        mod process {
            $(#[test] fn $name() { crate::bed::in_mode(casemate_model::Isolation::Process, super::$name) })*
        }
        mod hyperv {
            $(#[test] fn $name() { crate::bed::in_mode(casemate_model::Isolation::Hyperv, super::$name) })*
        }
    };
}
pub(crate) use both_modes;

impl Bed {
    fn new(isolation: Isolation) -> Self {
        let dir = tempfile::Builder::new().prefix("casemate-keeper-test").tempdir().unwrap();
        let layout = Layout::new(dir.path().join("root"), dir.path().join("run"));
        let mut random = [0; 32];
        rand::RngCore::fill_bytes(&mut rand::rng(), &mut random);
        let id = ContainerId::from_random(random);
        let name = format!("keeper-test-{}", id.short()).parse().unwrap();
        for dir in [layout.containers(), layout.running(), layout.scratch_cache()] {
            fs::create_dir_all(dir).unwrap();
        }
        Self { isolation, dir, layout, id, name }
    }

    pub(crate) fn paths(&self) -> ContainerPaths {
        self.layout.container(&self.id)
    }

    pub(crate) fn state(&self) -> StateRecord {
        file::read(&self.paths().state()).unwrap()
    }

    /// With everything as Docker has it.
    pub(crate) fn container(&self, script: &str) -> Container {
        Container {
            id: self.id.clone(),
            hostname: "box".to_owned(),
            domainname: String::new(),
            init: process(&["sh", "-c", script]),
            stdin_once: false,
            reaper: false,
            read_only: false,
            ephemeral: false,
            etc: EtcFiles {
                hosts: "127.0.0.1\tlocalhost\n".to_owned(),
                hostname: "box\n".to_owned(),
                ..EtcFiles::default()
            },
            limits: Limits::default(),
            shm_size: None,
            tmpfs: Vec::new(),
            sysctls: Vec::new(),
            namespaces: Namespaces::default(),
            privileged: false,
            devices: Vec::new(),
            device_rules: Vec::new(),
            masked_paths: MASKED_PATHS.map(str::to_owned).to_vec(),
            readonly_paths: READONLY_PATHS.map(str::to_owned).to_vec(),
        }
    }

    fn place(&self) -> Place {
        let (store, image) = image();
        let paths = self.paths();
        match self.isolation {
            Isolation::Process => Place::Host(HostPlace {
                lowers: image.layers.iter().rev().map(|layer| store.layer_dir(layer)).collect(),
                upper: paths.upper(),
                work: paths.work(),
                reaper: Some(staged("lib/casemate/docker-init")),
                network: Network::default(),
            }),
            Isolation::Hyperv => Place::Vm(VmPlace {
                qemu: None,
                kernel: staged("lib/casemate/vmlinux"),
                initrd: staged("lib/casemate/initrd.img"),
                layers: image.layers.iter().map(|layer| store.erofs(layer).unwrap().path).collect(),
                scratch: paths.scratch(),
                scratch_size: Bytes::mib(256),
                scratch_cache: self.layout.scratch_cache(),
                uid: FIRST_UID + std::process::id() % 1_000_000,
                accelerator: "auto".to_owned(),
                boot_timeout_ms: BOOT.as_millis() as u64,
                network: Network::default(),
            }),
        }
    }

    /// Spawns a keeper as the engine does.
    async fn keeper(&self) -> (Client, Child) {
        let paths = self.paths();
        for dir in [&paths.dir, &paths.run] {
            fs::create_dir_all(dir).unwrap();
        }
        let lock = File::create(paths.keeper_lock()).unwrap();
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
        // An address has room for a hundred bytes.
        let run = File::open(&paths.run).unwrap();
        let socket = format!("/proc/self/fd/{}/keeper.sock", run.as_raw_fd());
        let listener = UnixListener::bind(&socket).unwrap();
        let stream = UnixStream::connect(&socket).unwrap();
        stream.set_nonblocking(true).unwrap();
        let mut command = Command::new(staged("bin/casemate"));
        command
            .arg0(format!("casemate-keeper {}", self.name))
            .arg("keeper")
            .args(["--id", self.id.as_str(), "--name", self.name.as_str()])
            .arg("--keeper-root")
            .arg(self.layout.root())
            .arg("--keeper-run")
            .arg(self.layout.run())
            .args(["--log-file-size", "1000000", "--log-files", "2"])
            .args(["--health-deadline-ms", &HEALTH_DEADLINE.as_millis().to_string()])
            .current_dir("/")
            .stdin(OwnedFd::from(listener))
            .stdout(lock)
            .stderr(Stdio::null());
        let process = command.spawn().unwrap();
        drop(command);
        let client = Client::connect(tokio::net::UnixStream::from_std(stream).unwrap()).await.unwrap();
        (client, process)
    }

    /// A keeper that has the container prepared for work on its files.
    pub(crate) async fn open_files(&self, container: &Container) -> Result<Visited, Failure> {
        let (client, mut process) = self.keeper().await;
        match client.open_files(&Create { container: container.clone(), place: self.place() }).await {
            Ok(()) => Ok(Visited { client, process }),
            Err(error) => {
                drop(client);
                process.wait().unwrap();
                Err(error.into())
            }
        }
    }

    /// Another connection to the container's keeper.
    pub(crate) async fn connect(&self) -> Client {
        let run = File::open(self.paths().run).unwrap();
        let socket = format!("/proc/self/fd/{}/keeper.sock", run.as_raw_fd());
        Client::connect(tokio::net::UnixStream::connect(socket).await.unwrap()).await.unwrap()
    }

    /// A keeper that has the container prepared.
    pub(crate) async fn create(&self, container: &Container) -> Result<(Client, Child), Failure> {
        let (client, mut process) = self.keeper().await;
        match client.create(&Create { container: container.clone(), place: self.place() }).await {
            Ok(()) => Ok((client, process)),
            Err(error) => {
                drop(client);
                process.wait().unwrap();
                Err(error.into())
            }
        }
    }

    pub(crate) async fn start(&self, container: &Container) -> Result<Running, Failure> {
        let (client, mut process) = self.create(container).await?;
        let stdout = client.output(&ProcessRef::Init, OutputStream::Stdout).await.unwrap();
        let waiting = client.clone();
        let exited = tokio::task::spawn_local(async move { waiting.wait(&ProcessRef::Init).await });
        match client.start().await {
            Ok(started) => {
                let (pid, paths, read) = (started.pid, self.paths(), String::new());
                Ok(Running { client, pid, paths, stdout, read, exited, process })
            }
            Err(error) => {
                exited.abort();
                drop((client, stdout));
                assert!(process.wait().unwrap().success());
                Err(error.into())
            }
        }
    }

    /// A container that runs until it is ended; `ready` is what it writes when
    /// it has come so far.
    pub(crate) async fn running(&self, container: &Container, ready: &str) -> Running {
        let mut running = self.start(container).await.unwrap();
        running.read_until(ready).await;
        running
    }

    /// Its output, from its start to its end.
    pub(crate) async fn run(&self, container: &Container) -> Result<(String, Exited), Failure> {
        let mut running = self.start(container).await?;
        let mut output = String::new();
        running.stdout.read_to_string(&mut output).await.unwrap();
        Ok((output, running.exited().await))
    }

    /// The container's control groups and run directory, the VM's and the
    /// container's processes.
    fn nothing_is_left(&self) {
        assert!(!self.paths().run.exists(), "{} is left", self.paths().run.display());
        for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
            let group = hierarchy.path().join(self.paths().cgroup());
            assert!(!group.exists(), "{} is left", group.display());
        }
        let mine = self.dir.path().display().to_string();
        for process in fs::read_dir("/proc").unwrap().flatten() {
            let command = fs::read_to_string(process.path().join("cmdline")).unwrap_or_default();
            let found = command.contains(&mine) || command.contains(self.name.as_str());
            assert!(!found, "{} is left: {command}", process.path().display());
        }
    }
}

impl Visited {
    /// Lets go of the container, and waits for its keeper's end.
    pub(crate) async fn leave(self) {
        let Self { client, mut process } = self;
        // The connection is closed by its own task.
        drop(client);
        let ended = tokio::task::spawn_blocking(move || process.wait());
        assert!(ended.await.unwrap().unwrap().success());
    }

    /// The same by a request, whose answer may be the connection's end.
    pub(crate) async fn shut_down(self) {
        let _ = self.client.shutdown().await;
        self.leave().await;
    }
}

impl Running {
    /// Reads on until the text has come; returns what came after the last one
    /// that was waited for.
    pub(crate) async fn read_until(&mut self, text: &str) -> String {
        let mut chunk = [0; 4096];
        let end = loop {
            if let Some(at) = self.read.find(text) {
                break at + text.len();
            }
            match self.stdout.read(&mut chunk).await.unwrap() {
                0 => panic!("ended after {:?} without {text:?}", self.read),
                length => self.read.push_str(&String::from_utf8_lossy(&chunk[..length])),
            }
        };
        self.read.drain(..end).collect()
    }

    /// Forgets what was written, and says whether anything more was within the
    /// time. Nothing more comes after the end.
    pub(crate) async fn is_silent_for(&mut self, time: Duration) -> bool {
        self.read.clear();
        let mut chunk = [0; 4096];
        match tokio::time::timeout(time, self.stdout.read(&mut chunk)).await {
            Ok(read) => read.unwrap() == 0,
            Err(_) => true,
        }
    }

    pub(crate) async fn exec(&self, process: &Process) -> Result<(ExecStarted, String, ExitStatus), Failure> {
        let started = self.client.exec(process).await?;
        let exec = ProcessRef::Exec(started.id.clone());
        let mut output = String::new();
        self.client.output(&exec, OutputStream::Stdout).await?.read_to_string(&mut output).await.unwrap();
        let status = self.client.wait(&exec).await?.status;
        Ok((started, output, status))
    }

    /// How it ended; its keeper is gone then.
    pub(crate) async fn exited(self) -> Exited {
        let Self { client, stdout, exited, mut process, .. } = self;
        let exited = exited.await.unwrap().unwrap();
        drop((client, stdout));
        assert!(process.wait().unwrap().success());
        exited
    }

    /// Ends the container by force, and waits for its keeper's end.
    pub(crate) async fn end(self) {
        // The answer may be the connection's end.
        let _ = self.client.shutdown().await;
        self.exited().await;
    }

    /// Kills the keeper, and clears up after it as the next engine does.
    pub(crate) fn kill_keeper(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        casemate_launch::destroy_leftovers(&self.paths.cgroup(), &self.paths.run).unwrap();
        fs::remove_dir_all(&self.paths.run).unwrap();
    }
}

pub(crate) fn process(args: &[&str]) -> Process {
    static SECCOMP: OnceLock<casemate_model::Seccomp> = OnceLock::new();
    let seccomp = SECCOMP.get_or_init(|| {
        let kernel = KernelVersion::of_this_host().unwrap();
        Profile::docker_default().unwrap().compile(Capabilities::DOCKER_DEFAULT, kernel).unwrap()
    });
    Process {
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        env: vec!["PATH=/bin:/usr/bin:/sbin:/usr/sbin".to_owned()],
        cwd: "/".to_owned(),
        user: "".parse().unwrap(),
        additional_groups: Vec::new(),
        terminal: None,
        stdin: false,
        capabilities: Capabilities::DOCKER_DEFAULT,
        no_new_privileges: false,
        seccomp: Some(seccomp.clone()),
        rlimits: Vec::new(),
        oom_score_adj: 0,
    }
}

/// Processor time that a process used.
pub(crate) fn cpu_ticks(pid: u32) -> io::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let number = |index: usize| fields[index].parse::<u64>().unwrap();
    Ok(number(11) + number(12))
}
