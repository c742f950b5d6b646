//! One container: its control group, its processes, its end.
//!
//! ```text
//!   create ──▶ (cgroup, files) ──start──▶ init ──exec──▶ more processes
//!                    │                     │ ends: all of them end
//!                    └──────destroy────────┘
//! ```
//!
//! Everything that is made here can be found again by the container's place
//! alone, see [`destroy_leftovers`].

mod files;

use std::cell::{Cell, OnceCell, RefCell};
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;

use casemate_model::{Container, EtcFiles, Ipc, Limits, Namespace, Process, SysctlNamespace};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};
use rustix::process::{PidfdFlags, getpid, pidfd_open};
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};

use crate::cgroup::{Cgroup, CgroupError, CgroupStats, destroy_by_path};
use crate::child::{self, ExecJob, InitJob};
use crate::command::Command;
use crate::device::Devices;
use crate::error::LaunchError;
use crate::etc;
use crate::machine::Machine;
use crate::place::Place;
use crate::processes::{self, ProcessEntry};
use crate::program::is_program_protected;
use crate::starting::Starting;
use crate::streams;
use crate::sys::{self, Cloned};

pub use files::ChildFds;

/// A container on this kernel. Dropping it does nothing to the container:
/// processes end with [`crate::Child`], the rest with [`Cage::destroy`].
#[derive(Debug)]
pub struct Cage {
    container: Container,
    command: Command,
    place: Place,
    cgroup: Cgroup,
    devices: Devices,
    network: NetworkNamespace,
    init: Rc<InitState>,
    /// The mount namespace of a root that is held.
    held_root: OnceCell<OwnedFd>,
    /// As they were written last.
    etc: RefCell<EtcFiles>,
}

/// Which network namespace a container has.
#[derive(Debug)]
pub enum NetworkNamespace {
    /// A new one, with nothing but a loopback in it.
    Own,
    /// This one, which is the container's, or another container's.
    Given(OwnedFd),
    /// That of this program, which is the container's anyway: in a VM, where
    /// making another costs more than all the mounts.
    OfMachine,
    /// That of this program, which is none of the container's business: nothing in
    /// it is set up.
    Host,
}

/// How far the init has come.
#[derive(Debug, Default)]
pub(crate) struct InitState {
    started: Cell<bool>,
    running: Cell<bool>,
    pidfd: OnceCell<OwnedFd>,
}

impl InitState {
    pub(crate) fn set_running(&self) {
        self.running.set(true);
    }

    /// The init, if it executes its command.
    fn alive(&self) -> Result<BorrowedFd<'_>, LaunchError> {
        let pidfd = self.pidfd.get().filter(|_| self.running.get()).ok_or(LaunchError::NotRunning)?;
        let mut ended = [PollFd::new(pidfd, PollFlags::IN)];
        match poll(&mut ended, Some(&Timespec::default())) {
            Ok(0) => Ok(pidfd.as_fd()),
            Ok(_) => Err(LaunchError::NotRunning),
            Err(errno) => Err(LaunchError::host("look at the container's init")(errno)),
        }
    }
}

impl Cage {
    /// Makes the container's control group, with limits and device rules, and
    /// its files. Starts nothing; leaves nothing behind when it fails.
    pub fn create(container: Container, place: Place) -> Result<Self, LaunchError> {
        place.check()?;
        let mut command = Command::check(&container.init)?;
        // Where there is an init already, none of ours goes before.
        if container.reaper && container.namespaces.pid == Namespace::Own {
            place.reaper.as_ref().ok_or(LaunchError::NoReaper)?;
            command = command.behind_reaper();
        }
        check_sysctls(&container)?;
        let devices = Devices::of(&container)?;
        for path in container.masked_paths.iter().chain(&container.readonly_paths) {
            if path.contains('\0') {
                return Err(LaunchError::NulByte { what: "a hidden path".to_owned() });
            }
        }
        let cgroup = Cgroup::create(&place.cgroup, &container.limits)?;
        let etc = RefCell::new(container.etc.clone());
        let cage = Self {
            container,
            command,
            place,
            cgroup,
            devices,
            network: NetworkNamespace::Own,
            init: Rc::default(),
            held_root: OnceCell::new(),
            etc,
        };
        match cage.restrict_devices().and_then(|()| cage.make_files()) {
            Ok(()) => Ok(cage),
            Err(error) => {
                // The first failure is the one to tell.
                let _ = cage.destroy();
                Err(error)
            }
        }
    }

    fn restrict_devices(&self) -> Result<(), LaunchError> {
        match &self.devices.rules {
            Some(rules) => Ok(self.cgroup.restrict_devices(rules)?),
            None => Ok(()),
        }
    }

    fn make_files(&self) -> Result<(), LaunchError> {
        let Place { dir, .. } = &self.place;
        let rootfs = dir.join("rootfs");
        match fs::create_dir(&rootfs) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(LaunchError::File { operation: "make", path: rootfs, source: error });
            }
            _ => {}
        }
        etc::write(dir, &self.etc.borrow())
    }

    /// An error unless its init runs.
    pub fn check_runs(&self) -> Result<(), LaunchError> {
        self.init.alive().map(drop)
    }

    /// Changes the running container's `/etc/hosts` and `/etc/resolv.conf`. What
    /// somebody else has changed in there stays.
    pub fn rewrite_etc(&self, hosts: String, resolv_conf: String) -> Result<(), LaunchError> {
        let mut written = self.etc.borrow_mut();
        etc::rewrite(&self.place.dir, &mut written, hosts, resolv_conf)
    }

    /// Has the container use this network namespace instead of a new one.
    #[must_use]
    pub fn in_network(mut self, namespace: NetworkNamespace) -> Self {
        self.network = namespace;
        self
    }

    pub fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// Starts the container's init. Once, and not if its root is held.
    ///
    /// The calling process is to have one thread; the kernel kills the init
    /// when that thread ends.
    pub fn start(&self) -> Result<Starting, LaunchError> {
        if self.init.started.get() || self.held_root.get().is_some() {
            return Err(LaunchError::AlreadyStarted);
        }
        refuse_writable_program()?;
        let entrance = self.cgroup.entrance()?;
        let (parent_ends, ends) = streams::make(&self.command).map_err(LaunchError::host("make pipes"))?;
        let reaper = self.open_reaper()?;
        self.init.started.set(true);
        match sys::clone_process(self.namespaces(), entrance.unified.as_ref().map(AsFd::as_fd)) {
            Ok(Cloned::Child) => {
                let job = InitJob {
                    container: &self.container,
                    command: &self.command,
                    place: &self.place,
                    split: self.cgroup.split_groups(),
                    devices: &self.devices.nodes,
                    reaper: reaper.as_ref().map(AsFd::as_fd),
                    network: &self.network,
                    ends: &ends,
                };
                let needs: Vec<_> = reaper.as_ref().map(AsFd::as_fd).into_iter().chain(self.network.given()).collect();
                child::run(&ends, &entrance.procs, &needs, || job.run())
            }
            Ok(Cloned::Parent { pid, pidfd }) => {
                let copy = pidfd.try_clone();
                let starting = Starting::new(pid, pidfd, parent_ends, Some(Rc::clone(&self.init)));
                let copy = copy.map_err(|error| LaunchError::Host {
                    operation: "keep a handle of the container's init",
                    source: Errno::from_io_error(&error).unwrap_or(Errno::IO).into(),
                })?;
                // Set once: `started` was false.
                let _ = self.init.pidfd.set(copy);
                Ok(starting)
            }
            Err(errno) => {
                self.init.started.set(false);
                Err(clone_failed(errno))
            }
        }
    }

    /// Namespaces that the container has of its own, besides the cgroup
    /// namespace: that one is entered by the child when it is in its group.
    fn namespaces(&self) -> u64 {
        let shared = self.container.namespaces;
        let own = [
            (true, libc::CLONE_NEWNS),
            (shared.pid == Namespace::Own, libc::CLONE_NEWPID),
            (shared.uts == Namespace::Own, libc::CLONE_NEWUTS),
            (shared.ipc != Ipc::Host, libc::CLONE_NEWIPC),
            (matches!(self.network, NetworkNamespace::Own), libc::CLONE_NEWNET),
        ];
        own.into_iter().filter(|(is, _)| *is).map(|(_, flag)| flag as u64).sum()
    }

    /// The program that goes before the command, as a mount of its own: what
    /// names it here may name nothing in the child.
    fn open_reaper(&self) -> Result<Option<OwnedFd>, LaunchError> {
        let Some(path) = self.place.reaper.as_ref().filter(|_| self.container.reaper) else { return Ok(None) };
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let failed = |errno: Errno| LaunchError::File { operation: "open", path: path.clone(), source: errno.into() };
        let tree = open_tree(CWD, path, flags).map_err(failed)?;
        sys::make_mount_read_only(tree.as_fd()).map_err(failed)?;
        Ok(Some(tree))
    }

    /// Whether its processes can outlive its init, which takes only those of a
    /// pid namespace of its own with it.
    pub fn outlives_init(&self) -> bool {
        self.container.namespaces.pid == Namespace::Host
    }

    /// Has everything in the container stand still; returns when it does.
    pub fn freeze(&self) -> Result<(), LaunchError> {
        Ok(self.cgroup.freeze()?)
    }

    pub fn thaw(&self) -> Result<(), LaunchError> {
        Ok(self.cgroup.thaw()?)
    }

    /// Holds the container to other limits.
    pub fn update(&self, limits: &Limits) -> Result<(), LaunchError> {
        Ok(self.cgroup.update(limits)?)
    }

    /// Starts another process in the container, once its init has started.
    ///
    /// The process is this one's child, and a member of the container's pid
    /// namespace. Where a container was given CAP_SYS_PTRACE, it can trace such
    /// a process before it gave up its privileges, as with other engines.
    pub fn exec(&self, process: &Process) -> Result<Starting, LaunchError> {
        let command = Command::check(process)?;
        let init = self.init.alive()?;
        refuse_writable_program()?;
        let entrance = self.cgroup.entrance()?;
        let (parent_ends, ends) = streams::make(&command).map_err(LaunchError::host("make pipes"))?;
        match clone_beside(init, entrance.unified.as_ref().map(AsFd::as_fd))? {
            Cloned::Child => {
                let job = ExecJob { init, command: &command, ends: &ends };
                child::run(&ends, &entrance.procs, &[init], || job.run())
            }
            Cloned::Parent { pid, pidfd } => Ok(Starting::new(pid, pidfd, parent_ends, None)),
        }
    }

    /// All processes of the container, for `top`.
    pub fn processes(&self) -> Result<Vec<ProcessEntry>, LaunchError> {
        processes::list(&self.cgroup)
    }

    /// What the container used, and the machine it is on.
    pub fn stats(&self) -> Result<(CgroupStats, Machine), LaunchError> {
        Ok((self.cgroup.stats()?, Machine::now()?))
    }

    /// Whether the kernel killed a process of the container for want of
    /// memory. To be asked before [`Cage::destroy`].
    pub fn oom_killed(&self) -> bool {
        self.cgroup.oom_killed()
    }

    /// Sends SIGKILL to every process of the container; does not wait for
    /// their end.
    pub fn kill_all(&self) -> Result<(), LaunchError> {
        // The init takes all others with it, also those that a kernel without
        // cgroup.kill lets be born while they are counted.
        if let Some(pidfd) = self.init.pidfd.get() {
            match sys::send_signal(pidfd.as_fd(), libc::SIGKILL) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(errno) => return Err(LaunchError::host("kill the container's init")(errno)),
            }
        }
        Ok(self.cgroup.kill()?)
    }

    /// Kills what runs and removes control group and files. Tries everything
    /// and reports all failures; doing it again does no harm.
    ///
    /// Waits for the processes' end, at most ten seconds. The container's
    /// children of this process should be reaped before: an init does not end
    /// before the last of them is.
    pub fn destroy(&self) -> Result<(), LaunchError> {
        let mut failures = Vec::new();
        failures.extend(self.kill_all().err());
        failures.extend(self.cgroup.destroy().err().map(LaunchError::from));
        failures.extend(remove_files(&self.place.dir));
        LaunchError::all(failures)
    }
}

impl NetworkNamespace {
    pub(crate) fn given(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Given(namespace) => Some(namespace.as_fd()),
            Self::Own | Self::OfMachine | Self::Host => None,
        }
    }
}

/// Parameters of a namespace that is the host's are the host's.
fn check_sysctls(container: &Container) -> Result<(), LaunchError> {
    for sysctl in &container.sysctls {
        let name = sysctl.name().to_owned();
        match sysctl.namespace() {
            SysctlNamespace::Ipc if container.namespaces.ipc == Ipc::Host => {
                return Err(LaunchError::HostIpcParameter { name });
            }
            SysctlNamespace::Uts if container.namespaces.uts == Namespace::Host => {
                return Err(LaunchError::HostParameter { name });
            }
            _ => {}
        }
    }
    Ok(())
}

/// Kills and removes what a container left whose keeper was killed: everything
/// in its control group, the group, and the launcher's files in its directory.
pub fn destroy_leftovers(cgroup: &str, dir: &Path) -> Result<(), LaunchError> {
    let mut failures = Vec::new();
    match destroy_by_path(cgroup) {
        // Where there are none, none is left.
        Ok(()) | Err(CgroupError::NotMounted) => {}
        Err(error) => failures.push(LaunchError::from(error)),
    }
    failures.extend(remove_files(dir));
    LaunchError::all(failures)
}

fn remove_files(dir: &Path) -> Vec<LaunchError> {
    let remove = |name: &str| -> Option<LaunchError> {
        let path = dir.join(name);
        // The root is mounted in the container's namespace only; here the
        // directory is empty.
        let removed = if name == "rootfs" { fs::remove_dir(&path) } else { fs::remove_file(&path) };
        match removed {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Some(LaunchError::File { operation: "remove", path, source })
            }
            _ => None,
        }
    };
    ["rootfs", "hosts", "hostname", "resolv.conf"].into_iter().filter_map(remove).collect()
}

/// Whatever this process's umask is.
fn refuse_writable_program() -> Result<(), LaunchError> {
    if is_program_protected()? { Ok(()) } else { Err(LaunchError::ProgramWritable) }
}

/// A clone in the pid namespace of `init`, and in this process's own otherwise.
///
/// The namespace for children is changed for the one call and changed back; a
/// clone of a clone would not have to, and take twice the time.
fn clone_beside(init: BorrowedFd<'_>, cgroup: Option<BorrowedFd<'_>>) -> Result<Cloned, LaunchError> {
    let own = pidfd_open(getpid(), PidfdFlags::empty()).map_err(LaunchError::host("keep a handle of this process"))?;
    match move_into_thread_name_spaces(init, ThreadNameSpaceType::PROCESS_ID) {
        Ok(()) => {}
        Err(Errno::SRCH) => return Err(LaunchError::NotRunning),
        Err(errno) => return Err(LaunchError::host("join the container's pid namespace")(errno)),
    }
    let cloned = sys::clone_process(0, cgroup);
    if matches!(cloned, Ok(Cloned::Child)) {
        return Ok(Cloned::Child);
    }
    // To one's own namespace there is always a way back. Were there none, every
    // later child would be born in this container: no program to go on with.
    let back = move_into_thread_name_spaces(own.as_fd(), ThreadNameSpaceType::PROCESS_ID);
    assert!(back.is_ok(), "cannot return to the own pid namespace: {back:?}");
    cloned.map_err(|errno| match errno {
        // The namespace takes no more processes: its init is gone.
        Errno::NOMEM | Errno::SRCH => LaunchError::NotRunning,
        errno => clone_failed(errno),
    })
}

fn clone_failed(errno: Errno) -> LaunchError {
    match errno {
        Errno::DEADLK => LaunchError::Threads { count: sys::thread_count().unwrap_or_default() },
        errno => LaunchError::host("make a process")(errno),
    }
}
