//! The processes of a container, as this kernel's `/proc` tells of them.
//!
//! What a process says about itself (its name, its command line) is a
//! stranger's text of a stranger's length.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use casemate_model::Bytes;

use crate::cgroup::Cgroup;
use crate::error::LaunchError;
use crate::sys;

/// Longer command lines are cut: a process can make its own megabytes long.
const LONGEST_COMMAND: u64 = 4096;

/// Devices 136 to 143 are terminals of a devpts.
const PTS_MAJORS: std::ops::RangeInclusive<u32> = 136..=143;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessEntry {
    /// As the caller's pid namespace numbers it.
    pub pid: u32,
    pub ppid: u32,
    /// As the container numbers it.
    pub pid_inside: u32,
    /// The real user.
    pub uid: u32,
    /// The number of its terminal in the container's devpts.
    pub tty: Option<u32>,
    /// Seconds since 1970.
    pub started: u64,
    /// Processor time used, in milliseconds.
    pub cpu_ms: u64,
    /// The same as a part of the time it has lived, in a hundred, as ps(1)
    /// shows it.
    pub cpu_percent: u32,
    /// The kernel's letter.
    pub state: char,
    pub virtual_memory: Bytes,
    pub resident_memory: Bytes,
    /// The kernel's short name of it.
    pub name: String,
    /// The command line; `[name]` where there is none.
    pub command: String,
}

pub(crate) fn list(cgroup: &Cgroup) -> Result<Vec<ProcessEntry>, LaunchError> {
    let clock = Clock { boot: boot_time()?, uptime: uptime()?, ticks: sys::clock_ticks() };
    let mut entries = Vec::new();
    for pid in cgroup.pids()? {
        match entry(pid, clock) {
            Ok(Some(entry)) => entries.push(entry),
            // Ended in the meantime.
            Ok(None) => {}
            Err((path, error)) if !is_gone(&error) => {
                return Err(LaunchError::File { operation: "read", path, source: error });
            }
            Err(_) => {}
        }
    }
    entries.sort_by_key(|entry| entry.pid);
    Ok(entries)
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
}

fn entry(pid: u32, clock: Clock) -> Result<Option<ProcessEntry>, (PathBuf, io::Error)> {
    let dir = PathBuf::from(format!("/proc/{pid}"));
    let stat = read(&dir.join("stat"), LONGEST_COMMAND)?;
    let status = read(&dir.join("status"), LONGEST_COMMAND)?;
    let command = read(&dir.join("cmdline"), LONGEST_COMMAND)?;
    Ok(parse(pid, &stat, &status, &command, clock))
}

fn read(path: &Path, limit: u64) -> Result<Vec<u8>, (PathBuf, io::Error)> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes));
    read.map(|_| bytes).map_err(|error| (path.to_owned(), error))
}

/// What the times in `/proc` count from.
#[derive(Clone, Copy)]
struct Clock {
    /// Seconds since 1970.
    boot: u64,
    /// Seconds since then.
    uptime: u64,
    /// In a second.
    ticks: u64,
}

fn uptime() -> Result<u64, LaunchError> {
    let path = Path::new("/proc/uptime");
    let failed = |source| LaunchError::File { operation: "read", path: path.to_owned(), source };
    let text = std::fs::read_to_string(path).map_err(failed)?;
    let seconds = text.split(['.', ' ']).next().and_then(|n| n.parse().ok());
    seconds.ok_or_else(|| failed(io::Error::from(io::ErrorKind::InvalidData)))
}

fn boot_time() -> Result<u64, LaunchError> {
    let path = Path::new("/proc/stat");
    let failed = |source| LaunchError::File { operation: "read", path: path.to_owned(), source };
    let text = std::fs::read_to_string(path).map_err(failed)?;
    let line = text.lines().find_map(|line| line.strip_prefix("btime "));
    line.and_then(|n| n.trim().parse().ok()).ok_or_else(|| failed(io::Error::from(io::ErrorKind::InvalidData)))
}

/// `None` for files that are not as proc(5) says (cut short by an end).
fn parse(pid: u32, stat: &[u8], status: &[u8], command: &[u8], clock: Clock) -> Option<ProcessEntry> {
    // `pid (name) state ppid …`, where the name may hold anything, also `) R 1`.
    let open = stat.iter().position(|b| *b == b'(')?;
    let close = stat.iter().rposition(|b| *b == b')')?;
    let name = printable(stat.get(open + 1..close)?);
    let rest = std::str::from_utf8(stat.get(close + 1..)?).ok()?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // proc(5) counts from 1 and the pid; `state` is its number 3.
    let field = |number: usize| fields.get(number - 3)?.parse::<i64>().ok();
    let positive = |number: usize| field(number).and_then(|n| u64::try_from(n).ok());
    let status = String::from_utf8_lossy(status);
    let line = |key: &str| status.lines().find_map(|l| l.strip_prefix(key));
    let uid = line("Uid:")?.split_ascii_whitespace().next()?.parse().ok()?;
    let pid_inside = line("NSpid:")?.split_ascii_whitespace().last()?.parse().ok()?;
    let command = command.strip_suffix(b"\0").unwrap_or(command);
    let command = if command.is_empty() { format!("[{name}]") } else { printable(command) };
    let cpu_ms = (positive(14)? + positive(15)?).saturating_mul(1000) / clock.ticks;
    let started = positive(22)? / clock.ticks;
    let lived_ms = clock.uptime.saturating_sub(started).saturating_mul(1000);
    Some(ProcessEntry {
        pid,
        ppid: u32::try_from(positive(4)?).ok()?,
        pid_inside,
        uid,
        tty: terminal(field(7)? as u32),
        started: clock.boot + started,
        cpu_ms,
        cpu_percent: u32::try_from(cpu_ms.saturating_mul(100).checked_div(lived_ms).unwrap_or(0)).unwrap_or(u32::MAX),
        state: fields.first()?.chars().next()?,
        virtual_memory: Bytes(positive(23)?),
        resident_memory: Bytes(positive(24)?.saturating_mul(rustix::param::page_size() as u64)),
        name,
        command,
    })
}

/// The device's number as the kernel packs it: minor in two parts.
fn terminal(device: u32) -> Option<u32> {
    let (major, minor) = (device >> 8 & 0xfff, device & 0xff | device >> 12 & 0xfff00);
    PTS_MAJORS.contains(&major).then(|| (major - PTS_MAJORS.start()) * 256 + minor)
}

/// Arguments are separated by a NUL, which becomes a blank; what could move a
/// terminal's cursor becomes a question mark.
fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars()
        .map(|c| {
            if c == '\0' {
                ' '
            } else if c.is_control() {
                '?'
            } else {
                c
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_name_does_not_shift_the_fields() {
        let stat = b"77 (a) R 9 (\n) S 1 77 77 34816 77 4194304 1 0 0 0 150 50 0 0 20 0 1 0 4200 8192 2";
        let clock = Clock { boot: 1000, uptime: 50, ticks: 100 };
        let status = b"Name:\ta) R 9 (\\n\nUid:\t33\t33\t33\t33\nNSpid:\t77\t5\n";
        let entry = parse(77, stat, status, b"sh\0-c\0x\x1b[2J\0", clock).unwrap();
        let expected = ProcessEntry {
            pid: 77,
            ppid: 1,
            pid_inside: 5,
            uid: 33,
            tty: Some(0),
            started: 1042,
            cpu_ms: 2000,
            cpu_percent: 25,
            state: 'S',
            virtual_memory: Bytes(8192),
            resident_memory: Bytes(2 * rustix::param::page_size() as u64),
            name: "a) R 9 (?".to_owned(),
            command: "sh -c x?[2J".to_owned(),
        };
        assert_eq!(entry, expected);
        let nameless = parse(77, stat, status, b"", clock).unwrap();
        assert_eq!(nameless.command, "[a) R 9 (?]");
        for cut in 0..stat.len() - 8 {
            assert_eq!(parse(77, &stat[..cut], status, b"", clock), None, "{cut}");
        }
        assert_eq!(terminal(0x8803), Some(3));
        assert_eq!(terminal(0x0501), None);
    }
}
