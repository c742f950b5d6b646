//! From a machine's description to its running process.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

use casemate_model::{Classify, ErrorClass};
use rustix::fs::{MemfdFlags, OFlags, SealFlags};
use rustix::pipe::PipeFlags;
use rustix::process::{Resource, Rlimit, getrlimit};
use rustix::thread::{Gid, Uid};

use crate::disks::{Disks, vmdk_descriptor};
use crate::jail::{self, Jail, JailError, Root};
use crate::machine::{Machine, layer_descriptor};
use crate::process::Vm;
use crate::qemu::Qemu;
use crate::sys::{self, Plan, SetupStep};

/// A VM that has begun to boot.
#[derive(Debug)]
pub struct Running {
    pub vm: Vm,
    /// To the guest's agent. Does not block.
    pub channel: UnixStream,
    /// What the guest's kernel prints, for reading only. Does not block. It
    /// must be read: the pipe holds 64 KiB, and a guest that prints more waits.
    pub console: OwnedFd,
}

#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    #[error("no kernel for virtual machines at {path}")]
    KernelMissing { path: std::path::PathBuf },
    #[error("no initramfs for virtual machines at {path}")]
    InitrdMissing { path: std::path::PathBuf },
    #[error("cannot prepare the virtual machine's walls")]
    Jail(#[source] JailError),
    #[error("cannot make the virtual machine's {what}")]
    Descriptor { what: &'static str, source: io::Error },
    #[error("cannot start a process for the virtual machine")]
    Clone(#[source] io::Error),
    #[error("the virtual machine's process could not {step}")]
    Setup { step: SetupStep, source: io::Error },
    #[error("the virtual machine's process ended before it could execute QEMU")]
    Vanished,
}

impl Classify for SpawnError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::KernelMissing { .. } | Self::InitrdMissing { .. } => ErrorClass::Unavailable,
            Self::Jail(source) => source.class(),
            Self::Descriptor { .. } | Self::Clone(_) | Self::Setup { .. } | Self::Vanished => ErrorClass::Internal,
        }
    }
}

/// Starts the machine in a jail of its own, and returns when QEMU executes.
///
/// The process is killed by the kernel when the thread that called this ends:
/// call it from a thread that lives as long as the VM may.
///
/// # Errors
/// If anything could not be made; nothing is left of it then. Failures after
/// QEMU began show in [`Vm::try_wait`].
pub fn spawn(qemu: &Qemu, machine: Machine, jail: &Jail) -> Result<Running, SpawnError> {
    check_exists(&machine.kernel, |path| SpawnError::KernelMissing { path })?;
    check_exists(&machine.initrd, |path| SpawnError::InitrdMissing { path })?;
    let root = Root::make(qemu.path(), &machine.kernel, &machine.initrd, machine.accelerator, jail)
        .map_err(SpawnError::Jail)?;
    let cgroups = jail::open_cgroups(jail).map_err(SpawnError::Jail)?;
    let ends = Ends::make()?;

    let text = |text| jail::c_string(text).map_err(|source| SpawnError::Descriptor { what: "command line", source });
    let mut arguments = vec![text(machine.process_name())?];
    for argument in machine.arguments() {
        arguments.push(text(argument)?);
    }
    let limits = limits(&machine);
    let mut inherited = vec![ends.channel_inside, ends.console_inside];
    inherited.extend(disk_descriptors(machine.disks)?);
    inherited.extend(machine.nics.into_iter().map(|nic| nic.tap));

    let plan = Plan {
        cgroups,
        root: root.tmpfs,
        mounts: root.mounts,
        limits,
        stdin: ends.null,
        output: ends.output_inside,
        inherited,
        uid: Uid::from_raw(jail.uid.get()),
        gid: Gid::from_raw(jail.gid.get()),
        program: text(qemu.path().as_os_str().to_owned())?,
        arguments,
    };
    let started = sys::start(plan).map_err(|failure| match failure {
        sys::Failure::Clone(source) => SpawnError::Clone(source),
        sys::Failure::Setup { step, source } => SpawnError::Setup { step, source },
        sys::Failure::Vanished => SpawnError::Vanished,
    })?;
    Ok(Running { vm: Vm::new(started.pid, started.pidfd, ends.output), channel: ends.channel, console: ends.console })
}

fn check_exists(path: &Path, missing: impl Fn(std::path::PathBuf) -> SpawnError) -> Result<(), SpawnError> {
    if path.is_file() { Ok(()) } else { Err(missing(path.to_owned())) }
}

/// Both ends of everything that connects the VM process with this one.
struct Ends {
    channel: UnixStream,
    channel_inside: OwnedFd,
    console: OwnedFd,
    console_inside: OwnedFd,
    output: OwnedFd,
    output_inside: OwnedFd,
    null: OwnedFd,
}

impl Ends {
    fn make() -> Result<Self, SpawnError> {
        let failed = |what| move |source| SpawnError::Descriptor { what, source };
        let (channel, channel_inside) = UnixStream::pair().map_err(failed("channel"))?;
        channel.set_nonblocking(true).map_err(failed("channel"))?;
        let pipe = |flags| rustix::pipe::pipe_with(PipeFlags::CLOEXEC | flags).map_err(io::Error::from);
        let (console, console_inside) = pipe(PipeFlags::NONBLOCK).map_err(failed("console"))?;
        // Neither end blocks: what QEMU says beyond the pipe's size is lost.
        let (output, output_inside) = pipe(PipeFlags::NONBLOCK).map_err(failed("output"))?;
        let null = std::fs::File::open("/dev/null").map_err(failed("input"))?;
        Ok(Self {
            channel,
            channel_inside: channel_inside.into(),
            console,
            console_inside,
            output,
            output_inside,
            null: null.into(),
        })
    }
}

/// Those of `machine::descriptor` that are disks, in its order.
fn disk_descriptors(disks: Disks) -> Result<Vec<OwnedFd>, SpawnError> {
    let description = match disks.has_one_layer() {
        true => None,
        false => Some(
            vmdk_memory(&disks).map_err(|errno| SpawnError::Descriptor { what: "layer disk", source: errno.into() })?,
        ),
    };
    let (layers, scratch) = disks.into_files();
    let layers = layers.into_iter().map(OwnedFd::from);
    Ok([scratch.into()].into_iter().chain(description).chain(layers).collect())
}

/// The layer disk's description, in memory that nobody can change any more.
fn vmdk_memory(disks: &Disks) -> Result<OwnedFd, rustix::io::Errno> {
    let text = vmdk_descriptor(disks.extents(), layer_descriptor);
    let memory = rustix::fs::memfd_create("layers.vmdk", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        let written = rustix::io::write(&memory, rest)?;
        rest = &rest[written..];
    }
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&memory, seals)?;
    // Opened again for reading only, which is how QEMU asks for it.
    use std::os::fd::AsRawFd;
    let path = format!("/proc/self/fd/{}", memory.as_raw_fd());
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, rustix::fs::Mode::empty())
}

/// QEMU's threads: one for each vCPU, the main loop, RCU, and up to 64 for
/// disk requests.
const THREADS_BESIDE_VCPUS: u64 = 96;
/// Beside disks: pipes, the channel, event descriptors.
const DESCRIPTORS_BESIDE_DISKS: u64 = 64;

fn limits(machine: &Machine) -> Vec<(Resource, Rlimit)> {
    // Each layer's file is there twice: as it was given, and as it is opened.
    let files = 2 * (machine.disks.extents().len() as u64 + 2) + DESCRIPTORS_BESIDE_DISKS;
    [
        // Not 0: a core handler that is a program is run in spite of 0, and
        // would be fed the guest's memory. 1 is the value that stops it.
        (Resource::Core, 1),
        (Resource::Nofile, files),
        // The one file it may write to.
        (Resource::Fsize, machine.disks.scratch_size()),
        (Resource::Nproc, u64::from(machine.size.vcpus()) + THREADS_BESIDE_VCPUS),
        (Resource::Memlock, 0),
        (Resource::Msgqueue, 0),
    ]
    .map(|(resource, wanted)| (resource, lowered(resource, wanted)))
    .into()
}

/// Only ever downwards: raising the hard limit takes a capability that not
/// every root has.
fn lowered(resource: Resource, wanted: u64) -> Rlimit {
    let allowed = getrlimit(resource).maximum.map_or(wanted, |maximum| wanted.min(maximum));
    Rlimit { current: Some(allowed), maximum: Some(allowed) }
}
