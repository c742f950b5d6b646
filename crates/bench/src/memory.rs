//! What idle containers cost the host's memory, by the kernel's own
//! reckoning: each page is divided among those that map it (PSS). What a
//! process shares with no one is its own; the rest is shared with the other
//! containers, the page cache's other readers, and the rest of the system.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use crate::casemate::Casemate;
use crate::error::{BenchError, file};
use crate::interrupt::Interrupt;
use crate::subject;

/// After the last start, for what is still being written, freed and settled.
const SETTLE: Duration = Duration::from_secs(3);

/// All in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Idle {
    pub(crate) isolation: &'static str,
    pub(crate) containers: u32,
    /// Pages of one process alone, by what the process is for.
    pub(crate) own: Vec<(String, u64)>,
    /// These containers' share of pages that others have too.
    pub(crate) shared: u64,
}

impl Idle {
    pub(crate) fn total(&self) -> u64 {
        self.own.iter().map(|(_, bytes)| bytes).sum::<u64>() + self.shared
    }
}

/// One and several of each mode, of one image.
pub(crate) fn of_idle_containers(
    casemate: &Casemate,
    several: u32,
    interrupt: &Interrupt,
) -> Result<Vec<Idle>, BenchError> {
    let mut figures = Vec::new();
    for isolation in ["hyperv", "process"] {
        let mut names = Vec::new();
        for number in 1..=several {
            interrupt.check()?;
            let name = format!("bench-{isolation}-{number}");
            casemate.start_idle(isolation, &name)?;
            names.push(name);
            if number == 1 || number == several {
                std::thread::sleep(SETTLE);
                figures.push(idle(casemate, isolation, &names)?);
            }
        }
        casemate.remove(&names)?;
    }
    Ok(figures)
}

fn idle(casemate: &Casemate, isolation: &'static str, names: &[String]) -> Result<Idle, BenchError> {
    let mut idle = Idle { isolation, containers: names.len() as u32, own: Vec::new(), shared: 0 };
    for name in names {
        let listed = subject::output(&mut casemate.command(&["top", "--host", "--format", "json", name]))?;
        for line in listed.lines() {
            let unexpected = || BenchError::Format { what: "what top prints", found: line.to_owned() };
            let process: Value = serde_json::from_str(line).map_err(|_| unexpected())?;
            let (pid, role) = (process["PID"].as_u64(), process["Role"].as_str());
            let (Some(pid), Some(role)) = (pid, role) else { return Err(unexpected()) };
            let path = format!("/proc/{pid}/smaps_rollup");
            let text = fs::read_to_string(&path).map_err(file("read", &path))?;
            let (pss, own) = shares(&text).ok_or(BenchError::Format { what: "smaps_rollup", found: text })?;
            match idle.own.iter_mut().find(|(known, _)| known == role) {
                Some((_, bytes)) => *bytes += own,
                None => idle.own.push((role.to_owned(), own)),
            }
            idle.shared += pss.saturating_sub(own);
        }
    }
    Ok(idle)
}

/// PSS, and of it what is the process's own.
fn shares(rollup: &str) -> Option<(u64, u64)> {
    let kib = |name: &str| {
        let line = rollup.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    };
    let own = kib("Private_Clean")? + kib("Private_Dirty")? + kib("Private_Hugetlb").unwrap_or(0);
    Some((kib("Pss")? * 1024, own * 1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_pages_are_those_of_one_process() {
        let rollup = "5600-7ffc ---p 00000000 00:00 0    [rollup]\nRss:     900 kB\nPss:     500 kB\nPss_Dirty: 1 kB\n\
                      Shared_Clean:  400 kB\nPrivate_Clean:  100 kB\nPrivate_Dirty:  200 kB\n";
        assert_eq!(shares(rollup), Some((500 * 1024, 300 * 1024)));
        assert_eq!(shares("Pss: 500 kB\n"), None);
        assert_eq!(shares(""), None);
    }

    #[test]
    fn this_process_can_be_read() {
        let text = fs::read_to_string("/proc/self/smaps_rollup").unwrap();
        let (pss, own) = shares(&text).unwrap();
        assert!(pss >= own && own > 0, "{pss} {own}");
    }
}
