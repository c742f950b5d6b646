//! Runs inside a container: says how the kernel answers each system call.
//! Built by the tests, not by cargo.

use std::ffi::{c_int, c_long};

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
    fn __errno_location() -> *mut c_int;
}

/// Numbers that end, stop or signal the caller, or duplicate it.
#[cfg(target_arch = "x86_64")]
const DEADLY: [c_long; 10] = [15, 34, 37, 57, 58, 60, 219, 231, 335, 336];
/// The above for the table that other architectures share.
#[cfg(not(target_arch = "x86_64"))]
const DEADLY: [c_long; 4] = [93, 94, 128, 139];

fn main() {
    let mut answers = String::new();
    for number in (0..480).chain([1000, 0x4000_0000, 0x4000_0000 + 1000]).filter(|n| !DEADLY.contains(n)) {
        let no: c_long = -1;
        // SAFETY: no argument is a valid address, size or descriptor, so the
        // kernel does nothing but refuse.
        let (result, errno) = unsafe {
            *__errno_location() = 0;
            (syscall(number, no, no, no, no, no, no), *__errno_location())
        };
        // Some answer with what differs from process to process.
        let result = if result == -1 { "error" } else { "fine" };
        answers.push_str(&format!("{number} {result} {errno}\n"));
    }
    print!("{answers}");
}
