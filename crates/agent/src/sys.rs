//! The entry point, and the ioctls that no library has: the crate's only unsafe
//! code.
#![allow(unsafe_code, reason = "ioctl(2) takes pointers; the C library calls main by its name")]

use std::ffi::c_void;
use std::fs::File;
use std::os::fd::AsFd;

use casemate_wire::Extent;
use rustix::io::Errno;
use rustix::ioctl::{self, Ioctl, IoctlOutput, Opcode};

/// Where the C library starts the program. Without Rust's own entry: what that
/// prepares (a guard for the stack's end, signals, a name for the thread) is of
/// no use to PID 1, which no signal ends, and costs some 2 ms at each start.
// SAFETY: nothing else in this program is named `main`.
#[unsafe(no_mangle)]
extern "C" fn main() -> i32 {
    crate::live();
    // The end of PID 1 is a panic, which the keeper sees.
    1
}

/// Whether a disk cannot be written.
pub(crate) fn is_read_only(disk: &File) -> Result<bool, Errno> {
    // SAFETY: BLKROGET (0x125e) writes one C int.
    let value = unsafe { ioctl::ioctl(disk.as_fd(), ioctl::Getter::<0x125e, i32>::new()) }?;
    Ok(value != 0)
}

/// `struct blkpg_partition` of linux/blkpg.h.
#[repr(C)]
struct BlkpgPartition {
    start: i64,
    length: i64,
    number: i32,
    device_name: [u8; 64],
    volume_name: [u8; 64],
}

/// `struct blkpg_ioctl_arg` of linux/blkpg.h.
#[repr(C)]
struct BlkpgArgument {
    operation: i32,
    flags: i32,
    length: i32,
    data: *mut c_void,
}

struct AddPartition {
    partition: BlkpgPartition,
    argument: BlkpgArgument,
}

// SAFETY: BLKPG (0x1269) reads a `blkpg_ioctl_arg`, whose `data` points to a
// `blkpg_partition`; both live in `self` for the call, which writes neither.
unsafe impl Ioctl for AddPartition {
    type Output = ();
    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        0x1269
    }

    fn as_ptr(&mut self) -> *mut c_void {
        self.argument.data = (&raw mut self.partition).cast();
        (&raw mut self.argument).cast()
    }

    unsafe fn output_from_ptr(_: IoctlOutput, _: *mut c_void) -> Result<(), Errno> {
        Ok(())
    }
}

/// Tells the kernel of a partition; its device appears before this returns.
pub(crate) fn add_partition(disk: &File, number: u32, extent: Extent) -> Result<(), Errno> {
    const BLKPG_ADD_PARTITION: i32 = 1;
    let partition = BlkpgPartition {
        start: i64::try_from(extent.offset).map_err(|_| Errno::INVAL)?,
        length: i64::try_from(extent.length).map_err(|_| Errno::INVAL)?,
        number: i32::try_from(number).map_err(|_| Errno::INVAL)?,
        device_name: [0; 64],
        volume_name: [0; 64],
    };
    let argument = BlkpgArgument {
        operation: BLKPG_ADD_PARTITION,
        flags: 0,
        length: size_of::<BlkpgPartition>() as i32,
        data: std::ptr::null_mut(),
    };
    // SAFETY: see the implementation of `Ioctl`.
    unsafe { ioctl::ioctl(disk.as_fd(), AddPartition { partition, argument }) }
}

/// Bytes that one call to [`add_entropy`] can take.
pub(crate) const MAX_ENTROPY: usize = 64;

/// `struct rand_pool_info` of linux/random.h, with room for its bytes.
#[repr(C)]
struct RandPoolInfo {
    entropy_bits: i32,
    length: i32,
    bytes: [u8; MAX_ENTROPY],
}

struct AddEntropy(RandPoolInfo);

// SAFETY: RNDADDENTROPY reads a `rand_pool_info` and as many bytes behind it
// as its `length` says, which is at most `MAX_ENTROPY`.
unsafe impl Ioctl for AddEntropy {
    type Output = ();
    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        ioctl::opcode::write::<[i32; 2]>(b'R', 0x03)
    }

    fn as_ptr(&mut self) -> *mut c_void {
        (&raw mut self.0).cast()
    }

    unsafe fn output_from_ptr(_: IoctlOutput, _: *mut c_void) -> Result<(), Errno> {
        Ok(())
    }
}

/// Feeds the kernel's random generator with bytes that are all entropy.
pub(crate) fn add_entropy(random: &File, bytes: &[u8]) -> Result<(), Errno> {
    for piece in bytes.chunks(MAX_ENTROPY) {
        let mut info =
            RandPoolInfo { entropy_bits: piece.len() as i32 * 8, length: piece.len() as i32, bytes: [0; MAX_ENTROPY] };
        info.bytes[..piece.len()].copy_from_slice(piece);
        // SAFETY: see the implementation of `Ioctl`.
        unsafe { ioctl::ioctl(random.as_fd(), AddEntropy(info)) }?;
    }
    Ok(())
}

struct Reseed;

// SAFETY: RNDRESEEDCRNG takes no argument.
unsafe impl Ioctl for Reseed {
    type Output = ();
    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        ioctl::opcode::none(b'R', 0x07)
    }

    fn as_ptr(&mut self) -> *mut c_void {
        std::ptr::null_mut()
    }

    unsafe fn output_from_ptr(_: IoctlOutput, _: *mut c_void) -> Result<(), Errno> {
        Ok(())
    }
}

/// Has the generator use what it was fed from its next byte on.
pub(crate) fn reseed(random: &File) -> Result<(), Errno> {
    // SAFETY: see the implementation of `Ioctl`.
    unsafe { ioctl::ioctl(random.as_fd(), Reseed) }
}
