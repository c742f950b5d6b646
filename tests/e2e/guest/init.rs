//! PID 1 of VMs that do not do what they should, each in its own way: a single
//! file without dependencies, built by the test with `--cfg` for the way.

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
    if cfg!(any(keeps_outputs, crumbles)) {
        agent::serve();
    }
    loop {
        std::thread::park();
    }
}

/// An agent that starts nothing, by the wire's and yamux's specifications and
/// without their code.
mod agent {
    use std::collections::HashMap;
    use std::fs::{File, OpenOptions};
    use std::io::{Read, Write};

    const DATA: u8 = 0;
    const WINDOW_UPDATE: u8 = 1;
    const PING: u8 = 2;
    const GO_AWAY: u8 = 3;
    const SYN: u16 = 1;
    const ACK: u16 = 2;

    /// What a stream may carry that nobody reads.
    const WINDOW: usize = 256 << 10;

    pub fn serve() {
        let mut channel = OpenOptions::new().read(true).write(true).open("/dev/vport0p1").unwrap();
        let greeting = *b"CMW\0\x01\0\x01\0";
        channel.write_all(&greeting).unwrap();
        channel.read_exact(&mut [0; 8]).unwrap();
        // Requests come in pieces.
        let mut requests: HashMap<u32, Vec<u8>> = HashMap::new();
        loop {
            let mut header = [0; 12];
            channel.read_exact(&mut header).unwrap();
            let [_, kind, f0, f1, s0, s1, s2, s3, l0, l1, l2, l3] = header;
            let (flags, stream) = (u16::from_be_bytes([f0, f1]), u32::from_be_bytes([s0, s1, s2, s3]));
            let length = u32::from_be_bytes([l0, l1, l2, l3]);
            match kind {
                DATA => {
                    let mut bytes = vec![0; length as usize];
                    channel.read_exact(&mut bytes).unwrap();
                    let request = requests.entry(stream).or_default();
                    request.extend_from_slice(&bytes);
                    let announced = request.first_chunk().map(|length| u32::from_le_bytes(*length) as usize);
                    if announced.is_some_and(|length| request.len() == 4 + length) {
                        let request = String::from_utf8(request[4..].to_vec()).unwrap();
                        answer(&mut channel, stream, &request);
                    }
                }
                WINDOW_UPDATE if cfg!(crumbles) => crumble(&mut channel, stream, length as usize),
                PING if flags == SYN => send(&mut channel, PING, ACK, stream, length, b""),
                GO_AWAY => return,
                _ => {}
            }
        }
    }

    fn send(channel: &mut File, kind: u8, flags: u16, stream: u32, length: u32, data: &[u8]) {
        let mut frame = vec![0, kind];
        frame.extend(flags.to_be_bytes());
        frame.extend(stream.to_be_bytes());
        frame.extend(length.to_be_bytes());
        frame.extend(data);
        channel.write_all(&frame).unwrap();
    }

    fn say(channel: &mut File, stream: u32, text: &str) {
        let message = [&(text.len() as u32).to_le_bytes(), text.as_bytes()].concat();
        send(channel, DATA, ACK, stream, message.len() as u32, &message);
    }

    /// No stream is ever ended by this side.
    fn answer(channel: &mut File, stream: u32, request: &str) {
        if request.starts_with("{\"output\"") {
            say(channel, stream, "\"done\"");
            if request.contains("stdout") && cfg!(keeps_outputs) {
                send(channel, DATA, 0, stream, 5, b"said\n");
            } else if request.contains("stdout") {
                let answer = 10;
                crumble(channel, stream, WINDOW - answer);
            }
        } else if request.starts_with("{\"wait\"") {
            if cfg!(keeps_outputs) {
                say(channel, stream, r#"{"exited":{"status":{"code":7},"oom_killed":false,"reason":null}}"#);
            }
        } else if request == "\"start\"" {
            say(channel, stream, r#"{"started":{"pid":2,"timeline":[]}}"#);
        } else if request == "\"facts\"" {
            let facts = r#"{"facts":{"kernel_release":"6.0","boot_id":"none","memory_total":1048576,"cpus":1}}"#;
            say(channel, stream, facts);
        } else if request.starts_with("{\"create\"") {
            say(channel, stream, "\"done\"");
        }
    }

    /// Frames of one byte each.
    fn crumble(channel: &mut File, stream: u32, count: usize) {
        let mut frame = vec![0, DATA, 0, 0];
        frame.extend(stream.to_be_bytes());
        frame.extend(1u32.to_be_bytes());
        frame.push(b'y');
        channel.write_all(&frame.repeat(count)).unwrap();
    }
}
