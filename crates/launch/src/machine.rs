//! What this kernel's machine is and did, beside which a container's accounts
//! are read.

use std::fs;
use std::io;
use std::path::Path;

use casemate_model::Bytes;

use crate::error::LaunchError;
use crate::sys;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Time of all processors since it booted, idle or not, as Docker adds it
    /// up: without what was stolen by a hypervisor.
    pub cpu_ns: u64,
    pub cpus: u32,
    pub memory: Bytes,
}

impl Machine {
    pub fn now() -> Result<Self, LaunchError> {
        let read = |path: &str| {
            let failed = |source| LaunchError::File { operation: "read", path: path.into(), source };
            fs::read_to_string(path).map_err(failed)
        };
        let parsed = parse(&read("/proc/stat")?, &read("/proc/meminfo")?, sys::clock_ticks());
        parsed.ok_or_else(|| LaunchError::File {
            operation: "read",
            path: Path::new("/proc/stat").to_owned(),
            source: io::Error::from(io::ErrorKind::InvalidData),
        })
    }
}

fn parse(stat: &str, meminfo: &str, ticks: u64) -> Option<Machine> {
    let all = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    // user nice system idle iowait irq softirq
    let times = all.split_ascii_whitespace().take(7).map(|n| n.parse::<u64>().ok());
    let total = times.sum::<Option<u64>>()?;
    let is_cpu =
        |line: &&str| line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    let memory = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = memory.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(Machine {
        cpu_ns: total.saturating_mul(1_000_000_000 / ticks),
        cpus: stat.lines().filter(is_cpu).count() as u32,
        memory: Bytes(kib.saturating_mul(Bytes::KIB)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_proc() {
        let stat = "cpu  1 2 3 4 5 6 7 800 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\ncpu1 1 0\nintr 9\n";
        let machine = parse(stat, "MemTotal:  2048 kB\nMemFree: 1 kB\n", 100).unwrap();
        assert_eq!(machine, Machine { cpu_ns: 280_000_000, cpus: 2, memory: Bytes::mib(2) });
        assert_eq!(parse("cpu  x\n", "MemTotal: 1 kB\n", 100), None);
        assert!(Machine::now().unwrap().cpus > 0);
    }
}
