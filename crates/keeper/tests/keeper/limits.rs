//! Limits that are set and changed, and accounts that are kept.

use std::rc::Rc;

use casemate_model::{Bytes, Container, CpuQuota, ErrorClass, Failure, Isolation, Limits, NanoCpus};

use crate::bed::{Bed, both_modes, process};

both_modes![they_hold_and_change, what_is_used_is_counted];

/// What the container's own control group says, whichever version it is of.
fn group_file(v1: &str, v2: &str) -> casemate_model::Process {
    process(&["sh", "-c", &format!("cat /sys/fs/cgroup/{v1} 2>/dev/null || cat /sys/fs/cgroup/{v2}")])
}

async fn they_hold_and_change(bed: Rc<Bed>) {
    let container = Container {
        limits: Limits {
            memory: Some(Bytes::mib(64)),
            cpu_quota: Some(CpuQuota::from(NanoCpus(500_000_000))),
            cpu_shares: Some(256),
            cpuset_cpus: Some("0".parse().unwrap()),
            pids: Some(50),
            blkio_weight: Some(200),
            ..Limits::default()
        },
        ..bed.container("echo ready; sleep 1000 & wait")
    };
    let running = bed.running(&container, "ready").await;
    let memory = group_file("memory/memory.limit_in_bytes", "memory.max");
    assert_eq!(running.exec(&memory).await.unwrap().1, format!("{}\n", 64 << 20));
    let quota = group_file("cpu/cpu.cfs_quota_us", "cpu.max");
    assert!(running.exec(&quota).await.unwrap().1.starts_with("50000"));
    let pids = group_file("pids/pids.max", "pids.max");
    assert_eq!(running.exec(&pids).await.unwrap().1, "50\n");

    if bed.isolation == Isolation::Hyperv {
        // As `LimitSupport::in_utility_vm` has it.
        let files = "cd /sys/fs/cgroup && cat memory.swap.max memory.low cpu.weight && ls cpuset.cpus 2>/dev/null";
        let files = running.exec(&process(&["sh", "-c", files])).await.unwrap().1;
        assert_eq!(files, format!("{}\n0\n100\n", 64 << 20), "the processor's shares are the host's to give");
    }

    let smaller = Limits { memory: Some(Bytes::mib(48)), pids: Some(20), ..container.limits.clone() };
    running.client.update(&smaller).await.unwrap();
    assert_eq!(running.exec(&memory).await.unwrap().1, format!("{}\n", 48 << 20));
    assert_eq!(running.exec(&pids).await.unwrap().1, "20\n");
    let stats = running.client.stats().await.unwrap();
    assert_eq!((stats.memory.limit, stats.pids.limit), (Bytes::mib(48), Some(20)));

    // More than the host has is a limit too; more than the VM has is none.
    let larger = Limits { memory: Some(Bytes::mib(4096)), ..smaller.clone() };
    let updated = running.client.update(&larger).await;
    match bed.isolation {
        Isolation::Process => updated.unwrap(),
        Isolation::Hyperv => {
            let failure = Failure::from(updated.unwrap_err());
            assert_eq!(failure.class, ErrorClass::InvalidArgument);
            assert!(failure.message.contains("utility VM was made with room for"), "{failure}");
            assert_eq!(running.exec(&memory).await.unwrap().1, format!("{}\n", 48 << 20));
        }
    }
    // A value that the kernel refuses leaves what was.
    let impossible = Limits { cpu_quota: Some(CpuQuota { quota_us: Some(10), period_us: 100_000 }), ..smaller };
    let failure = Failure::from(running.client.update(&impossible).await.unwrap_err());
    assert_eq!(failure.class, ErrorClass::InvalidArgument, "{failure}");
    assert!(running.exec(&quota).await.unwrap().1.starts_with("50000"));
    running.end().await;
}

async fn what_is_used_is_counted(bed: Rc<Bed>) {
    let script = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; \
        dd if=/dev/zero of=/big bs=65536 count=64 conv=fsync 2>/dev/null; sleep 998 & echo ready; wait";
    let running = bed.running(&bed.container(script), "ready").await;
    let stats = running.client.stats().await.unwrap();
    let cpu = stats.cpu;
    assert!(cpu.total_ns > 1_000_000 && cpu.user_ns > 0 && cpu.machine_ns > cpu.total_ns, "{cpu:?}");
    assert!(cpu.online_cpus >= 1);
    let memory = &stats.memory;
    assert!(memory.usage > Bytes(0) && memory.usage < memory.limit, "{memory:?}");
    assert!(memory.detail.iter().any(|(name, _)| name == "inactive_file"), "{memory:?}");
    assert!(memory.max_usage.is_none_or(|most| most >= memory.usage), "{memory:?}");
    assert_eq!((stats.pids.current, stats.pids.limit), (2, None));
    match (bed.isolation, stats.vm) {
        (Isolation::Process, None) => {}
        (Isolation::Hyperv, Some(cost)) => {
            // The guest's disk is the container's alone.
            let written: u64 = stats.blkio.iter().map(|disk| disk.write_bytes).sum();
            assert!(written >= 64 * 65536, "{:?}", stats.blkio);
            assert!(stats.blkio.iter().map(|disk| disk.writes).sum::<u64>() > 0);
            // What the guest uses the host has to give, and more. (Not so of
            // time: a guest takes what its processor waited for another's for
            // its own.)
            assert!(cost.cpu_ns > 100_000_000, "{cost:?} {cpu:?}");
            assert!(cost.memory > memory.usage && cost.memory < Bytes(2 * Bytes::GIB), "{cost:?}");
            assert!(memory.limit < Bytes(2 * Bytes::GIB), "the guest's own memory is the limit: {memory:?}");
        }
        (isolation, cost) => panic!("{isolation}: {cost:?}"),
    }

    let (started, output, _) = running.exec(&process(&["sh", "-c", "echo $$"])).await.unwrap();
    match bed.isolation {
        // As the host numbers it, the second is what the container sees.
        Isolation::Process => assert_ne!(started.pid.to_string(), output.trim()),
        Isolation::Hyperv => assert!(started.pid > 1),
    }
    let processes = running.client.processes().await.unwrap();
    let [shell, sleep] = processes.as_slice() else { panic!("{processes:?}") };
    assert_eq!((sleep.command.as_str(), sleep.parent, sleep.uid), ("sleep 998", shell.pid, 0));
    assert!(sleep.state.is_ascii_uppercase() && sleep.resident_memory > Bytes(0), "{sleep:?}");
    assert_eq!(sleep.tty, None);
    running.end().await;
}
