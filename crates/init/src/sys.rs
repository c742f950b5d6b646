//! The kernel's calls and the process's first moment. The only unsafe code of
//! the program.
#![allow(unsafe_code)]

use core::arch::{asm, global_asm};
use core::ffi::{CStr, c_char};
use core::mem::MaybeUninit;
use core::ptr;

use crate::command::Arguments;
use crate::signals::Signals;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pid(i32);

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Errno(i32);

impl Errno {
    pub(crate) const NOENT: Self = Self(2);
    const INTR: Self = Self(4);
    pub(crate) const NOEXEC: Self = Self(8);
    pub(crate) const ACCES: Self = Self(13);
    pub(crate) const NOTDIR: Self = Self(20);
}

/// How a process ended.
pub(crate) enum Ended {
    Code(i32),
    Signal(i32),
}

#[cfg(target_arch = "x86_64")]
mod number {
    pub(super) const WRITE: usize = 1;
    pub(super) const RT_SIGPROCMASK: usize = 14;
    pub(super) const IOCTL: usize = 16;
    pub(super) const CLONE: usize = 56;
    pub(super) const EXECVE: usize = 59;
    pub(super) const WAIT4: usize = 61;
    pub(super) const KILL: usize = 62;
    pub(super) const SETPGID: usize = 109;
    pub(super) const RT_SIGTIMEDWAIT: usize = 128;
    pub(super) const EXIT_GROUP: usize = 231;
}

#[cfg(target_arch = "aarch64")]
mod number {
    pub(super) const IOCTL: usize = 29;
    pub(super) const WRITE: usize = 64;
    pub(super) const EXIT_GROUP: usize = 94;
    pub(super) const KILL: usize = 129;
    pub(super) const RT_SIGPROCMASK: usize = 135;
    pub(super) const RT_SIGTIMEDWAIT: usize = 137;
    pub(super) const SETPGID: usize = 154;
    pub(super) const CLONE: usize = 220;
    pub(super) const EXECVE: usize = 221;
    pub(super) const WAIT4: usize = 260;
}

// The kernel enters a program with a stack that holds the number of arguments,
// the arguments, a null, the environment, a null.
#[cfg(target_arch = "x86_64")]
global_asm!(".globl _start", "_start:", "xor ebp, ebp", "mov rdi, rsp", "and rsp, -16", "call {start}", "ud2", start = sym start);

#[cfg(target_arch = "aarch64")]
global_asm!(".globl _start", "_start:", "mov x29, xzr", "mov x30, xzr", "mov x0, sp", "b {start}", start = sym start);

extern "C" fn start(stack: *const usize) -> ! {
    // SAFETY: called by `_start` alone, with the stack as the kernel made it,
    // which stays as long as the process does.
    let arguments = unsafe {
        let count = *stack;
        let arguments = stack.add(1).cast::<*const c_char>();
        Arguments {
            arguments: Strings(arguments.cast_mut()),
            environment: Strings(arguments.add(count + 1).cast_mut()),
        }
    };
    crate::run(arguments)
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    exit(1)
}

/// A string of the process's own command line, or one that lives as long.
#[derive(Clone, Copy)]
pub(crate) struct Text(*const c_char);

impl Text {
    pub(crate) const fn new(text: &'static CStr) -> Self {
        Self(text.as_ptr())
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: it ends with a null, see the type.
        unsafe { CStr::from_ptr(self.0) }.to_bytes()
    }

    /// The parts one after the other in `room`; `None` where it is too small.
    /// For use as long as the room is there.
    pub(crate) fn joined(room: &mut [MaybeUninit<u8>], parts: [&[u8]; 3]) -> Option<Self> {
        let mut bytes = parts.into_iter().flatten().chain([&0]);
        for place in room.iter_mut() {
            match bytes.next() {
                Some(byte) => drop(place.write(*byte)),
                None => return Some(Self(room.as_ptr().cast())),
            }
        }
        None
    }
}

pub(crate) fn room<const LENGTH: usize>() -> [MaybeUninit<u8>; LENGTH] {
    [const { MaybeUninit::uninit() }; LENGTH]
}

/// Strings one after the other, up to a null: the process's arguments or its
/// environment.
pub(crate) struct Strings(*mut *const c_char);

impl Strings {
    pub(crate) fn first(&self) -> Option<Text> {
        // SAFETY: there is at least the null.
        let first = unsafe { *self.0 };
        (!first.is_null()).then_some(Text(first))
    }

    /// All behind the first `count`.
    pub(crate) fn after(&self, count: usize) -> Self {
        let mut place = self.0;
        for _ in 0..count {
            // SAFETY: goes on only behind what is not the null at the end.
            unsafe {
                if (*place).is_null() {
                    break;
                }
                place = place.add(1);
            }
        }
        Self(place)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Text> + use<> {
        let mut rest = Self(self.0);
        core::iter::from_fn(move || {
            let first = rest.first()?;
            rest = rest.after(1);
            Some(first)
        })
    }

    /// The same with other words in place of the first and of what stands
    /// before it, which this process needs no more. Only for a command's
    /// arguments: they have this program's name before them.
    pub(crate) fn behind(&self, before: Text, first: Text) -> Option<Self> {
        self.first()?;
        // SAFETY: see above; the kernel's copy of the arguments is this
        // process's own memory, and nothing else looks at these two places.
        unsafe {
            let place = self.0.sub(1);
            *place = before.0;
            *self.0 = first.0;
            Some(Self(place))
        }
    }
}

/// # Safety
/// As the call of this number has it.
#[cfg(target_arch = "x86_64")]
unsafe fn call(number: usize, arguments: [usize; 5]) -> Result<usize, Errno> {
    let [a, b, c, d, e] = arguments;
    let result: isize;
    // SAFETY: the caller's promise; the kernel changes these registers only.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    check(result)
}

/// # Safety
/// As the call of this number has it.
#[cfg(target_arch = "aarch64")]
unsafe fn call(number: usize, arguments: [usize; 5]) -> Result<usize, Errno> {
    let [a, b, c, d, e] = arguments;
    let result: isize;
    // SAFETY: the caller's promise; the kernel changes this register only.
    unsafe {
        asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") a as isize => result,
            in("x1") b, in("x2") c, in("x3") d, in("x4") e,
            options(nostack),
        );
    }
    check(result)
}

fn check(result: isize) -> Result<usize, Errno> {
    if result < 0 { Err(Errno((-result) as i32)) } else { Ok(result as usize) }
}

pub(crate) fn exit(code: i32) -> ! {
    loop {
        // SAFETY: always sound; it does not return.
        let _ = unsafe { call(number::EXIT_GROUP, [code as usize, 0, 0, 0, 0]) };
    }
}

pub(crate) fn write_error(bytes: &[u8]) {
    // SAFETY: the kernel reads as many bytes as there are. What is not written
    // nobody can be told of.
    let _ = unsafe { call(number::WRITE, [2, bytes.as_ptr() as usize, bytes.len(), 0, 0]) };
}

/// Holds these signals back; returns what was held before.
pub(crate) fn block(signals: Signals) -> Signals {
    let mut before = 0u64;
    const SIG_BLOCK: usize = 0;
    // SAFETY: both sets are of the size that is given and outlive the call.
    let _ = unsafe {
        let (new, old) = (&raw const signals.0 as usize, &raw mut before as usize);
        call(number::RT_SIGPROCMASK, [SIG_BLOCK, new, old, size_of::<u64>(), 0])
    };
    Signals(before)
}

pub(crate) fn set_blocked(signals: Signals) {
    const SIG_SETMASK: usize = 2;
    // SAFETY: the set is of the size that is given and outlives the call.
    let _ =
        unsafe { call(number::RT_SIGPROCMASK, [SIG_SETMASK, &raw const signals.0 as usize, 0, size_of::<u64>(), 0]) };
}

/// The next of these signals; `None` if something else woke the process.
pub(crate) fn wait_for_signal(signals: Signals) -> Option<i32> {
    // SAFETY: the set is of the size that is given and outlives the call; no
    // information and no end are asked for.
    let signal = unsafe { call(number::RT_SIGTIMEDWAIT, [&raw const signals.0 as usize, 0, 0, size_of::<u64>(), 0]) };
    signal.ok().map(|signal| signal as i32)
}

/// A copy of this process: `None` in the copy.
pub(crate) fn fork() -> Result<Option<Pid>, Errno> {
    const SIGCHLD: usize = 17;
    // SAFETY: memory is copied and there is one thread.
    let pid = unsafe { call(number::CLONE, [SIGCHLD, 0, 0, 0, 0]) }?;
    Ok((pid != 0).then_some(Pid(pid as i32)))
}

pub(crate) fn kill(pid: Pid, signal: i32) -> Result<(), Errno> {
    // SAFETY: takes two numbers.
    unsafe { call(number::KILL, [pid.0 as usize, signal as usize, 0, 0, 0]) }.map(drop)
}

/// One child that has ended, if there is any.
pub(crate) fn collect() -> Option<(Pid, Ended)> {
    const WNOHANG: usize = 1;
    const ANY: usize = -1isize as usize;
    let mut status = 0i32;
    loop {
        // SAFETY: `status` outlives the call.
        let pid = unsafe { call(number::WAIT4, [ANY, &raw mut status as usize, WNOHANG, 0, 0]) };
        return match pid {
            Err(Errno::INTR) => continue,
            Err(_) | Ok(0) => None,
            Ok(pid) => {
                let signal = status & 0x7f;
                let ended = if signal == 0 { Ended::Code(status >> 8 & 0xff) } else { Ended::Signal(signal) };
                Some((Pid(pid as i32), ended))
            }
        };
    }
}

/// Begins a process group of this process's own.
pub(crate) fn lead_process_group() -> Result<(), Errno> {
    // SAFETY: takes two numbers.
    unsafe { call(number::SETPGID, [0, 0, 0, 0, 0]) }.map(drop)
}

/// Brings this process's group to the foreground of the terminal that is its
/// standard input.
pub(crate) fn take_terminal() -> Result<(), Errno> {
    const TIOCSPGRP: usize = 0x5410;
    const GETPID: usize = if cfg!(target_arch = "x86_64") { 39 } else { 172 };
    // SAFETY: takes nothing. A process that leads its group has the group's id.
    let group = unsafe { call(GETPID, [0, 0, 0, 0, 0]) }? as i32;
    // SAFETY: the kernel reads one number, which outlives the call.
    unsafe { call(number::IOCTL, [0, TIOCSPGRP, &raw const group as usize, 0, 0]) }.map(drop)
}

/// Replaces this program. Returns only if that failed.
pub(crate) fn execute(file: Text, arguments: &Strings, environment: &Strings) -> Errno {
    let (arguments, environment) = (arguments.0 as usize, environment.0 as usize);
    // SAFETY: a string and two rows of strings with a null at their end.
    match unsafe { call(number::EXECVE, [file.0 as usize, arguments, environment, 0, 0]) } {
        Err(errno) => errno,
        Ok(_) => Errno(0),
    }
}

/// The compiler's own, where it wants a copy: there is no library to have it.
///
/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
    for index in 0..length {
        // SAFETY: the caller's promise. Volatile, or the compiler would see a
        // copy in it and call this.
        unsafe { to.add(index).write_volatile(from.add(index).read()) };
    }
    to
}

/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, value: i32, length: usize) -> *mut u8 {
    for index in 0..length {
        // SAFETY: as above.
        unsafe { to.add(index).write_volatile(value as u8) };
    }
    to
}

/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, length: usize) -> i32 {
    for index in 0..length {
        // SAFETY: as above.
        let (a, b) = unsafe { (a.add(index).read_volatile(), b.add(index).read_volatile()) };
        if a != b {
            return i32::from(a) - i32::from(b);
        }
    }
    0
}

/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(text: *const c_char) -> usize {
    let mut length = 0;
    // SAFETY: as above.
    while unsafe { ptr::read_volatile(text.add(length)) } != 0 {
        length += 1;
    }
    length
}
