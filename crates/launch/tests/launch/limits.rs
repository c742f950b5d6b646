//! Limits, accounts, and the list of processes.

use std::fs;

use casemate_launch::{Cgroup, CgroupVersion, cgroup_version};
use casemate_model::{Bytes, Classify, ErrorClass, Limits, NanoCpus};

use crate::harness::{MARK, Test};
use crate::image::{Running, Sandbox, collect, container, read_until};

pub(crate) const TESTS: &[Test] = &[
    ("limits::they_are_set", they_are_set),
    ("limits::memory_is_limited_and_the_kill_is_told", memory_is_limited_and_the_kill_is_told),
    ("limits::processes_are_limited", processes_are_limited),
    ("limits::what_runs_is_listed_and_counted", what_runs_is_listed_and_counted),
    ("limits::a_group_of_that_name_is_left_alone", a_group_of_that_name_is_left_alone),
    ("limits::impossible_limits_leave_nothing", impossible_limits_leave_nothing),
];

fn file(cgroup: &Cgroup, v1: &str, v2: &str) -> String {
    let name = if cgroup_version().unwrap() == CgroupVersion::V2 { v2 } else { v1 };
    let directories = cgroup.directories();
    let found = directories.iter().map(|d| d.join(name)).find(|path| path.exists());
    fs::read_to_string(found.expect(name)).unwrap().trim().to_owned()
}

fn they_are_set() {
    let limits =
        Limits { memory: Some(Bytes::mib(64)), cpus: Some(NanoCpus(1_500_000_000)), pids: Some(77), shm_size: None };
    let path = format!("{MARK}/{}", std::process::id());
    let cgroup = Cgroup::create(&path, &limits).unwrap();
    assert_eq!(file(&cgroup, "memory.limit_in_bytes", "memory.max"), (64 << 20).to_string());
    assert_eq!(file(&cgroup, "cpu.cfs_quota_us", "cpu.max").split(' ').next(), Some("150000"));
    assert_eq!(file(&cgroup, "pids.max", "pids.max"), "77");
    let stats = cgroup.stats().unwrap();
    assert_eq!((stats.memory_limit, stats.cpu_limit, stats.pids), (limits.memory, limits.cpus, 0));
    assert!(!cgroup.oom_killed());
    cgroup.destroy().unwrap();
    cgroup.destroy().unwrap();
    assert!(cgroup.directories().iter().all(|d| !d.exists()));
}

fn memory_is_limited_and_the_kill_is_told() {
    let sandbox = Sandbox::new();
    let hog = "x=x; while :; do x=$x$x; done";
    let mut c = container(&["sh", "-c", hog]);
    c.limits.memory = Some(Bytes::mib(16));
    let cage = sandbox.cage(c);
    let output = collect(cage.start().unwrap().finish().unwrap());
    assert_eq!(output.status.code(), 137, "{output:?}");
    assert!(cage.oom_killed());
    cage.destroy().unwrap();
}

fn processes_are_limited() {
    let sandbox = Sandbox::new();
    let mut c = container(&["sh", "-c", "for i in 1 2 3 4 5 6 7 8 9; do sleep 100 & done; wait"]);
    c.limits.pids = Some(5);
    let output = sandbox.run(c).unwrap();
    assert!(output.stderr.contains("Resource temporarily unavailable"), "{output:?}");
}

fn what_runs_is_listed_and_counted() {
    let sandbox = Sandbox::new();
    // Ready when its child is `sleep` and no longer the shell's copy.
    let script = "i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done; sleep 998 & \
        while read name < /proc/$!/comm && [ $name != sleep ]; do :; done; echo ready; wait";
    let mut c = container(&["sh", "-c", script]);
    c.init.user = "web".parse().unwrap();
    let running = Running::start(&sandbox, c);
    read_until(&running.stdout, "ready");
    let entries = running.cage.processes().unwrap();
    let [shell, sleep] = entries.as_slice() else { panic!("{entries:?}") };
    assert_eq!((shell.pid, shell.pid_inside, shell.uid), (running.init.pid(), 1, 33));
    assert_eq!((sleep.ppid, sleep.pid_inside, sleep.command.as_str()), (shell.pid, 2, "sleep 998"));
    assert_eq!(shell.ppid, std::process::id());
    assert_eq!(shell.name, "sh");
    assert!(shell.command.starts_with("sh -c i=0;"), "{}", shell.command);
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    assert!(now.abs_diff(shell.started) < 120, "{} at {now}", shell.started);
    let stats = running.cage.stats().unwrap();
    assert_eq!(stats.pids, 2);
    assert!(stats.cpu_ns > 1_000_000 && stats.memory_usage > Bytes(0), "{stats:?}");
    assert!(!running.cage.oom_killed());
    running.end();
}

fn a_group_of_that_name_is_left_alone() {
    let path = format!("{MARK}/{}", std::process::id());
    let first = Cgroup::create(&path, &Limits::default()).unwrap();
    let error = Cgroup::create(&path, &Limits::default()).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Conflict);
    assert!(first.directories().iter().all(|d| d.exists()));
    first.destroy().unwrap();
}

fn impossible_limits_leave_nothing() {
    let path = format!("{MARK}/{}", std::process::id());
    // Below a millisecond of each 100 ms, the kernel's least.
    let limits = Limits { cpus: Some(NanoCpus(1)), ..Limits::default() };
    let error = Cgroup::create(&path, &limits).unwrap_err();
    assert_eq!(error.class(), ErrorClass::InvalidArgument, "{error:?}");
}
