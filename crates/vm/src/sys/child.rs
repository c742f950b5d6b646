//! The way from a copy of this process to the VM process.
//!
//! Between clone and exec the child may only make system calls: another thread
//! may have held any lock, the allocator's among them, when it was copied. So
//! everything it needs is made before, in a [`Plan`], and rustix is built here
//! on bare system calls, not on the C library. Nothing in [`run`] allocates,
//! locks or panics.
//!
//! ```text
//! parent                          child (new namespaces, all signals blocked)
//! clone3 ───────────────────────▶ root, descriptors, limits, user,
//! puts it into its cgroups        capabilities, death signal
//!   │◀── end of file ──────────── exec           (the pipe closes on exec)
//!   │◀── step and errno ───────── exit 127       (a step failed)
//! ```

use std::ffi::{CStr, CString, c_char, c_int};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, MoveMountFlags, UnmountFlags, mount_change, move_mount, unmount};
use rustix::process::{
    Resource, Rlimit, Signal, fchdir, pivot_root, set_parent_process_death_signal, setrlimit, setsid,
};
use rustix::thread::{
    CapabilitySet, CapabilitySets, Gid, Uid, UnshareFlags, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};

/// What is done to the child, beside it or by it, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SetupStep {
    JoinCgroups,
    EnterNamespace,
    NameHost,
    PrivateMounts,
    AttachRoot,
    AttachMounts,
    ChangeRoot,
    DetachHost,
    Limits,
    Descriptors,
    Groups,
    BoundingSet,
    User,
    Capabilities,
    NoNewPrivileges,
    DeathSignal,
    Session,
    Execute,
}

impl SetupStep {
    const ALL: [Self; 18] = [
        Self::JoinCgroups,
        Self::EnterNamespace,
        Self::NameHost,
        Self::PrivateMounts,
        Self::AttachRoot,
        Self::AttachMounts,
        Self::ChangeRoot,
        Self::DetachHost,
        Self::Limits,
        Self::Descriptors,
        Self::Groups,
        Self::BoundingSet,
        Self::User,
        Self::Capabilities,
        Self::NoNewPrivileges,
        Self::DeathSignal,
        Self::Session,
        Self::Execute,
    ];
}

impl fmt::Display for SetupStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::JoinCgroups => "join its cgroups",
            Self::EnterNamespace => "enter a namespace of cgroups",
            Self::NameHost => "name its host",
            Self::PrivateMounts => "separate its mounts",
            Self::AttachRoot => "mount its root",
            Self::AttachMounts => "mount its files",
            Self::ChangeRoot => "change its root",
            Self::DetachHost => "leave the host's root",
            Self::Limits => "set its limits",
            Self::Descriptors => "arrange its descriptors",
            Self::Groups => "give up its groups",
            Self::BoundingSet => "empty its capability bounding set",
            Self::User => "change its user",
            Self::Capabilities => "give up its capabilities",
            Self::NoNewPrivileges => "give up new privileges",
            Self::DeathSignal => "tie its life to the keeper's",
            Self::Session => "start its session",
            Self::Execute => "execute QEMU",
        })
    }
}

/// A mount made ready beside the tree, and where in the new root it goes.
#[derive(Debug)]
pub(crate) struct Mount {
    pub(crate) tree: OwnedFd,
    /// Relative to the root.
    pub(crate) target: CString,
}

/// The ways into the cgroups that the child is to be in.
#[derive(Debug)]
pub(crate) struct Cgroups {
    /// The directory of one of version 2: the child is born there.
    pub(crate) unified: Option<OwnedFd>,
    /// `cgroup.procs` of each one of version 1, open for writing.
    pub(crate) procs: Vec<OwnedFd>,
}

/// All the child needs, made before it exists.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) cgroups: Cgroups,
    /// The detached root file system, with every mount point in place.
    pub(crate) root: OwnedFd,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) limits: Vec<(Resource, Rlimit)>,
    pub(crate) stdin: OwnedFd,
    /// Standard output and error.
    pub(crate) output: OwnedFd,
    /// Become 3, 4, and so on; all else is closed.
    pub(crate) inherited: Vec<OwnedFd>,
    pub(crate) uid: Uid,
    pub(crate) gid: Gid,
    /// In the new root.
    pub(crate) program: CString,
    pub(crate) arguments: Vec<CString>,
}

#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) pid: u32,
    pub(crate) pidfd: OwnedFd,
}

#[derive(Debug)]
pub(crate) enum Failure {
    /// No process was made.
    Clone(io::Error),
    /// The process was made and is gone again.
    Setup { step: SetupStep, source: io::Error },
    /// It ended before its setup was over, without a word.
    Vanished,
}

/// Where the new root is attached before it becomes the root: any directory
/// that every host has. Only the child's own view of it is covered, and only
/// until the root changes.
const ATTACH_AT: &CStr = c"/run";

const FIRST_INHERITED: RawFd = 3;
const NAMESPACES: c_int =
    libc::CLONE_NEWNS | libc::CLONE_NEWNET | libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;

/// Starts the process and waits until it executes its program in its cgroups.
pub(crate) fn start(mut plan: Plan) -> Result<Started, Failure> {
    let (status_read, status_write) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(|e| Failure::Clone(e.into()))?;
    let procs = std::mem::take(&mut plan.cgroups.procs);
    let plan = Prepared::new(plan, status_write).map_err(Failure::Clone)?;
    let (pid, pidfd) = plan.clone_child().map_err(Failure::Clone)?;
    drop(plan);
    let joined = join(&procs, pid);

    let mut record = Vec::new();
    // The other end is held by the child alone, and closes when it executes or ends.
    let read = File::from(status_read).take(RECORD as u64).read_to_end(&mut record);
    match (read, record.as_slice(), joined) {
        // Executed, or ended by force before: the handle tells which.
        (Ok(_), [], Ok(())) => Ok(Started { pid, pidfd }),
        (Ok(_), [], Err(errno)) => reap(pidfd, Failure::Setup { step: SetupStep::JoinCgroups, source: errno.into() }),
        // One that has ended cannot be moved: why it did says more.
        (Ok(_), [step, errno @ ..], _) if errno.len() == RECORD - 1 => {
            let step = SetupStep::ALL.get(usize::from(*step)).copied().unwrap_or(SetupStep::Execute);
            let errno = i32::from_le_bytes(errno.try_into().unwrap_or_default());
            reap(pidfd, Failure::Setup { step, source: io::Error::from_raw_os_error(errno) })
        }
        _ => reap(pidfd, Failure::Vanished),
    }
}

/// Moves the child into its cgroups of version 1.
///
/// The kernel lets all of the host's processes pass a barrier for that, which
/// takes some 15 ms. Done from here, the child sets itself up and QEMU loads its
/// libraries meanwhile; nothing of the container's is in the guest before
/// [`start`] has returned.
fn join(procs: &[OwnedFd], pid: u32) -> Result<(), Errno> {
    let pid = pid.to_string();
    procs.iter().try_for_each(|procs| rustix::io::write(procs, pid.as_bytes()).map(drop))
}

/// Ends and collects a child that did not get as far as its program.
fn reap(pidfd: OwnedFd, failure: Failure) -> Result<Started, Failure> {
    use rustix::process::{WaitId, WaitIdOptions, pidfd_send_signal, waitid};
    // It may have ended already; what counts is that it is collected.
    let _ = pidfd_send_signal(&pidfd, Signal::KILL);
    let _ = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
    Err(failure)
}

/// Whether it ended, leaving its state to be collected.
fn ended_already(pidfd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(pidfd, PollFlags::IN)];
    matches!(poll(&mut fds, Some(&NOW)), Ok(ready) if ready > 0)
}

const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
/// A step and an errno.
const RECORD: usize = 5;

/// A plan whose descriptors are out of the way of the numbers they become, and
/// whose arguments are in the form that exec takes.
struct Prepared {
    plan: Plan,
    status: OwnedFd,
    parent: OwnedFd,
    /// Into `plan.arguments`, with a null at the end.
    argv: Vec<*const c_char>,
}

impl Prepared {
    fn new(mut plan: Plan, status: OwnedFd) -> io::Result<Self> {
        let above = FIRST_INHERITED + RawFd::try_from(plan.inherited.len()).unwrap_or(RawFd::MAX - FIRST_INHERITED);
        let lift = |fd: &OwnedFd| rustix::io::fcntl_dupfd_cloexec(fd, above);
        plan.stdin = lift(&plan.stdin)?;
        plan.output = lift(&plan.output)?;
        for fd in &mut plan.inherited {
            *fd = lift(fd)?;
        }
        plan.cgroups.unified = plan.cgroups.unified.as_ref().map(lift).transpose()?;
        let status = lift(&status)?;
        let parent = rustix::process::pidfd_open(rustix::process::getpid(), rustix::process::PidfdFlags::empty())?;
        let parent = lift(&parent)?;
        let argv = plan.arguments.iter().map(|a| a.as_ptr()).chain([std::ptr::null()]).collect();
        Ok(Self { plan, status, parent, argv })
    }

    /// Copies this process; only the parent returns.
    fn clone_child(&self) -> io::Result<(u32, OwnedFd)> {
        let mut pidfd: c_int = -1;
        // SAFETY: all fields of this structure are integers, for which zero is
        // a value, and means "nothing asked for".
        let mut request: libc::clone_args = unsafe { std::mem::zeroed() };
        request.flags = (NAMESPACES as u64) | (libc::CLONE_PIDFD as u64) | CLONE_CLEAR_SIGHAND;
        request.pidfd = (&raw mut pidfd) as u64;
        request.exit_signal = libc::SIGCHLD as u64;
        if let Some(directory) = &self.plan.cgroups.unified {
            request.flags |= CLONE_INTO_CGROUP;
            request.cgroup = u64::from(directory.as_raw_fd().unsigned_abs());
        }

        // Handlers of this process must not run in the child before they are
        // cleared, nor a signal to the group end it half-way without a record.
        let blocked = BlockedSignals::all()?;
        // SAFETY: without CLONE_VM the child has a copy of this memory and goes
        // on in this stack frame. It runs `run`, which makes system calls only,
        // and never returns from here, so it is of no consequence that other
        // threads' locks and the C library's idea of the process are stale.
        let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const request, size_of::<libc::clone_args>()) };
        match pid {
            -1 => Err(io::Error::last_os_error()),
            0 => {
                let (step, errno) = match run(self, &blocked) {
                    Ok(never) => match never {},
                    Err(failed) => failed,
                };
                report(self.status.as_fd(), step, errno);
                // SAFETY: ends the child at once, without running anything
                // that was registered for the parent's exit.
                unsafe { libc::_exit(127) }
            }
            pid => {
                drop(blocked);
                // SAFETY: the kernel put a new descriptor there, owned by nobody else.
                let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
                Ok((u32::try_from(pid).unwrap_or_default(), pidfd))
            }
        }
    }
}

/// From the kernel's `linux/sched.h`; all handlers become the default action.
const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

enum Never {}

/// The child's whole life before exec. Returns only on failure.
fn run(prepared: &Prepared, blocked: &BlockedSignals) -> Result<Never, (SetupStep, Errno)> {
    let plan = &prepared.plan;
    let at = |step| move |errno| (step, errno);

    // Its root is where the process was born. Of the hierarchies of version 1
    // that is not yet its place, but without `/proc` it cannot look.
    // SAFETY: a new cgroup namespace changes nothing that memory safety or
    // other threads rest on: the child has one thread and shares no tables.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWCGROUP) }.map_err(at(SetupStep::EnterNamespace))?;
    rustix::system::sethostname(b"casemate-vm").map_err(at(SetupStep::NameHost))?;

    change_root(plan)?;

    for (resource, limit) in &plan.limits {
        setrlimit(*resource, *limit).map_err(at(SetupStep::Limits))?;
    }
    arrange_descriptors(plan).map_err(at(SetupStep::Descriptors))?;
    drop_privileges(plan)?;

    // After the change of user, which clears it.
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(at(SetupStep::DeathSignal))?;
    if ended_already(prepared.parent.as_fd()) {
        // Too late for the signal: nobody is left to report to.
        return Err((SetupStep::DeathSignal, Errno::SRCH));
    }
    setsid().map_err(at(SetupStep::Session))?;
    BlockedSignals::clear().map_err(at(SetupStep::Session))?;
    let _ = blocked;

    let environment = [std::ptr::null::<c_char>()];
    // SAFETY: program, arguments and environment are C strings and arrays of
    // them that end in null, and live as long as `prepared`.
    unsafe { libc::execve(plan.program.as_ptr(), prepared.argv.as_ptr(), environment.as_ptr()) };
    Err((SetupStep::Execute, last_errno()))
}

/// Puts the prepared root under the process and lets go of the host's.
fn change_root(plan: &Plan) -> Result<(), (SetupStep, Errno)> {
    let at = |step| move |errno| (step, errno);
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change(c"/", private).map_err(at(SetupStep::PrivateMounts))?;
    let detached = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(&plan.root, c"", CWD, ATTACH_AT, detached).map_err(at(SetupStep::AttachRoot))?;
    for mount in &plan.mounts {
        move_mount(&mount.tree, c"", &plan.root, mount.target.as_c_str(), detached)
            .map_err(at(SetupStep::AttachMounts))?;
    }
    fchdir(&plan.root).map_err(at(SetupStep::ChangeRoot))?;
    // Old and new root on one mount point: the old one is then the upper.
    pivot_root(c".", c".").map_err(at(SetupStep::ChangeRoot))?;
    unmount(c".", UnmountFlags::DETACH).map_err(at(SetupStep::DetachHost))?;
    rustix::process::chdir(c"/").map_err(at(SetupStep::DetachHost))
}

fn arrange_descriptors(plan: &Plan) -> Result<(), Errno> {
    duplicate(&plan.stdin, 0)?;
    duplicate(&plan.output, 1)?;
    duplicate(&plan.output, 2)?;
    let mut next = FIRST_INHERITED;
    for fd in &plan.inherited {
        duplicate(fd, next)?;
        next += 1;
    }
    // All the rest ends with exec, the way of reporting included.
    // SAFETY: marks descriptors; none is closed, so no owner is deceived.
    let result = unsafe { libc::syscall(libc::SYS_close_range, next, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

fn duplicate(fd: &OwnedFd, number: RawFd) -> Result<(), Errno> {
    // SAFETY: closes whatever the child's copy of `number` was. Every
    // descriptor that is still used lies above all numbers given here.
    let result = unsafe { libc::dup2(fd.as_raw_fd(), number) };
    if result == number { Ok(()) } else { Err(last_errno()) }
}

fn drop_privileges(plan: &Plan) -> Result<(), (SetupStep, Errno)> {
    let at = |step| move |errno| (step, errno);
    set_thread_groups(&[]).map_err(at(SetupStep::Groups))?;
    set_thread_res_gid(plan.gid, plan.gid, plan.gid).map_err(at(SetupStep::Groups))?;
    clear_ambient_capability_set().map_err(at(SetupStep::BoundingSet))?;
    for number in 0..64 {
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number)) {
            Ok(()) => {}
            // Past the last one this kernel has.
            Err(Errno::INVAL) if number > 0 => break,
            Err(errno) => return Err((SetupStep::BoundingSet, errno)),
        }
    }
    set_thread_res_uid(plan.uid, plan.uid, plan.uid).map_err(at(SetupStep::User))?;
    let empty = CapabilitySet::empty();
    let none = CapabilitySets { effective: empty, permitted: empty, inheritable: empty };
    set_capabilities(None, none).map_err(at(SetupStep::Capabilities))?;
    set_no_new_privs(true).map_err(at(SetupStep::NoNewPrivileges))
}

fn report(status: BorrowedFd<'_>, step: SetupStep, errno: Errno) {
    let [a, b, c, d] = errno.raw_os_error().to_le_bytes();
    // If even this fails, the parent sees the child vanish.
    let _ = rustix::io::write(status, &[step as u8, a, b, c, d]);
}

fn last_errno() -> Errno {
    // SAFETY: the address is this thread's own errno.
    Errno::from_raw_os_error(unsafe { *libc::__errno_location() })
}

/// Every signal of this thread blocked, until dropped.
struct BlockedSignals {
    before: libc::sigset_t,
}

impl BlockedSignals {
    fn all() -> io::Result<Self> {
        let mut all = Self::empty_set();
        let mut before = Self::empty_set();
        // SAFETY: both sets are live and initialised.
        let result = unsafe {
            libc::sigfillset(&raw mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before)
        };
        if result == 0 { Ok(Self { before }) } else { Err(io::Error::from_raw_os_error(result)) }
    }

    /// In the child: QEMU starts with nothing blocked.
    fn clear() -> Result<(), Errno> {
        let none = Self::empty_set();
        // SAFETY: the set is live and initialised; no old set is asked for.
        let result = unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut()) };
        if result == 0 { Ok(()) } else { Err(Errno::from_raw_os_error(result)) }
    }

    fn empty_set() -> libc::sigset_t {
        // SAFETY: a set is plain integers; `sigemptyset` makes it the empty
        // one whatever it held, and cannot fail for a live address.
        unsafe {
            let mut set = std::mem::zeroed();
            libc::sigemptyset(&raw mut set);
            set
        }
    }
}

impl Drop for BlockedSignals {
    fn drop(&mut self) {
        // SAFETY: the set is the one this thread had before. It cannot fail
        // for a valid operation and a live set.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, std::ptr::null_mut()) };
    }
}
