//! A VM of one page that runs a loop and halts: proof that `/dev/kvm` runs
//! guest code, and how fast. Numbers and structures are those of the kernel's
//! `linux/kvm.h`.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The step that failed, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KvmFailure {
    pub(crate) step: &'static str,
    pub(crate) kind: io::ErrorKind,
}

impl fmt::Display for KvmFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.step, self.kind)
    }
}

const API_VERSION: libc::c_int = 12;
const PAGE: usize = 4096;
/// The last page below 4 GiB: it holds the reset vector, where a processor
/// begins, so that no register has to be set.
const RESET_PAGE: u64 = 0xffff_f000;
const RESET_OFFSET: usize = 0xff0;
/// `mov $4,%bx`; `mov $0,%cx`; `dec %cx`; `jnz` back to it; `dec %bx`; `jnz`
/// back to the second `mov`; `hlt`: four times 65 536 rounds.
const CODE: [u8; 13] = [0xbb, 0x04, 0x00, 0xb9, 0x00, 0x00, 0x49, 0x75, 0xfd, 0x4b, 0x75, 0xf7, 0xf4];
/// Three pages below the reset page that Intel's processors need for real mode;
/// the address is the one the kernel's documentation suggests. Ignored on AMD.
const TSS_ADDRESS: libc::c_ulong = 0xfffb_d000;
const EXIT_HALT: u32 = 5;
/// Offset of `exit_reason` in `struct kvm_run`.
const EXIT_REASON: usize = 8;

const fn io_number(number: libc::c_ulong) -> libc::c_ulong {
    0xae00 | number
}
const GET_API_VERSION: libc::c_ulong = io_number(0x00);
const CREATE_VM: libc::c_ulong = io_number(0x01);
const GET_VCPU_MMAP_SIZE: libc::c_ulong = io_number(0x04);
const CREATE_VCPU: libc::c_ulong = io_number(0x41);
const SET_TSS_ADDR: libc::c_ulong = io_number(0x47);
const RUN: libc::c_ulong = io_number(0x80);
/// `_IOW(0xae, 0x46, struct kvm_userspace_memory_region)`
const SET_USER_MEMORY_REGION: libc::c_ulong = 0x4020_ae46;

#[repr(C)]
struct MemoryRegion {
    slot: u32,
    flags: u32,
    guest_address: u64,
    size: u64,
    host_address: u64,
}

/// Shared memory of this process, unmapped on drop.
struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

impl Mapping {
    /// Maps `length` bytes of `file`, or of anonymous memory.
    fn new(length: usize, file: Option<&OwnedFd>) -> io::Result<Self> {
        let (flags, fd) = match file {
            Some(file) => (libc::MAP_SHARED, file.as_raw_fd()),
            None => (libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1),
        };
        // SAFETY: a new mapping at an address of the kernel's choice overlaps
        // nothing that exists.
        let start =
            unsafe { libc::mmap(std::ptr::null_mut(), length, libc::PROT_READ | libc::PROT_WRITE, flags, fd, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, length })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is the one mapped in `new`, and no reference into
        // it exists outside the calls that copy in and out.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

/// Runs the loop and returns the processor time it took.
#[cfg(target_arch = "x86_64")]
pub(crate) fn run_in_kvm(device: &File) -> Result<Duration, KvmFailure> {
    let version = ioctl("KVM_GET_API_VERSION", device, GET_API_VERSION, 0)?;
    if version != API_VERSION {
        return Err(KvmFailure { step: "KVM_GET_API_VERSION", kind: io::ErrorKind::Unsupported });
    }
    let vm = ioctl_fd("KVM_CREATE_VM", device, CREATE_VM)?;
    ioctl("KVM_SET_TSS_ADDR", &vm, SET_TSS_ADDR, TSS_ADDRESS)?;

    let page = Mapping::new(PAGE, None).map_err(failed("mmap"))?;
    // SAFETY: the mapping is PAGE bytes long, offset and length of the code lie
    // within it, and nothing else refers to it yet.
    unsafe { page.start.add(RESET_OFFSET).copy_from_nonoverlapping(NonNull::from(&CODE).cast(), CODE.len()) };
    let region = MemoryRegion {
        slot: 0,
        flags: 0,
        guest_address: RESET_PAGE,
        size: PAGE as u64,
        host_address: page.start.as_ptr() as u64,
    };
    // SAFETY: the argument is a live structure of the kind this call reads. The
    // guest touches the page it names only inside `RUN` below, before the page
    // is unmapped; the unmapping itself is seen by KVM.
    let set = unsafe { libc::ioctl(vm.as_raw_fd(), SET_USER_MEMORY_REGION, &raw const region) };
    if set != 0 {
        return Err(failed("KVM_SET_USER_MEMORY_REGION")(io::Error::last_os_error()));
    }
    let vcpu = ioctl_fd("KVM_CREATE_VCPU", &vm, CREATE_VCPU)?;
    let shared = ioctl("KVM_GET_VCPU_MMAP_SIZE", device, GET_VCPU_MMAP_SIZE, 0)?;
    let shared = usize::try_from(shared).ok().filter(|length| *length >= PAGE);
    let shared = shared.ok_or(KvmFailure { step: "KVM_GET_VCPU_MMAP_SIZE", kind: io::ErrorKind::InvalidData })?;
    let state = Mapping::new(shared, Some(&vcpu)).map_err(failed("mmap"))?;

    let before = processor_time();
    ioctl("KVM_RUN", &vcpu, RUN, 0)?;
    let took = processor_time().saturating_sub(before);

    // SAFETY: the mapping is at least a page long and its bytes are plain data
    // that the kernel wrote before the call returned.
    let reason = unsafe { state.start.add(EXIT_REASON).cast::<u32>().read_volatile() };
    if reason == EXIT_HALT { Ok(took) } else { Err(KvmFailure { step: "KVM_RUN", kind: io::ErrorKind::InvalidData }) }
}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn run_in_kvm(device: &File) -> Result<Duration, KvmFailure> {
    let before = processor_time();
    ioctl_fd("KVM_CREATE_VM", device, CREATE_VM)?;
    Ok(processor_time().saturating_sub(before))
}

/// Of this thread, which includes what its guest used.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn failed(step: &'static str) -> impl Fn(io::Error) -> KvmFailure {
    move |error| KvmFailure { step, kind: error.kind() }
}

/// One of KVM's calls that take a number.
fn ioctl(
    step: &'static str,
    fd: &impl AsRawFd,
    request: libc::c_ulong,
    argument: libc::c_ulong,
) -> Result<libc::c_int, KvmFailure> {
    // SAFETY: every request this is called with takes its argument by value;
    // `RUN` writes only to memory that KVM was given.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), request, argument) };
    if result < 0 { Err(failed(step)(io::Error::last_os_error())) } else { Ok(result) }
}

fn ioctl_fd(step: &'static str, fd: &impl AsRawFd, request: libc::c_ulong) -> Result<OwnedFd, KvmFailure> {
    let raw = ioctl(step, fd, request, 0)?;
    // SAFETY: on success these requests return a new descriptor that nobody
    // else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}
