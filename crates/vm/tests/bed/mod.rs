//! What tests and measurements of real VMs stand on: a kernel, QEMU, an
//! initramfs around `guest/init.rs`, and a conversation with it.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::num::NonZeroU32;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use casemate_model::{Bytes, ContainerId, NanoCpus};
use casemate_vm::{
    Accelerator, AcceleratorChoice, ConsoleTail, Detected, Disks, Ended, Extent, HostCapacity, Jail, Machine, Qemu,
    Running, TscKhz, Vm, VmSize, write_initramfs,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Nothing here takes longer on a host that works.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const UID: u32 = 2_000_017;
pub(crate) const GID: u32 = 2_000_018;

pub(crate) struct Bed {
    pub(crate) qemu: Qemu,
    pub(crate) kernel: PathBuf,
    pub(crate) initrd: PathBuf,
    pub(crate) accelerator: Accelerator,
    pub(crate) directory: tempfile::TempDir,
}

impl Bed {
    /// Or the reason why there can be none here.
    pub(crate) fn make() -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("needs root".to_owned());
        }
        let qemu = Qemu::find().map_err(|error| error.to_string())?;
        let kernel = find_kernel().ok_or("no guest kernel (set CASEMATE_TEST_KERNEL, or run make)")?;
        let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
        let init = directory.path().join("init");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guest/init.rs");
        let built = Command::new("rustc")
            .args(["--edition", "2024", "-C", "opt-level=1", "-C", "panic=abort", "-C", "strip=symbols"])
            .args(["-C", "target-feature=+crt-static", "-o"])
            .args([&init, &source])
            .status();
        if !built.is_ok_and(|status| status.success()) {
            return Err("cannot build the test's init with rustc".to_owned());
        }
        let initrd = directory.path().join("initrd");
        write_initramfs(&init, None, &initrd).map_err(|error| error.to_string())?;
        let detected = Detected::on_this_host(AcceleratorChoice::Auto).map_err(|error| error.to_string())?;
        Ok(Self { qemu, kernel, initrd, accelerator: detected.accelerator, directory })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn jail(&self) -> Jail {
        let number = |n| NonZeroU32::new(n).unwrap();
        Jail { uid: number(UID), gid: number(GID), cgroups: Vec::new() }
    }

    pub(crate) fn tsc(&self) -> Option<TscKhz> {
        TscKhz::of_this_host(&self.path("tsc"))
    }

    /// An image of some blocks, each of which says where it is.
    pub(crate) fn layer(&self, name: &str, blocks: u64) -> File {
        let path = self.path(name);
        let mut file = File::create(&path).unwrap();
        file.set_len(blocks * Extent::ALIGNMENT).unwrap();
        for block in [0, blocks - 1] {
            file.seek(SeekFrom::Start(block * Extent::ALIGNMENT)).unwrap();
            file.write_all(format!("{name}:{block:06}").as_bytes()).unwrap();
        }
        File::open(&path).unwrap()
    }

    /// An empty scratch disk without a file system.
    pub(crate) fn blank(&self, size: u64) -> File {
        let file = tempfile::tempfile_in(self.directory.path()).unwrap();
        file.set_len(size).unwrap();
        file
    }

    pub(crate) fn machine(&self, layers: Vec<File>, scratch: File) -> Machine {
        Machine {
            name: "web-1".parse().unwrap(),
            id: ContainerId::from_random([0xc5; 32]),
            accelerator: self.accelerator,
            tsc: self.tsc(),
            size: size(1),
            kernel: self.kernel.clone(),
            initrd: self.initrd.clone(),
            disks: Disks::new(layers, scratch).unwrap(),
            nics: Vec::new(),
        }
    }

    pub(crate) fn simple_machine(&self) -> Machine {
        self.machine(vec![self.layer("only", 4)], self.blank(16 << 20))
    }

    pub(crate) fn boot(&self, machine: Machine) -> Guest {
        self.boot_in(machine, &self.jail())
    }

    pub(crate) fn boot_in(&self, machine: Machine, jail: &Jail) -> Guest {
        let mut guest = Guest::new(casemate_vm::spawn(&self.qemu, machine, jail).unwrap());
        guest.wait_ready();
        guest
    }
}

pub(crate) fn size(vcpus: u64) -> VmSize {
    let host = HostCapacity { memory: Bytes(Bytes::GIB), cpus: u32::try_from(vcpus).unwrap() };
    VmSize::for_container(Some(Bytes::mib(128)), Some(NanoCpus(vcpus * NanoCpus::ONE.0)), host).unwrap()
}

fn find_kernel() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("CASEMATE_TEST_KERNEL") {
        return Some(path.into());
    }
    let caches = fs::read_dir("/var/cache/casemate/kernel").ok()?;
    let kernels = caches.filter_map(|entry| Some(entry.ok()?.path().join("vmlinux")));
    kernels.filter(|path| path.exists()).max_by_key(|path| path.metadata().and_then(|m| m.modified()).ok())
}

/// A VM, its channel and its console.
pub(crate) struct Guest {
    pub(crate) vm: Vm,
    channel: UnixStream,
    console: File,
    pub(crate) tail: ConsoleTail,
    received: Vec<u8>,
}

impl Guest {
    pub(crate) fn new(running: Running) -> Self {
        let Running { vm, channel, console } = running;
        Self { vm, channel, console: console.into(), tail: ConsoleTail::new(64 << 10), received: Vec::new() }
    }

    /// Until the guest's init has said its first word.
    pub(crate) fn wait_ready(&mut self) {
        self.expect_line("ready");
    }

    /// One command and its answer.
    pub(crate) fn ask(&mut self, command: &str) -> String {
        self.tell(command);
        self.line().unwrap_or_else(|| panic!("no answer to {command:?}; console:\n{}", self.tail.last_lines(30)))
    }

    pub(crate) fn tell(&mut self, command: &str) {
        self.channel.write_all(format!("{command}\n").as_bytes()).unwrap();
    }

    pub(crate) fn expect(&mut self, command: &str, answer: &str) {
        let actual = self.ask(command);
        assert_eq!(actual, answer, "{command}; console:\n{}", self.tail.last_lines(10));
    }

    fn expect_line(&mut self, expected: &str) {
        let line = self.line();
        if line.as_deref() != Some(expected) {
            let ended = self.vm.try_wait();
            panic!("{line:?} instead of {expected:?}; {ended:?}; console:\n{}", self.tail.last_lines(30));
        }
    }

    /// The next line from the channel; none if the VM ends first.
    fn line(&mut self) -> Option<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
                let line = self.received.drain(..=end).collect::<Vec<u8>>();
                return Some(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            if !self.wait_for_bytes(deadline) {
                return None;
            }
        }
    }

    /// Takes in what there is. False at the end of the VM or of patience.
    fn wait_for_bytes(&mut self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        let mut fds = [PollFd::new(&self.channel, PollFlags::IN), PollFd::new(&self.console, PollFlags::IN)];
        if poll(&mut fds, Some(&timeout)).unwrap() == 0 {
            return false;
        }
        let mut buffer = [0; 65536];
        let mut open = false;
        if let Ok(length @ 1..) = self.channel.read(&mut buffer) {
            self.received.extend_from_slice(&buffer[..length]);
            open = true;
        }
        match self.console.read(&mut buffer) {
            Ok(0) => {}
            Ok(length) => {
                self.tail.push(&buffer[..length]);
                open = true;
            }
            Err(error) => open |= error.kind() == std::io::ErrorKind::WouldBlock,
        }
        open
    }

    /// Takes in all output until the VM has ended.
    pub(crate) fn end(mut self) -> (Ended, ConsoleTail) {
        let deadline = Instant::now() + PATIENCE;
        while self.wait_for_bytes(deadline) {}
        assert!(is_readable(self.vm.pidfd(), PATIENCE), "the VM goes on");
        (self.vm.wait().unwrap(), self.tail)
    }
}

pub(crate) fn is_readable(fd: impl AsFd, within: Duration) -> bool {
    let timeout = Timespec { tv_sec: within.as_secs() as i64, tv_nsec: within.subsec_nanos().into() };
    let fd = fd.as_fd();
    poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&timeout)).unwrap() > 0
}

/// A file system in memory that is attached nowhere, of so many bytes.
pub(crate) fn detached_tmpfs(size: u64) -> OwnedFd {
    use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount};
    let context = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
    fsconfig_set_string(context.as_fd(), "size", size.to_string()).unwrap();
    fsconfig_create(context.as_fd()).unwrap();
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).unwrap()
}
