//! Limits, accounts, standing still, and the list of processes.

use std::fs;

use casemate_launch::{Cgroup, CgroupVersion, DiskUse, cgroup_version, limit_support};
use casemate_model::{Bytes, Classify, CpuQuota, ErrorClass, LimitSupport, Limits, MemorySwap, NanoCpus, Signal};

use crate::harness::{MARK, Test};
use crate::image::{Running, Sandbox, collect, container, process, read_until};

pub(crate) const TESTS: &[Test] = &[
    ("limits::they_are_set", they_are_set),
    ("limits::they_are_changed_and_taken_back", they_are_changed_and_taken_back),
    ("limits::memory_grows_and_shrinks_with_its_swap", memory_grows_and_shrinks_with_its_swap),
    ("limits::a_refused_change_changes_nothing", a_refused_change_changes_nothing),
    ("limits::memory_is_limited_and_the_kill_is_told", memory_is_limited_and_the_kill_is_told),
    ("limits::processes_are_limited", processes_are_limited),
    ("limits::processors_are_limited", processors_are_limited),
    ("limits::what_runs_is_listed_and_counted", what_runs_is_listed_and_counted),
    ("limits::what_goes_to_the_disk_is_counted", what_goes_to_the_disk_is_counted),
    ("limits::a_frozen_container_stands_still", a_frozen_container_stands_still),
    ("limits::a_frozen_container_can_be_removed", a_frozen_container_can_be_removed),
    ("limits::a_group_of_that_name_is_left_alone", a_group_of_that_name_is_left_alone),
    ("limits::impossible_limits_leave_nothing", impossible_limits_leave_nothing),
];

/// `TMPFS_MAGIC` of linux/magic.h.
const TMPFS_MAGIC: i64 = 0x0102_1994;

fn path() -> String {
    format!("{MARK}/{}", std::process::id())
}

/// What a control file of either version says, where the kernel has it.
fn read(cgroup: &Cgroup, v1: &str, v2: &str) -> Option<String> {
    let name = if cgroup_version().unwrap() == CgroupVersion::V2 { v2 } else { v1 };
    let directories = cgroup.directories();
    let found = directories.iter().map(|d| d.join(name)).find(|path| path.exists())?;
    Some(fs::read_to_string(found).unwrap().trim().to_owned())
}

#[track_caller]
fn file(cgroup: &Cgroup, v1: &str, v2: &str) -> String {
    read(cgroup, v1, v2).unwrap_or_else(|| panic!("neither {v1} nor {v2}"))
}

fn everything(support: &LimitSupport) -> Limits {
    Limits {
        memory: Some(Bytes::mib(64)),
        memory_swap: Some(MemorySwap::Total(Bytes::mib(80))),
        memory_reservation: Some(Bytes::mib(32)),
        memory_swappiness: Some(7),
        oom_kill_disable: true,
        cpu_quota: Some(CpuQuota { quota_us: Some(30_000), period_us: 20_000 }),
        cpu_shares: Some(512),
        cpuset_cpus: Some(support.cpus.to_string().split([',', '-']).next().unwrap().parse().unwrap()),
        cpuset_mems: Some("0".parse().unwrap()),
        pids: Some(77),
        blkio_weight: Some(300),
    }
}

fn they_are_set() {
    let support = limit_support().unwrap();
    let limits = everything(&support);
    let cgroup = Cgroup::create(&path(), &limits).unwrap();
    assert_eq!(file(&cgroup, "memory.limit_in_bytes", "memory.max"), (64 << 20).to_string());
    let v2 = cgroup_version().unwrap() == CgroupVersion::V2;
    if support.memory_swap {
        let swap = if v2 { 16 } else { 80 } << 20;
        assert_eq!(file(&cgroup, "memory.memsw.limit_in_bytes", "memory.swap.max"), swap.to_string());
    }
    assert_eq!(file(&cgroup, "memory.soft_limit_in_bytes", "memory.low"), (32 << 20).to_string());
    if support.memory_swappiness {
        assert_eq!(file(&cgroup, "memory.swappiness", ""), "7");
    }
    if support.oom_kill_disable {
        assert!(file(&cgroup, "memory.oom_control", "").starts_with("oom_kill_disable 1\n"));
    }
    assert_eq!(file(&cgroup, "cpu.cfs_quota_us", "cpu.max").split(' ').next(), Some("30000"));
    assert_eq!(file(&cgroup, "cpu.cfs_period_us", "cpu.max").split(' ').next_back(), Some("20000"));
    assert_eq!(file(&cgroup, "cpu.shares", "cpu.weight"), if v2 { "59" } else { "512" });
    assert_eq!(file(&cgroup, "cpuset.cpus", "cpuset.cpus"), limits.cpuset_cpus.as_ref().unwrap().to_string());
    assert_eq!(file(&cgroup, "cpuset.mems", "cpuset.mems"), "0");
    assert_eq!(file(&cgroup, "pids.max", "pids.max"), "77");
    let weights = [("blkio.weight", "io.bfq.weight"), ("blkio.bfq.weight", "io.weight")];
    let weight = weights.iter().find_map(|(v1, v2)| read(&cgroup, v1, v2));
    assert_eq!(weight.is_some(), support.blkio_weight);
    assert!(weight.is_none_or(|weight| weight.contains("300") || weight.contains("2930")));

    let stats = cgroup.stats().unwrap();
    assert_eq!((stats.limits.memory, stats.limits.cpu_quota, stats.pids), (limits.memory, limits.cpu_quota, 0));
    assert!(!cgroup.oom_killed());
    cgroup.destroy().unwrap();
    cgroup.destroy().unwrap();
    assert!(cgroup.directories().iter().all(|d| !d.exists()));
}

fn they_are_changed_and_taken_back() {
    let support = limit_support().unwrap();
    let cgroup = Cgroup::create(&path(), &Limits::default()).unwrap();
    let files = [
        ("memory.limit_in_bytes", "memory.max"),
        ("memory.memsw.limit_in_bytes", "memory.swap.max"),
        ("memory.soft_limit_in_bytes", "memory.low"),
        ("memory.oom_control", ""),
        ("cpu.cfs_quota_us", "cpu.max"),
        ("cpu.cfs_period_us", "cpu.max"),
        ("cpu.shares", "cpu.weight"),
        ("cpuset.cpus", "cpuset.cpus"),
        ("cpuset.mems", "cpuset.mems"),
        ("pids.max", "pids.max"),
        ("blkio.bfq.weight", "io.weight"),
    ];
    let all = || files.map(|(v1, v2)| read(&cgroup, v1, v2).unwrap_or_default());
    let before = all();
    cgroup.update(&everything(&support)).unwrap();
    assert_eq!(file(&cgroup, "pids.max", "pids.max"), "77");
    assert_eq!(file(&cgroup, "memory.limit_in_bytes", "memory.max"), (64 << 20).to_string());
    cgroup.update(&Limits { pids: Some(5), ..everything(&support) }).unwrap();
    assert_eq!(file(&cgroup, "pids.max", "pids.max"), "5");
    assert_eq!(cgroup.stats().unwrap().limits.pids, Some(5));
    cgroup.update(&Limits::default()).unwrap();
    for ((name, before), after) in files.iter().zip(before).zip(all()) {
        // A controller that was not handed down before has its defaults now.
        assert!(before == after || before.is_empty(), "{name:?}: {before} became {after}");
    }
    assert_eq!(cgroup.stats().unwrap().limits, Limits::default());
    cgroup.destroy().unwrap();
}

fn memory_grows_and_shrinks_with_its_swap() {
    let cgroup = Cgroup::create(&path(), &Limits::default()).unwrap();
    for mib in [64, 512, 1024, 32, 33, 400, 16] {
        cgroup.update(&Limits { memory: Some(Bytes::mib(mib)), ..Limits::default() }).unwrap();
        assert_eq!(file(&cgroup, "memory.limit_in_bytes", "memory.max"), (mib << 20).to_string());
        let unlimited =
            Limits { memory: Some(Bytes::mib(mib)), memory_swap: Some(MemorySwap::Unlimited), ..Limits::default() };
        cgroup.update(&unlimited).unwrap();
    }
    cgroup.destroy().unwrap();
}

fn a_refused_change_changes_nothing() {
    let cgroup = Cgroup::create(&path(), &Limits { pids: Some(9), ..Limits::default() }).unwrap();
    // Memory is set first, then the processor's quota is refused.
    let impossible = Limits {
        memory: Some(Bytes::mib(64)),
        pids: Some(3),
        cpu_quota: Some(CpuQuota { quota_us: Some(1), period_us: 100_000 }),
        ..Limits::default()
    };
    let before = file(&cgroup, "memory.limit_in_bytes", "memory.max");
    assert_eq!(cgroup.update(&impossible).unwrap_err().class(), ErrorClass::InvalidArgument);
    assert_eq!(file(&cgroup, "memory.limit_in_bytes", "memory.max"), before);
    assert_eq!(file(&cgroup, "pids.max", "pids.max"), "9");
    assert_eq!(file(&cgroup, "cpu.cfs_quota_us", "cpu.max").replace("max 100000", "-1"), "-1");
    assert_eq!(cgroup.stats().unwrap().limits, Limits { pids: Some(9), ..Limits::default() });
    cgroup.destroy().unwrap();
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
    let (stats, _) = cage.stats().unwrap();
    assert!(stats.memory.failures > 0, "{stats:?}");
    assert!(stats.memory.max_usage.is_none_or(|most| most > Bytes::mib(8)), "{stats:?}");
    cage.destroy().unwrap();
}

fn processes_are_limited() {
    let sandbox = Sandbox::new();
    let mut c = container(&["sh", "-c", "for i in 1 2 3 4 5 6 7 8 9; do sleep 100 & done; wait"]);
    c.limits.pids = Some(5);
    let output = sandbox.run(c).unwrap();
    assert!(output.stderr.contains("Resource temporarily unavailable"), "{output:?}");
}

fn processors_are_limited() {
    let sandbox = Sandbox::new();
    let mut c = container(&["sh", "-c", "i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done"]);
    c.limits.cpu_quota = Some(CpuQuota::from(NanoCpus(100_000_000)));
    let cage = sandbox.cage(c);
    collect(cage.start().unwrap().finish().unwrap());
    let (stats, _) = cage.stats().unwrap();
    assert!(stats.cpu.throttled_periods > 0 && stats.cpu.throttled_ns > 0, "{:?}", stats.cpu);
    assert!(stats.cpu.periods >= stats.cpu.throttled_periods, "{:?}", stats.cpu);
    cage.destroy().unwrap();
}

fn what_runs_is_listed_and_counted() {
    let sandbox = Sandbox::new();
    // Ready when its child is `sleep` and no longer the shell's copy.
    let script = "i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done; sleep 998 & \
        while read name < /proc/$!/comm && [ $name != sleep ]; do :; done; echo ready; wait";
    let mut c = container(&["sh", "-c", script]);
    c.init.user = "web".parse().unwrap();
    c.limits.memory = Some(Bytes::mib(64));
    let running = Running::start(&sandbox, c);
    read_until(&running.stdout, "ready");
    let entries = running.cage.processes().unwrap();
    let [shell, sleep] = entries.as_slice() else { panic!("{entries:?}") };
    assert_eq!((shell.pid, shell.pid_inside, shell.uid), (running.init.pid(), 1, 33));
    assert_eq!((sleep.ppid, sleep.pid_inside, sleep.command.as_str()), (shell.pid, 2, "sleep 998"));
    assert_eq!(shell.ppid, std::process::id());
    assert_eq!(shell.name, "sh");
    assert!(shell.command.starts_with("sh -c i=0;"), "{}", shell.command);
    assert_eq!(sleep.state, 'S');
    assert!(sleep.resident_memory > Bytes(0) && sleep.virtual_memory >= sleep.resident_memory, "{sleep:?}");
    assert!(shell.cpu_percent <= 200, "{shell:?}");
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    assert!(now.abs_diff(shell.started) < 120, "{} at {now}", shell.started);
    let (stats, machine) = running.cage.stats().unwrap();
    assert_eq!(stats.pids, 2);
    let cpu = stats.cpu;
    assert!(cpu.total_ns > 1_000_000 && cpu.user_ns > 0 && machine.cpu_ns > cpu.total_ns, "{stats:?}");
    assert!(cpu.user_ns + cpu.system_ns <= cpu.total_ns + 10_000_000, "{stats:?}");
    let memory = &stats.memory;
    assert!(memory.usage > Bytes(0) && memory.usage < Bytes::mib(64), "{stats:?}");
    assert!(memory.without_cache() <= memory.usage && memory.detail.len() > 10, "{stats:?}");
    assert!(!running.cage.oom_killed());
    running.end();
}

/// Version 1 counts what a scheduler or a throttle has to do with, which on
/// most hosts is nothing.
fn what_goes_to_the_disk_is_counted() {
    let sandbox = Sandbox::new();
    let on_a_disk = rustix::fs::statfs(sandbox.dir.path()).unwrap().f_type != TMPFS_MAGIC;
    let running = Running::idle(&sandbox);
    let before = running.cage.stats().unwrap().0.disks;
    let write = "dd if=/dev/zero of=/big bs=65536 count=64 conv=fsync 2>&1";
    running.exec(&process(&["sh", "-c", write])).unwrap().ok();
    let after = running.cage.stats().unwrap().0.disks;
    if cgroup_version().unwrap() == CgroupVersion::V2 && on_a_disk {
        let sum = |disks: &[DiskUse]| {
            disks.iter().fold((0, 0), |(bytes, writes), d| (bytes + d.write_bytes, writes + d.writes))
        };
        let (bytes, writes) = sum(&after);
        let (bytes_before, writes_before) = sum(&before);
        assert!(bytes - bytes_before >= 64 * 65536 && writes > writes_before, "{before:?} {after:?}");
    }
    running.end();
}

fn a_frozen_container_stands_still() {
    let sandbox = Sandbox::new();
    let script = "trap 'echo term' TERM; echo ready; while :; do i=$((i+1)); done";
    let running = Running::start(&sandbox, container(&["sh", "-c", script]));
    read_until(&running.stdout, "ready");
    running.cage.freeze().unwrap();
    running.cage.freeze().unwrap();
    let used = || running.cage.stats().unwrap().0.cpu.total_ns;
    let before = used();
    running.init.signal(Signal::TERM).unwrap();
    // Time for several turns of what runs.
    std::thread::sleep(std::time::Duration::from_millis(50));
    // The signal finds it, and it goes back to standing still.
    assert!(used() - before < 10_000_000, "it used {} ns while it was frozen", used() - before);
    assert_eq!(running.cage.processes().unwrap().len(), 1);
    running.cage.thaw().unwrap();
    running.cage.thaw().unwrap();
    read_until(&running.stdout, "term");
    assert!(used() > before);
    running.end();
}

fn a_frozen_container_can_be_removed() {
    let sandbox = Sandbox::new();
    let running = Running::idle(&sandbox);
    running.cage.freeze().unwrap();
    running.end();
    // And without its own keeper's help.
    let running = Running::idle(&sandbox);
    running.cage.freeze().unwrap();
    casemate_launch::destroy_leftovers(&path(), &sandbox.place().dir).unwrap();
    assert!(running.cage.cgroup().directories().iter().all(|dir| !dir.exists()));
}

fn a_group_of_that_name_is_left_alone() {
    let first = Cgroup::create(&path(), &Limits::default()).unwrap();
    let error = Cgroup::create(&path(), &Limits::default()).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Conflict);
    assert!(first.directories().iter().all(|d| d.exists()));
    first.destroy().unwrap();
}

fn impossible_limits_leave_nothing() {
    // Below a millisecond of each 100 ms, the kernel's least.
    let limits = Limits { cpu_quota: Some(NanoCpus(1).into()), ..Limits::default() };
    let error = Cgroup::create(&path(), &limits).unwrap_err();
    assert_eq!(error.class(), ErrorClass::InvalidArgument, "{error:?}");
}
