//! Runs each test in a process of its own and looks for what it left.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

pub(crate) type Test = (&'static str, fn());

/// Names this run's control groups and processes.
pub(crate) const MARK: &str = "casemate-launch-test";

/// Generous: a start takes milliseconds, on a busy machine a second.
const DEADLINE: Duration = Duration::from_secs(90);

/// Set for a process of a test that is not to be protected.
pub(crate) const UNPROTECTED: &str = "CASEMATE_TEST_UNPROTECTED";

const CHILD_FLAG: &str = "--in-child";

pub(crate) fn main(tests: &[Test]) -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    if !rustix::process::geteuid().is_root() {
        println!("skipped: containers are started by root");
        return ExitCode::SUCCESS;
    }
    if let [_, flag, name] = args.as_slice()
        && flag == CHILD_FLAG
    {
        if std::env::var_os(UNPROTECTED).is_none() {
            casemate_launch::protect_program(std::env::args_os()).expect("a read-only program");
        }
        let (_, test) = tests.iter().find(|(known, _)| known == name).expect("a known test");
        test();
        return ExitCode::SUCCESS;
    }
    let wanted: Vec<&String> = args.iter().skip(1).filter(|a| !a.starts_with('-')).collect();
    if args.iter().any(|a| a == "--list") {
        tests.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let mut failed = Vec::new();
    let mut run = 0;
    for (name, _) in tests {
        if !wanted.is_empty() && !wanted.iter().any(|w| name.contains(w.as_str())) {
            continue;
        }
        run += 1;
        match in_child(name) {
            Ok(()) => println!("test {name} ... ok"),
            Err(why) => {
                println!("test {name} ... FAILED: {why}");
                clean_up();
                failed.push(*name);
            }
        }
    }
    println!("\ntest result: {} passed; {} failed", run - failed.len(), failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn in_child(name: &str) -> Result<(), String> {
    let before = Leftovers::now();
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let mut child = Command::new(program).args([CHILD_FLAG, name]).spawn().map_err(|e| e.to_string())?;
    let pid = Pid::from_child(&child);
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(|e| e.to_string())?;
    let timeout = Timespec { tv_sec: DEADLINE.as_secs() as i64, tv_nsec: 0 };
    let in_time = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout)).map_err(|e| e.to_string())? > 0;
    if !in_time {
        let _ = pidfd_send_signal(&pidfd, Signal::KILL);
    }
    let status = child.wait().map_err(|e| e.to_string())?;
    let left = Leftovers::now().since(&before);
    match (in_time, status.success(), left.is_empty()) {
        (true, true, true) => Ok(()),
        (false, ..) => Err(format!("not done in {} s", DEADLINE.as_secs())),
        (_, false, _) => Err(format!("{status}; left: {left:?}")),
        (_, _, false) => Err(format!("left behind: {left:?}")),
    }
}

/// So that one failure does not make all that follow look like failures.
fn clean_up() {
    for hierarchy in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
        for group in fs::read_dir(hierarchy.path().join(MARK)).into_iter().flatten().flatten() {
            if group.path().is_dir() {
                let name = format!("{MARK}/{}", group.file_name().to_string_lossy());
                let _ = casemate_launch::destroy_leftovers(&name, Path::new("/nonexistent"));
            }
        }
    }
}

/// What a container could leave on the host.
struct Leftovers(BTreeSet<String>);

impl Leftovers {
    fn now() -> Self {
        let mut found = BTreeSet::new();
        for line in fs::read_to_string("/proc/self/mountinfo").unwrap_or_default().lines() {
            found.insert(format!("mount {line}"));
        }
        for hierarchy in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            for group in [hierarchy.path(), hierarchy.path().join(MARK)] {
                if group.ends_with(MARK) && group.exists() {
                    found.insert(format!("cgroup {}", group.display()));
                }
            }
        }
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let command = fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
            let zombie = fs::read_to_string(entry.path().join("stat")).unwrap_or_default().contains(") Z ");
            let ours = command.contains(MARK) || command.contains(CHILD_FLAG);
            let orphan = zombie && parent(&entry.path()) == std::process::id().to_string();
            if ours || orphan {
                found.insert(format!("process {} {command:?}", entry.file_name().to_string_lossy()));
            }
        }
        Self(found)
    }

    fn since(&self, before: &Self) -> Vec<String> {
        self.0.difference(&before.0).cloned().collect()
    }
}

fn parent(process: &Path) -> String {
    let status = fs::read_to_string(process.join("status")).unwrap_or_default();
    status.lines().find_map(|l| l.strip_prefix("PPid:")).unwrap_or_default().trim().to_owned()
}
