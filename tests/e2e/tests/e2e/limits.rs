//! `-m` and `--cpus`: the limit is there, and what it allows can be used.

use casemate_e2e::{both_modes, hyperv_only};
use serde_json::json;

/// The container's own control group, in either version.
const MEMORY_LIMIT: &str =
    "cat /sys/fs/cgroup/memory.max 2>/dev/null || cat /sys/fs/cgroup/memory/memory.limit_in_bytes";
const CPU_LIMIT: &str = "cat /sys/fs/cgroup/cpu.max 2>/dev/null || \
    echo $(cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us) $(cat /sys/fs/cgroup/cpu/cpu.cfs_period_us)";

/// For dd: a buffer beyond a limit of 64 MiB, and not beyond all that the VM for
/// it has, which its kernel would refuse at once.
const TOO_MUCH: &str = "bs=100M";

/// A program for awk that takes more and more, a quarter of a MiB at a time.
const HOG: &str = r#"BEGIN { for (i = 0; ; i++) a[i] = sprintf("%262144s", i) }"#;

const MIB: u64 = 1 << 20;

both_modes! {
    fn memory_can_be_used_up_to_its_limit(engine: &Engine) {
        for limit in [64, 300] {
            let option = format!("{limit}m");
            engine.script(&["-m", &option], MEMORY_LIMIT).ok().prints(&format!("{}\n", limit * MIB));
            // dd fills a buffer of this size, all at once.
            let most = format!("bs={}", limit * MIB * 9 / 10);
            engine.run(&["--rm", "-m", &option, "busybox", "dd", "if=/dev/zero", "of=/dev/null", &most, "count=1"]).ok();
        }
    }

    /// Docker's word for no limit.
    fn nought_is_no_limit(engine: &Engine) {
        let container = engine.start("free", &["-m", "0", "--cpus", "0"]);
        let host = &container.inspect()["HostConfig"];
        assert_eq!((&host["Memory"], &host["NanoCpus"]), (&json!(0), &json!(0)));
        let quota = container.exec(&["sh", "-c", CPU_LIMIT]).word();
        assert!(quota.starts_with("max ") || quota.starts_with("-1 "), "{quota}");
        let memory = container.exec(&["sh", "-c", MEMORY_LIMIT]).word();
        assert!(memory.parse::<u64>().is_ok_and(|bytes| bytes > 1 << 60) || memory == "max", "{memory}");
    }

    fn beyond_it_the_container_is_killed_and_says_so(engine: &Engine) {
        let args = ["--name", "fat", "-m", "64m", "busybox", "dd", "if=/dev/zero", "of=/dev/null", TOO_MUCH, "count=1"];
        engine.run(&args).exits(137);
        let state = engine.container("fat").state();
        assert_eq!((&state["OOMKilled"], &state["ExitCode"]), (&json!(true), &json!(137)), "{state}");
    }

    /// The container's first process lives on.
    fn a_child_can_be_killed_alone(engine: &Engine) {
        let script = format!("dd if=/dev/zero of=/dev/null {TOO_MUCH} count=1; echo child: $?");
        engine.script(&["-m", "64m"], &script).ok().prints("child: 137\n");
    }

    fn processors_are_limited(engine: &Engine) {
        let quota = engine.script(&["--cpus", "0.5"], CPU_LIMIT).ok().word();
        let (quota, period) = quota.split_once(' ').unwrap();
        assert_eq!(quota.parse::<u64>().unwrap() * 2, period.parse::<u64>().unwrap());
        let many = engine.run(&["--rm", "--cpus", "10000", "busybox", "true"]).exits(125);
        many.complains("range of CPUs is from 0.01 to");
    }

    /// A process that would keep a processor busy is held back.
    fn a_limit_on_processors_is_felt(engine: &Engine) {
        let script = "timeout 2 sh -c 'while :; do :; done'; cat /sys/fs/cgroup/cpu.stat 2>/dev/null || cat /sys/fs/cgroup/cpu/cpu.stat";
        let text = engine.script(&["--cpus", "0.25"], script).ok().out();
        let throttled = text.lines().find_map(|line| line.strip_prefix("nr_throttled ")).unwrap();
        assert!(throttled.parse::<u64>().unwrap() >= 5, "{text}");
    }
}

hyperv_only! {
    /// The VM has as many processors as the container may keep busy.
    fn it_has_the_processors_that_were_asked_for(engine: &Engine) {
        let here = std::thread::available_parallelism().unwrap().get();
        engine.run(&["--rm", "--cpus", "0.5", "busybox", "nproc"]).ok().prints("1\n");
        let asked = if here > 1 { "1.5" } else { "1" };
        engine.run(&["--rm", "--cpus", asked, "busybox", "nproc"]).ok().prints(if here > 1 { "2\n" } else { "1\n" });
    }

    /// Without -m the VM's own memory is the end.
    fn memory_runs_out_without_a_limit(engine: &Engine) {
        engine.run(&["--name", "fat", "busybox", "awk", HOG]).exits(137);
        let state = engine.container("fat").state();
        assert_eq!((&state["OOMKilled"], &state["ExitCode"]), (&json!(true), &json!(137)), "{state}");
    }
}
