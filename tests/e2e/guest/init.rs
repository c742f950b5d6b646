//! PID 1 of VMs that do not come up, each in its own way: a single file
//! without dependencies, built by the test with `--cfg` for the way.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::raw::{c_char, c_int, c_ulong, c_void};

unsafe extern "C" {
    fn mount(source: *const c_char, target: *const c_char, kind: *const c_char, flags: c_ulong, data: *const c_void)
    -> c_int;
}

fn say(text: &str) {
    let mut console = OpenOptions::new().write(true).open("/dev/kmsg").unwrap();
    // Levels below 4 are shown on the console.
    console.write_all(format!("<3>{text}\n").as_bytes()).unwrap();
}

fn main() {
    let kind = c"devtmpfs";
    // SAFETY: the strings end with a zero byte and outlive the call.
    let mounted = unsafe { mount(kind.as_ptr(), c"/dev".as_ptr(), kind.as_ptr(), 0, std::ptr::null()) };
    assert_eq!(mounted, 0);
    say("test guest: up");
    if cfg!(hangs) {
        say("test guest: hangs from here on");
    }
    if cfg!(talks_nonsense) {
        let mut channel = OpenOptions::new().write(true).open("/dev/vport0p1").unwrap();
        // It is fine for the other side to end this in the middle.
        while channel.write_all(b"nonsense, and more of it; ").is_ok() {}
    }
    if cfg!(ends) {
        return;
    }
    loop {
        std::thread::park();
    }
}
