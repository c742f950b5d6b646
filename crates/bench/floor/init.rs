//! PID 1 of the floor's virtual machine: the least that shows it is up. It says
//! one line on the channel and reboots, which ends the machine.
//!
//! Four system calls without any library, so that nothing runs before them.
#![no_std]
#![no_main]

use core::arch::{asm, global_asm};
use core::ffi::CStr;

#[cfg(target_arch = "x86_64")]
mod number {
    pub const WRITE: usize = 1;
    pub const EXIT: usize = 60;
    pub const MOUNT: usize = 165;
    pub const REBOOT: usize = 169;
    pub const OPENAT: usize = 257;
}

#[cfg(target_arch = "aarch64")]
mod number {
    pub const MOUNT: usize = 40;
    pub const OPENAT: usize = 56;
    pub const WRITE: usize = 64;
    pub const EXIT: usize = 93;
    pub const REBOOT: usize = 142;
}

const LINE: &[u8] = b"up\n";
const O_RDWR: usize = 2;

#[cfg(target_arch = "x86_64")]
global_asm!(".globl _start", "_start: xor %ebp, %ebp", "and $-16, %rsp", "call {init}", init = sym init, options(att_syntax));
#[cfg(target_arch = "aarch64")]
global_asm!(".globl _start", "_start: mov x29, xzr", "bl {init}", init = sym init);

/// Whatever fails ends it, which the kernel answers with a panic: the machine
/// ends without its line.
extern "C" fn init() -> ! {
    let text = |text: &'static CStr| text.as_ptr() as usize;
    let kind = text(c"devtmpfs");
    let mounted = call(number::MOUNT, [kind, text(c"/dev"), kind, 0, 0]);
    // The path is absolute: the first argument does not count.
    let channel = call(number::OPENAT, [0, text(c"/dev/vport0p1"), O_RDWR, 0, 0]);
    // Returns when the host has taken the line.
    let written = call(number::WRITE, [channel as usize, LINE.as_ptr() as usize, LINE.len(), 0, 0]);
    if mounted == 0 && written == LINE.len() as isize {
        // LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_RESTART
        call(number::REBOOT, [0xfee1_dead, 672_274_793, 0x0123_4567, 0, 0]);
    }
    loop {
        call(number::EXIT, [1, 0, 0, 0, 0]);
    }
}

fn call(number: usize, [a, b, c, d, e]: [usize; 5]) -> isize {
    let result: isize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the callers pass what the system call of this number takes; the
    // kernel changes no registers but those named.
    unsafe {
        asm!("syscall", inlateout("rax") number => result, in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d,
            in("r8") e, lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        asm!("svc 0", in("x8") number, inlateout("x0") a => result, in("x1") b, in("x2") c, in("x3") d, in("x4") e,
            options(nostack));
    }
    result
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
