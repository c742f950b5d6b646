//! PID 1 of the VMs that `boot.rs` starts: obeys one-line commands from the
//! channel. A single file without dependencies, built by the test itself.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::raw::{c_char, c_int, c_long, c_ulong, c_void};

unsafe extern "C" {
    fn mount(source: *const c_char, target: *const c_char, kind: *const c_char, flags: c_ulong, data: *const c_void)
    -> c_int;
    fn umount(target: *const c_char) -> c_int;
    fn ioctl(fd: c_int, request: c_ulong, ...) -> c_int;
    fn reboot(command: c_int) -> c_int;
}

fn main() {
    std::fs::create_dir_all("/mnt").unwrap();
    for (kind, target) in [("devtmpfs", "/dev"), ("proc", "/proc"), ("sysfs", "/sys")] {
        std::fs::create_dir_all(target).unwrap();
        mount_at(kind, kind, target).unwrap();
    }
    let channel = OpenOptions::new().read(true).write(true).open("/dev/vport0p1").unwrap();
    let mut replies = channel.try_clone().unwrap();
    replies.write_all(b"ready\n").unwrap();
    for line in BufReader::new(channel).lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        let reply = match obey(&words) {
            Ok(reply) => reply,
            Err(error) => format!("error {}", error.raw_os_error().unwrap_or(-1)),
        };
        replies.write_all(format!("{}\n", reply.trim_end().replace('\n', "|")).as_bytes()).unwrap();
    }
    // Then the kernel panics: PID 1 ended.
}

fn obey(words: &[&str]) -> std::io::Result<String> {
    match *words {
        ["cat", path] => std::fs::read_to_string(path),
        ["serial", "of", serial] => disk(serial),
        ["read", device, offset, length] => {
            let mut file = File::open(device)?;
            file.seek(SeekFrom::Start(offset.parse().unwrap()))?;
            let mut bytes = vec![0; length.parse().unwrap()];
            file.read_exact(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        }
        ["write", device, offset, text] => {
            let mut file = OpenOptions::new().write(true).open(device)?;
            let offset: u64 = offset.parse().unwrap();
            if offset > 0 {
                file.seek(SeekFrom::Start(offset))?;
            }
            file.write_all(text.as_bytes())?;
            // Not all that can be written to has a disk behind it.
            if device.starts_with("/dev/vd") {
                file.sync_all()?;
            }
            Ok("ok".to_owned())
        }
        ["fill", path, mib] => {
            let mut file = File::create(path)?;
            for index in 0..mib.parse::<u32>().unwrap() {
                // Not all the same, so that nothing on the way can leave it out.
                file.write_all(&vec![index as u8 | 1; 1 << 20])?;
            }
            file.sync_all()?;
            Ok("ok".to_owned())
        }
        ["keep", directory, count] => {
            std::fs::create_dir(directory)?;
            for index in 0..count.parse::<u32>().unwrap() {
                let mut file = File::create(format!("{directory}/{index}"))?;
                file.write_all(&kept(index))?;
                file.sync_all()?;
            }
            File::open(directory)?.sync_all()?;
            Ok("ok".to_owned())
        }
        ["check", directory, count] => {
            for index in 0..count.parse::<u32>().unwrap() {
                if std::fs::read(format!("{directory}/{index}"))? != kept(index) {
                    return Ok(format!("{directory}/{index} is not what was written"));
                }
            }
            Ok("ok".to_owned())
        }
        // Says ok when it is in the midst of it, and goes on.
        ["churn", directory, rounds] => {
            let (directory, rounds) = (directory.to_owned(), rounds.parse::<u32>().unwrap());
            let (sender, receiver) = std::sync::mpsc::channel();
            std::thread::spawn(move || {
                for round in 0.. {
                    let outcome = churn(&directory, round);
                    if outcome.is_err() || round == rounds {
                        let _ = sender.send(outcome);
                    }
                }
            });
            receiver.recv().unwrap().map(|()| "ok".to_owned())
        }
        ["drain", device] => {
            let mut file = File::open(device)?;
            let mut buffer = vec![0; 1 << 20];
            let start = std::time::Instant::now();
            let mut total = 0;
            loop {
                match file.read(&mut buffer)? {
                    0 => break,
                    n => total += n,
                }
            }
            Ok(format!("{total} {}", start.elapsed().as_micros()))
        }
        ["partition", device, number, offset, length] => {
            add_partition(device, number.parse().unwrap(), offset.parse().unwrap(), length.parse().unwrap())?;
            Ok("ok".to_owned())
        }
        ["mount", kind, device] => mount_at(kind, device, "/mnt").map(|()| "ok".to_owned()),
        ["umount"] => {
            let path = c"/mnt";
            if unsafe { umount(path.as_ptr()) } == 0 {
                Ok("ok".to_owned())
            } else {
                Err(std::io::Error::last_os_error())
            }
        }
        ["remove", path] => std::fs::remove_file(path).map(|()| "ok".to_owned()),
        ["trim"] => trim("/mnt"),
        ["say", megabytes] => {
            // Else all but a few lines a second are left out.
            std::fs::write("/proc/sys/kernel/printk_devkmsg", "on\n")?;
            let mut log = OpenOptions::new().write(true).open("/dev/kmsg")?;
            for _ in 0..megabytes.parse::<u32>().unwrap() * 1024 {
                log.write_all(format!("<2>{}\n", "x".repeat(900)).as_bytes())?;
            }
            Ok("ok".to_owned())
        }
        ["panic"] => std::process::exit(3),
        ["reboot"] => {
            unsafe { reboot(0x0123_4567) };
            Err(std::io::Error::last_os_error())
        }
        _ => Ok("what?".to_owned()),
    }
}

/// What a file that is to stay holds: some blocks, different in each.
fn kept(index: u32) -> Vec<u8> {
    (0..5000).flat_map(|word: u32| (word ^ index << 16).to_le_bytes()).collect()
}

/// All that changes a file system's own records: files and directories made,
/// written, moved over others, cut and removed; now and then some of it synced,
/// so that journal and disk are written to all the time.
fn churn(directory: &str, round: u32) -> std::io::Result<()> {
    let parent = format!("{directory}/{}", round % 7);
    std::fs::create_dir_all(&parent)?;
    let path = format!("{parent}/{}", round % 61);
    let mut file = File::create(&path)?;
    file.write_all(&vec![round as u8; (round % 97 * 517) as usize])?;
    if round % 11 == 0 {
        file.sync_all()?;
    }
    match round % 5 {
        0 => std::fs::rename(&path, format!("{parent}/moved"))?,
        1 => file.set_len(u64::from(round % 13 * 401))?,
        2 => std::fs::remove_file(&path)?,
        3 => {
            let nested = format!("{parent}/d{round}");
            std::fs::create_dir_all(&nested)?;
            File::create(format!("{nested}/f"))?.write_all(b"nested")?;
            if round % 2 == 0 {
                std::fs::remove_dir_all(&nested)?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// The device whose serial number is `serial`.
fn disk(serial: &str) -> std::io::Result<String> {
    for entry in std::fs::read_dir("/sys/block")? {
        let entry = entry?;
        if std::fs::read_to_string(entry.path().join("serial")).is_ok_and(|text| text.trim() == serial) {
            return Ok(format!("/dev/{}", entry.file_name().to_string_lossy()));
        }
    }
    Err(std::io::ErrorKind::NotFound.into())
}

fn mount_at(kind: &str, source: &str, target: &str) -> std::io::Result<()> {
    let [kind, source, target] = [kind, source, target].map(|text| CString::new(text).unwrap());
    let read_only = c_ulong::from(kind.as_bytes() == b"erofs");
    let result =
        unsafe { mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), read_only, std::ptr::null()) };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// `BLKPG_ADD_PARTITION`, from the kernel's `linux/blkpg.h`.
fn add_partition(device: &str, number: c_int, start: i64, length: i64) -> std::io::Result<()> {
    #[repr(C)]
    struct Partition {
        start: i64,
        length: i64,
        number: c_int,
        names: [u8; 128],
    }
    #[repr(C)]
    struct Argument {
        operation: c_int,
        flags: c_int,
        length: c_int,
        data: *const Partition,
    }
    let partition = Partition { start, length, number, names: [0; 128] };
    let argument = Argument { operation: 1, flags: 0, length: size_of::<Partition>() as c_int, data: &partition };
    let file = File::open(device)?;
    let result = unsafe { ioctl(file.as_raw_fd(), 0x1269, &raw const argument) };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// `FITRIM` of everything.
fn trim(path: &str) -> std::io::Result<String> {
    let mut range: [u64; 3] = [0, u64::MAX, 0];
    let file = File::open(path)?;
    let result = unsafe { ioctl(file.as_raw_fd(), 0xc018_5879 as c_long as c_ulong, &raw mut range) };
    if result == 0 { Ok("ok".to_owned()) } else { Err(std::io::Error::last_os_error()) }
}
