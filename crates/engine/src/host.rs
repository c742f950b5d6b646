//! What the host shows of a container: its processes and what they cost.

use std::fs;
use std::path::Path;

use crate::container::Container;

/// What a host process is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostRole {
    Keeper,
    /// QEMU.
    Vm,
    /// The container's own, under process isolation.
    Container,
}

impl HostRole {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Keeper => "keeper",
            Self::Vm => "vm",
            Self::Container => "container",
        }
    }
}

#[derive(Clone, Debug)]
pub struct HostProcess {
    pub pid: u32,
    pub uid: u32,
    pub role: HostRole,
    /// Processor time used so far.
    pub cpu_ms: u64,
    /// Resident bytes, shared pages counted in full.
    pub rss: u64,
    /// Proportional share: shared pages divided among those that share them.
    pub pss: u64,
    pub command: String,
}

impl Container {
    /// Whether its keeper's process lives, also where the run directory does not.
    pub(crate) fn has_keeper_process(&self) -> bool {
        let keeper = self.state.keeper_pid.and_then(|pid| read(pid, HostRole::Keeper));
        keeper.is_some_and(|process| {
            process.command.starts_with("casemate-keeper ") && process.command.contains(self.id.short())
        })
    }

    /// The host's processes for this container, from the kernel's tables. A
    /// process that ends meanwhile is left out.
    pub fn host_processes(&self) -> Vec<HostProcess> {
        let mut processes = Vec::new();
        if let Some(pid) = self.state.keeper_pid {
            processes.extend(read(pid, HostRole::Keeper));
        }
        let role = if self.state.vm.is_some() { HostRole::Vm } else { HostRole::Container };
        // A container that does not run has no control group.
        for pid in casemate_launch::pids_in(&self.paths.cgroup()).unwrap_or_default() {
            processes.extend(read(pid, role));
        }
        processes
    }
}

fn read(pid: u32, role: HostRole) -> Option<HostProcess> {
    let proc = Path::new("/proc").join(pid.to_string());
    let status = fs::read_to_string(proc.join("status")).ok()?;
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name))?;
        line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()
    };
    let stat = fs::read_to_string(proc.join("stat")).ok()?;
    // The name in parentheses may hold anything; fields count from behind it.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<u64>().ok();
    let ticks_per_second = rustix::param::clock_ticks_per_second();
    let rollup = fs::read_to_string(proc.join("smaps_rollup")).unwrap_or_default();
    let pss = rollup.lines().find(|line| line.starts_with("Pss:"));
    let pss = pss.and_then(|line| line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()).unwrap_or(0);
    let cmdline = fs::read(proc.join("cmdline")).ok()?;
    let words = cmdline.split(|b| *b == 0).filter(|word| !word.is_empty());
    let command: Vec<String> = words.map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    Some(HostProcess {
        pid,
        uid: u32::try_from(field("Uid:")?).ok()?,
        role,
        cpu_ms: (ticks(11)? + ticks(12)?) * 1000 / ticks_per_second,
        rss: field("VmRSS:").unwrap_or(0) * 1024,
        pss: pss * 1024,
        command: command.join(" "),
    })
}
