//! The kernel calls that have no safe wrapper elsewhere. The only unsafe code
//! of the crate; each function is safe to call for what it says it needs.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int, c_ulong, c_void};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use rustix::io::Errno;

use crate::cgroup::BpfInstruction;

/// On which side of a clone this program is now.
#[derive(Debug)]
pub(crate) enum Cloned {
    Child,
    Parent { pid: u32, pidfd: OwnedFd },
}

/// One instruction of a seccomp filter (`struct sock_filter`).
pub(crate) type FilterInstruction = libc::sock_filter;

fn last_errno() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
}

fn check(result: libc::c_long) -> Result<libc::c_long, Errno> {
    if result < 0 { Err(last_errno()) } else { Ok(result) }
}

/// The number of threads of this process.
pub(crate) fn thread_count() -> Result<u64, Errno> {
    // The kernel keeps the count of a thread directory's entries as its links.
    let flags = rustix::fs::StatxFlags::NLINK;
    let links = rustix::fs::statx(rustix::fs::CWD, c"/proc/self/task", rustix::fs::AtFlags::empty(), flags)?.stx_nlink;
    Ok(u64::from(links).saturating_sub(2))
}

/// Makes a copy of this process with `namespaces` (`CLONE_NEW*`) of its own,
/// in the control group (of version 2) that `cgroup` is a directory of.
///
/// Refused (`EDEADLK`) in a process of several threads: the copy has only the
/// calling one, and the locks the others held would be held for ever.
pub(crate) fn clone_process(namespaces: u64, cgroup: Option<BorrowedFd<'_>>) -> Result<Cloned, Errno> {
    if thread_count()? != 1 {
        return Err(Errno::DEADLK);
    }
    let mut pidfd: c_int = -1;
    // SAFETY: all-zero is a valid value of this plain C structure.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    // Handlers of the parent (they write to descriptors it shares with the
    // child) must not run in the child, not for an instant.
    const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    args.flags = namespaces | libc::CLONE_PIDFD as u64 | CLONE_CLEAR_SIGHAND;
    args.pidfd = &raw mut pidfd as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: no CLONE_VM, so the child gets a copy of the address space, as
    // with fork; this process has one thread (checked), so nothing in that copy
    // is half-changed or locked by a thread that does not exist there. `args`
    // and `pidfd` live until the call returns.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) };
    match check(pid)? {
        0 => Ok(Cloned::Child),
        pid => {
            // SAFETY: the kernel has just made this descriptor for us.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Cloned::Parent { pid: pid as u32, pidfd })
        }
    }
}

/// Ends a child made by [`clone_process`] without running anything of the
/// parent's that waits for the end of the program.
pub(crate) fn exit_child(code: i32) -> ! {
    // SAFETY: always sound; it does not return.
    unsafe { libc::_exit(code) }
}

/// `struct sigaction` of the kernel, whose size is the same on all 64-bit
/// machines; the C library's wrapper keeps two signals to itself.
#[repr(C)]
struct KernelSigaction {
    handler: usize,
    flags: u64,
    restorer: usize,
    mask: u64,
}

/// Every signal back to its default action, none blocked: Rust ignores
/// SIGPIPE, and whoever started the program may have ignored more.
pub(crate) fn reset_signals() {
    const LAST_SIGNAL: c_int = 64;
    let set_size = size_of::<u64>();
    let default = KernelSigaction { handler: libc::SIG_DFL, flags: 0, restorer: 0, mask: 0 };
    for signal in 1..=LAST_SIGNAL {
        let unwanted = ptr::null_mut::<KernelSigaction>();
        // SAFETY: `default` outlives the call and installs no handler. It fails
        // for KILL and STOP, which cannot be ignored either.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, &raw const default, unwanted, set_size) };
    }
    let none = 0u64;
    let unwanted = ptr::null_mut::<u64>();
    // SAFETY: `none` is a set of the size that is given and outlives the call.
    unsafe { libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const none, unwanted, set_size) };
}

/// Closes every descriptor from 3 on that is not in `keep` (sorted here).
///
/// For the child only: values in its copy of the parent's memory still name
/// these descriptors, and nothing there may use or drop them afterwards.
pub(crate) fn close_others(keep: &mut [RawFd]) -> Result<(), Errno> {
    keep.sort_unstable();
    let mut first = 3;
    for &fd in keep.iter().filter(|fd| **fd >= 3) {
        if fd > first {
            close_range(first, fd - 1)?;
        }
        first = fd + 1;
    }
    close_range(first, RawFd::MAX)
}

/// Has every descriptor but the standard ones closed by the next exec.
pub(crate) fn close_others_on_exec() -> Result<(), Errno> {
    // SAFETY: the call marks descriptors and touches no memory.
    check(unsafe { libc::syscall(libc::SYS_close_range, 3, RawFd::MAX, libc::CLOSE_RANGE_CLOEXEC) }).map(drop)
}

fn close_range(first: RawFd, last: RawFd) -> Result<(), Errno> {
    // SAFETY: the caller gives up these descriptors, see `close_others`.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) }).map(drop)
}

/// Replaces this program. Returns only if that failed.
pub(crate) fn execute(path: &CStr, argv: &[CString], env: &[CString]) -> Errno {
    let pointers = |strings: &[CString]| -> Vec<*const c_char> {
        strings.iter().map(|s| s.as_ptr()).chain([ptr::null()]).collect()
    };
    let (argv, env) = (pointers(argv), pointers(env));
    // SAFETY: both arrays end with a null pointer and their strings outlive the call.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), env.as_ptr()) };
    last_errno()
}

/// Replaces this program by the one `file` is open on, with the environment
/// as it is. Returns only if that failed.
pub(crate) fn execute_file(file: BorrowedFd<'_>, argv: &[CString]) -> Errno {
    unsafe extern "C" {
        static environ: *const *const c_char;
    }
    let argv: Vec<*const c_char> = argv.iter().map(|s| s.as_ptr()).chain([ptr::null()]).collect();
    // SAFETY: `argv` ends with a null pointer and its strings outlive the call;
    // `environ` is the C library's own, and no other thread changes it (the
    // callers have one thread).
    unsafe {
        libc::syscall(libc::SYS_execveat, file.as_raw_fd(), c"".as_ptr(), argv.as_ptr(), environ, libc::AT_EMPTY_PATH);
    }
    last_errno()
}

/// Leaves the caller's control group namespace for a new one rooted where it is.
pub(crate) fn unshare_cgroup_namespace() -> Result<(), Errno> {
    // SAFETY: CLONE_NEWCGROUP touches neither memory nor descriptors.
    check(unsafe { libc::unshare(libc::CLONE_NEWCGROUP) }.into()).map(drop)
}

pub(crate) fn send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> Result<(), Errno> {
    let no_info = ptr::null::<libc::siginfo_t>();
    // SAFETY: a null siginfo asks for the kernel's default one.
    check(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, no_info, 0) }).map(drop)
}

fn prctl(option: c_int, argument: c_ulong) -> Result<libc::c_long, Errno> {
    // SAFETY: used for options whose arguments are numbers, never pointers.
    check(unsafe { libc::prctl(option, argument, 0, 0, 0) }.into())
}

/// Removes a capability from the bounding set; `false` for one that this
/// kernel does not know.
pub(crate) fn drop_bounding(capability: u8) -> Result<bool, Errno> {
    match prctl(libc::PR_CAPBSET_DROP, capability.into()) {
        Ok(_) => Ok(true),
        Err(Errno::INVAL) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Gives this process a session keyring of its own, without a name.
pub(crate) fn join_new_session_keyring() -> Result<(), Errno> {
    let anonymous = ptr::null::<c_char>();
    // SAFETY: a null name asks for an anonymous keyring.
    check(unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, anonymous) }).map(drop)
}

/// Installs a seccomp filter for good, with `SECCOMP_FILTER_FLAG_*`.
pub(crate) fn install_filter(filter: &mut [FilterInstruction], flags: u32) -> Result<(), Errno> {
    let length = u16::try_from(filter.len()).map_err(|_| Errno::INVAL)?;
    let program = libc::sock_fprog { len: length, filter: filter.as_mut_ptr() };
    // SAFETY: `program` points to `length` instructions that outlive the call;
    // the kernel only reads them.
    check(unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) })
        .map(drop)
}

/// Sets a resource limit of this process (`RLIMIT_*`).
pub(crate) fn set_limit(resource: u32, soft: u64, hard: u64) -> Result<(), Errno> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    let unwanted = ptr::null_mut::<libc::rlimit64>();
    // SAFETY: `limit` outlives the call; no old value is asked for.
    check(unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, &raw const limit, unwanted) }).map(drop)
}

/// Brings the loopback interface of this network namespace up.
pub(crate) fn bring_up_loopback(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: all-zero is a valid value of this plain C structure.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as c_char;
    request.ifr_name[1] = b'o' as c_char;
    // A fresh loopback has no other flag that is set from here.
    request.ifr_ifru.ifru_flags = libc::IFF_UP as i16;
    // SAFETY: SIOCSIFFLAGS reads one `ifreq`, which outlives the call.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) }.into()).map(drop)
}

/// Makes the mount that `mount` is the root of (read-only as a mount, the
/// filesystem is left alone).
pub(crate) fn make_mount_read_only(mount: BorrowedFd<'_>) -> Result<(), Errno> {
    set_mount_attributes(mount, libc::MOUNT_ATTR_RDONLY)
}

/// Lets no device be opened and no program be executed through that mount.
pub(crate) fn make_mount_inert(mount: BorrowedFd<'_>) -> Result<(), Errno> {
    set_mount_attributes(mount, libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC)
}

fn set_mount_attributes(mount: BorrowedFd<'_>, set: u64) -> Result<(), Errno> {
    // SAFETY: all-zero is a valid value of this plain C structure.
    let mut attributes: libc::mount_attr = unsafe { std::mem::zeroed() };
    attributes.attr_set = set;
    // SAFETY: the path is a C string and `attributes` outlives the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    })
    .map(drop)
}

/// `union bpf_attr` as BPF_PROG_LOAD reads it, up to the fields used here.
#[repr(C)]
#[derive(Default)]
struct BpfLoad {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buffer: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    expected_attach_type: u32,
}

/// `union bpf_attr` as BPF_PROG_ATTACH reads it.
#[repr(C)]
struct BpfAttach {
    target: u32,
    program: u32,
    attach_type: u32,
    flags: u32,
}

fn bpf<T>(command: c_int, attributes: &T) -> Result<libc::c_long, Errno> {
    let pointer = ptr::from_ref(attributes).cast::<c_void>();
    // SAFETY: the kernel reads `size_of::<T>()` bytes of the attributes of the
    // command, all plain numbers or addresses of memory that the callers keep.
    check(unsafe { libc::syscall(libc::SYS_bpf, command, pointer, size_of::<T>()) })
}

/// Loads a program that decides about device accesses.
pub(crate) fn load_device_program(program: &[BpfInstruction]) -> Result<OwnedFd, Errno> {
    const BPF_PROG_LOAD: c_int = 5;
    const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
    const BPF_CGROUP_DEVICE: u32 = 6;
    let license = c"Apache-2.0";
    let load = BpfLoad {
        program_type: BPF_PROG_TYPE_CGROUP_DEVICE,
        instruction_count: u32::try_from(program.len()).map_err(|_| Errno::TOOBIG)?,
        instructions: program.as_ptr() as u64,
        license: license.as_ptr() as u64,
        expected_attach_type: BPF_CGROUP_DEVICE,
        ..BpfLoad::default()
    };
    let fd = bpf(BPF_PROG_LOAD, &load)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Puts the program in force for a control group, beside those of its parents.
pub(crate) fn attach_device_program(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<(), Errno> {
    const BPF_PROG_ATTACH: c_int = 8;
    const BPF_CGROUP_DEVICE: u32 = 6;
    const BPF_F_ALLOW_MULTI: u32 = 2;
    let attach = BpfAttach {
        target: cgroup.as_raw_fd() as u32,
        program: program.as_raw_fd() as u32,
        attach_type: BPF_CGROUP_DEVICE,
        flags: BPF_F_ALLOW_MULTI,
    };
    bpf(BPF_PROG_ATTACH, &attach).map(drop)
}

/// Ticks per second of the times in `/proc`.
pub(crate) fn clock_ticks() -> u64 {
    // SAFETY: always sound.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    u64::try_from(ticks).ok().filter(|t| *t > 0).unwrap_or(100)
}
