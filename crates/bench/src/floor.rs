//! The floor: QEMU as its package brings it, without disks, walls or limits,
//! boots Casemate's kernel on Casemate's machine to a program that says one
//! line and reboots. Less cannot be done with that kernel and that machine.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use casemate_model::ContainerId;
use casemate_vm::{AcceleratorChoice, Detected, Disks, Extent, HostCapacity, Machine, Qemu, TscKhz, VmSize};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tempfile::TempDir;

use crate::casemate::Casemate;
use crate::error::{BenchError, file};
use crate::subject::{self, Subject, Times};

/// Built from `floor/init.rs` by the build script.
const INIT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/floor-init"));

/// A machine that works needs a second or two.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Floor {
    qemu: PathBuf,
    arguments: Vec<String>,
    listener: UnixListener,
    /// Holds the socket and the initramfs.
    _dir: TempDir,
}

impl Floor {
    pub(crate) fn make(casemate: &Casemate) -> Result<Self, BenchError> {
        let dir = tempfile::tempdir_in(casemate.scratch()).map_err(file("make a directory in", casemate.scratch()))?;
        let (init, initrd, socket) = (dir.path().join("init"), dir.path().join("initrd"), dir.path().join("channel"));
        std::fs::write(&init, INIT).map_err(file("write", &init))?;
        casemate_vm::write_initramfs(&init, None, &initrd).map_err(BenchError::Initramfs)?;
        let listener = UnixListener::bind(&socket).map_err(file("bind", &socket))?;
        let machine = machine(dir.path(), casemate.kernel(), initrd)?;
        let arguments = bare(&machine, &socket)?;
        let qemu = Qemu::find().map_err(BenchError::Qemu)?.path().to_owned();
        Ok(Self { qemu, arguments, listener, _dir: dir })
    }

    pub(crate) fn run(&self) -> Subject<'_> {
        let labels = ["bare QEMU: first line", "bare QEMU: exit"].map(str::to_owned).to_vec();
        Subject { labels, take: Box::new(|| self.boot()) }
    }

    fn boot(&self) -> Result<Times, BenchError> {
        let mut errors = tempfile::tempfile().map_err(file("make", "a temporary file"))?;
        let stderr = errors.try_clone().map_err(file("open", "a temporary file"))?;
        let mut command = Command::new(&self.qemu);
        command.args(&self.arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        let start = Instant::now();
        let spawned = command.spawn();
        let mut process =
            Process(spawned.map_err(|source| BenchError::Spawn { program: self.qemu.display().to_string(), source })?);
        let line = self.line(&process.0).map_err(file("read", "the bare virtual machine's channel"))?;
        let first = start.elapsed();
        if line.as_deref() != Some("up\n") {
            // Ended, so that what it has to say is there.
            drop(process);
            return Err(BenchError::FloorSilent { seconds: PATIENCE.as_secs(), message: silence(line, &mut errors) });
        }
        process.0.wait().map_err(file("wait for", &self.qemu))?;
        Ok(vec![first, start.elapsed()])
    }

    /// The line, or what there was of it; `None` if QEMU did not connect.
    fn line(&self, process: &Child) -> std::io::Result<Option<String>> {
        let pidfd = pidfd_open(Pid::from_child(process), PidfdFlags::empty())?;
        let mut either =
            [PollFd::from_borrowed_fd(self.listener.as_fd(), PollFlags::IN), PollFd::new(&pidfd, PollFlags::IN)];
        let timeout = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
        poll(&mut either, Some(&timeout))?;
        if !either[0].revents().contains(PollFlags::IN) {
            return Ok(None);
        }
        let (channel, _) = self.listener.accept()?;
        channel.set_read_timeout(Some(PATIENCE))?;
        read_line(channel).map(Some)
    }
}

fn read_line(mut channel: UnixStream) -> std::io::Result<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    // One at a time: no more than the line is ever sent.
    while line.last() != Some(&b'\n') && channel.read(&mut byte)? == 1 {
        line.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}

fn silence(line: Option<String>, errors: &mut File) -> String {
    let said = subject::said(errors);
    match line {
        Some(line) => format!("it said {line:?} {said}"),
        None => format!("it did not connect {said}"),
    }
}

/// Killed and collected when dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // Neither can fail in a way that matters: it is gone either way.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The machine as Casemate makes it for a container without limits.
fn machine(dir: &Path, kernel: PathBuf, initrd: PathBuf) -> Result<Machine, BenchError> {
    let detected = Detected::on_this_host(AcceleratorChoice::Auto).map_err(BenchError::Accelerator)?;
    let host = HostCapacity::read().map_err(file("read", "/proc/meminfo"))?;
    // Disks belong to a machine's description; the bare one leaves them out.
    let disk = |name: &str| -> Result<PathBuf, BenchError> {
        let path = dir.join(name);
        let made = File::create(&path).and_then(|disk| disk.set_len(Extent::ALIGNMENT));
        made.map_err(file("make", &path)).map(|()| path)
    };
    let (layer, scratch) = (disk("layer")?, disk("scratch")?);
    let layer = File::open(&layer).map_err(file("open", layer))?;
    let scratch = File::options().read(true).write(true).open(&scratch).map_err(file("open", scratch))?;
    Ok(Machine {
        name: "floor".parse().unwrap_or_else(|_| unreachable!("a valid name")),
        id: ContainerId::from_random([0; 32]),
        accelerator: detected.accelerator,
        tsc: TscKhz::of_this_host(&dir.join("tsc")),
        size: VmSize::for_container(None, None, host).map_err(BenchError::Size)?,
        kernel,
        initrd,
        disks: Disks::new(vec![layer], scratch).map_err(BenchError::Disks)?,
        nics: Vec::new(),
    })
}

/// The machine's arguments without what belongs to Casemate's walls and to the
/// container's disks, and with the channel on a socket that QEMU connects to.
fn bare(machine: &Machine, socket: &Path) -> Result<Vec<String>, BenchError> {
    let mut bare = Vec::new();
    let mut arguments = machine.arguments().into_iter().map(|argument| argument.to_string_lossy().into_owned());
    while let Some(option) = arguments.next() {
        if ["-nodefaults", "-no-user-config", "-nographic", "-no-reboot"].contains(&option.as_str()) {
            bare.push(option);
            continue;
        }
        let value = arguments.next().unwrap_or_default();
        let value = match option.as_str() {
            "-add-fd" | "-blockdev" | "-name" | "-sandbox" => continue,
            "-device" if value.starts_with("virtio-blk-device,") => continue,
            "-chardev" if value.starts_with("socket,id=channel,") => {
                format!("socket,id=channel,path={}", socket.display())
            }
            "-chardev" if value.starts_with("file,id=console,") => "null,id=console".to_owned(),
            "-kernel" => machine.kernel.display().to_string(),
            "-initrd" => machine.initrd.display().to_string(),
            _ => value,
        };
        // Something new that is made of a descriptor: it must be decided what
        // it is to a bare machine.
        if value.contains("fdset") || value.contains("fd=") {
            return Err(BenchError::MachineArgument { argument: format!("{option} {value}") });
        }
        bare.extend([option, value]);
    }
    Ok(bare)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bare_machine_is_casemates_without_disks_and_walls() {
        let dir = tempfile::tempdir().unwrap();
        let machine = machine(dir.path(), "/lib/vmlinux".into(), "/tmp/initrd".into()).unwrap();
        let own: Vec<String> = machine.arguments().iter().map(|a| a.to_string_lossy().into_owned()).collect();
        let bare = bare(&machine, Path::new("/tmp/channel")).unwrap();
        for option in ["-machine", "-accel", "-cpu", "-smp", "-m", "-append"] {
            let value = |arguments: &[String]| {
                let at = arguments.iter().position(|a| a == option).unwrap();
                arguments[at + 1].clone()
            };
            assert_eq!(value(&bare), value(&own), "{option}");
        }
        let text = bare.join(" ");
        assert!(text.contains("-kernel /lib/vmlinux -initrd /tmp/initrd"), "{text}");
        assert!(text.contains("socket,id=channel,path=/tmp/channel") && text.contains("name=agent"), "{text}");
        for left_out in ["blk", "sandbox", "fdset", "add-fd"] {
            assert!(own.join(" ").contains(left_out) && !text.contains(left_out), "{left_out}: {text}");
        }
    }

    #[test]
    fn the_init_is_a_program_of_a_few_instructions() {
        assert!(INIT.starts_with(b"\x7fELF"));
        assert!(INIT.len() < 8192, "{}", INIT.len());
    }
}
