//! A small image and containers of it.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use casemate_launch::{Cage, Child, LaunchError, Place, Stdio};
use casemate_model::{
    Capabilities, Container, ContainerId, EtcFiles, ExitStatus, Limits, MASKED_PATHS, Namespaces, Process,
    READONLY_PATHS, UserSpec,
};
use casemate_seccomp::{KernelVersion, Profile};
use rustix::event::{PollFd, PollFlags, poll};
use tempfile::TempDir;

use crate::harness::MARK;

const BUSYBOX: &str = "/bin/busybox";
const APPLETS: [&str; 38] = [
    "sh", "true", "false", "cat", "sleep", "ls", "id", "env", "grep", "sort", "stat", "mknod", "dd", "hostname", "tty",
    "stty", "kill", "ps", "readlink", "mount", "umount", "echo", "test", "mkdir", "rm", "ln", "chmod", "ip", "pwd",
    "head", "seq", "sed", "touch", "wc", "tail", "unshare", "chown", "yes",
];

pub(crate) const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34:web:/srv/web:/bin/sh\n";
pub(crate) const GROUP: &str = "root:x:0:\nweb:x:34:\nlog:x:4:web,root\n";

/// A directory with one layer and room for a container.
pub(crate) struct Sandbox {
    pub(crate) dir: TempDir,
    pub(crate) lowers: Vec<PathBuf>,
    pub(crate) reaper: Option<PathBuf>,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix(MARK).tempdir().unwrap();
        let layer = dir.path().join("layer");
        make_layer(&layer);
        Self { lowers: vec![layer], dir, reaper: None }
    }

    pub(crate) fn layer(&self) -> PathBuf {
        self.dir.path().join("layer")
    }

    pub(crate) fn place(&self) -> Place {
        let at = |name: &str| {
            let path = self.dir.path().join(name);
            fs::create_dir_all(&path).unwrap();
            path
        };
        Place {
            dir: at("run"),
            lowers: self.lowers.clone(),
            upper: at("upper"),
            work: at("work"),
            fresh: false,
            reaper: self.reaper.clone(),
            cgroup: format!("{MARK}/{}", std::process::id()),
        }
    }

    pub(crate) fn cage(&self, container: Container) -> Cage {
        Cage::create(container, self.place()).unwrap()
    }

    /// Runs a container from beginning to end.
    pub(crate) fn run(&self, container: Container) -> Result<Output, LaunchError> {
        let cage = Cage::create(container, self.place())?;
        let child = cage.start().and_then(casemate_launch::Starting::finish);
        let output = child.map(collect);
        cage.destroy().unwrap();
        output
    }

    /// Runs a script in a container with everything as Docker has it.
    pub(crate) fn sh(&self, script: &str) -> Output {
        self.run(container(&["sh", "-c", script])).unwrap()
    }
}

fn make_layer(layer: &Path) {
    for name in ["bin", "etc", "root", "tmp", "srv/web", "proc", "sys", "dev"] {
        fs::create_dir_all(layer.join(name)).unwrap();
    }
    fs::set_permissions(layer.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    fs::copy(BUSYBOX, layer.join("bin/busybox")).unwrap();
    for applet in APPLETS {
        symlink("busybox", layer.join("bin").join(applet)).unwrap();
    }
    fs::write(layer.join("etc/passwd"), PASSWD).unwrap();
    fs::write(layer.join("etc/group"), GROUP).unwrap();
}

/// Builds `probe.rs` into the image, as a program that needs nothing else.
pub(crate) fn add_probe(layer: &Path) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/launch/probe.rs");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let built = Command::new(rustc)
        .args(["--edition", "2024", "-O", "-C", "target-feature=+crt-static", "-o"])
        .arg(layer.join("bin/probe"))
        .arg(source)
        .status()
        .unwrap();
    assert!(built.success());
}

pub(crate) fn process(args: &[&str]) -> Process {
    let seccomp = Profile::docker_default()
        .unwrap()
        .compile(Capabilities::DOCKER_DEFAULT, KernelVersion::of_this_host().unwrap())
        .unwrap();
    Process {
        args: args.iter().map(|a| (*a).to_owned()).collect(),
        env: vec!["PATH=/usr/local/bin:/usr/bin:/bin".to_owned(), "HOSTNAME=box".to_owned()],
        cwd: "/".to_owned(),
        user: UserSpec::default(),
        additional_groups: Vec::new(),
        terminal: None,
        stdin: false,
        capabilities: Capabilities::DOCKER_DEFAULT,
        no_new_privileges: false,
        seccomp: Some(seccomp),
        rlimits: Vec::new(),
        oom_score_adj: 0,
    }
}

pub(crate) fn container(args: &[&str]) -> Container {
    Container {
        id: ContainerId::from_random([7; 32]),
        hostname: "box".to_owned(),
        domainname: String::new(),
        init: process(args),
        stdin_once: false,
        reaper: false,
        read_only: false,
        ephemeral: false,
        etc: EtcFiles {
            hosts: "127.0.0.1\tlocalhost\n".to_owned(),
            hostname: "box\n".to_owned(),
            resolv_conf: "nameserver 192.0.2.1\n".to_owned(),
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

/// As a bit each, what this host lets root do.
pub(crate) fn own_capabilities() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let permitted = status.lines().find_map(|line| line.strip_prefix("CapPrm:")).unwrap();
    u64::from_str_radix(permitted.trim(), 16).unwrap()
}

#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Output {
    /// The standard output of a command that did what it should.
    #[track_caller]
    pub(crate) fn ok(&self) -> &str {
        assert_eq!(self.status, ExitStatus::Code(0), "stderr: {}\nstdout: {}", self.stderr, self.stdout);
        &self.stdout
    }
}

/// Reads both outputs to their end and waits.
pub(crate) fn collect(mut child: Child) -> Output {
    let Some(Stdio::Pipes { stdin, stdout, stderr }) = child.take_io() else { panic!("not on pipes") };
    drop(stdin);
    let mut open = [Some(stdout), Some(stderr)];
    let mut texts = [Vec::new(), Vec::new()];
    while open.iter().any(Option::is_some) {
        let ready: Vec<bool> = {
            let mut fds: Vec<PollFd<'_>> = open.iter().flatten().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
            poll(&mut fds, None).unwrap();
            let mut answers = fds.iter().map(|fd| !fd.revents().is_empty());
            open.iter().map(|fd| fd.is_some() && answers.next().unwrap()).collect()
        };
        for (index, _) in ready.into_iter().enumerate().filter(|(_, ready)| *ready) {
            let mut buffer = [0; 65536];
            match rustix::io::read(open[index].as_ref().unwrap(), &mut buffer[..]).unwrap() {
                0 => open[index] = None,
                length => texts[index].extend_from_slice(&buffer[..length]),
            }
        }
    }
    let status = child.wait().unwrap();
    let [stdout, stderr] = texts.map(|text| String::from_utf8_lossy(&text).into_owned());
    Output { status, stdout, stderr }
}

/// Reads from a process until what it wrote holds `text`.
pub(crate) fn read_until(fd: &OwnedFd, text: &str) -> String {
    let mut read = String::new();
    let mut buffer = [0; 4096];
    while !read.contains(text) {
        match rustix::io::read(fd, &mut buffer[..]) {
            Ok(0) => panic!("ended after {read:?} without {text:?}"),
            Ok(n) => read.push_str(&String::from_utf8_lossy(&buffer[..n])),
            Err(error) => panic!("{error} after {read:?} without {text:?}"),
        }
    }
    read
}

/// A started container whose script runs until it is killed.
pub(crate) struct Running {
    pub(crate) cage: Cage,
    pub(crate) init: Child,
    pub(crate) stdout: OwnedFd,
}

impl Running {
    pub(crate) fn start(sandbox: &Sandbox, container: Container) -> Self {
        let cage = sandbox.cage(container);
        let mut init = cage.start().unwrap().finish().unwrap();
        let Some(Stdio::Pipes { stdout, .. }) = init.take_io() else { panic!("not on pipes") };
        Self { cage, init, stdout }
    }

    /// A container that does nothing, for execs.
    pub(crate) fn idle(sandbox: &Sandbox) -> Self {
        // A shell that waits, not sleep itself: it reaps.
        Self::start(sandbox, container(&["sh", "-c", "sleep 1000 & wait"]))
    }

    pub(crate) fn exec(&self, process: &Process) -> Result<Output, LaunchError> {
        self.cage.exec(process)?.finish().map(collect)
    }

    pub(crate) fn end(mut self) {
        self.cage.kill_all().unwrap();
        assert_eq!(self.init.wait().unwrap().code(), 137);
        self.cage.destroy().unwrap();
    }
}
