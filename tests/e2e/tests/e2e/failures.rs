//! Utility VMs that cannot start, do not come up, break, or run out of
//! something: each is told with its reason, and nothing is left of it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use casemate_e2e::process::{ended_within, pid};
use casemate_e2e::{Engine, PATIENCE, Spawned, eventually, host, hyperv_only};
use rustix::process::{Signal, kill_process};
use serde_json::json;

/// A directory like the staged `lib/casemate`, without some of its files.
fn lib_without(engine: &Engine, names: &[&str]) -> PathBuf {
    let dir = engine.scratch().join("lib");
    fs::create_dir_all(&dir).unwrap();
    for name in ["vmlinux", "initrd.img", "docker-init", "busybox.tar"].into_iter().filter(|name| !names.contains(name))
    {
        symlink(engine.prefix.lib.join(name), dir.join(name)).unwrap();
    }
    dir
}

/// A `lib/casemate` whose guest's init is the test's own.
fn lib_with_init(engine: &Engine, way: &str) -> PathBuf {
    let dir = lib_without(engine, &["initrd.img"]);
    let init = engine.scratch().join("init");
    let built = Command::new("rustc")
        .args(["--edition", "2024", "--cfg", way, "-C", "panic=abort", "-C", "target-feature=+crt-static", "-o"])
        .arg(&init)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("guest/init.rs"))
        .output()
        .expect("rustc");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let out = dir.join("initrd.img");
    let docker_init = dir.join("docker-init");
    let paths = [&init, &docker_init, &out].map(|path| path.to_str().unwrap());
    engine.cli(&["initramfs", paths[0], paths[1], paths[2]]).ok();
    dir
}

/// The VM process of the container of this name, as soon as there is one.
fn vm_process(name: &str) -> u32 {
    let begins = format!("casemate-vm {name} ");
    eventually("a VM process", PATIENCE, || {
        let found = host::processes().into_iter().find(|process| process.cmdline.starts_with(&begins));
        found.map(|process| process.pid).ok_or("there is none")
    })
}

fn stop_process(number: u32) {
    kill_process(pid(number), Signal::STOP).unwrap();
}

/// Nothing is left, and the next one works.
fn works_again(engine: &Engine) {
    engine.remove_all();
    engine.configure(&[]);
    engine.leaks().check();
    engine.run(&["--rm", "busybox", "echo", "works"]).ok().prints("works\n");
}

hyperv_only! {
    fn the_kernel_is_missing(engine: &Engine) {
        let lib = lib_without(engine, &["vmlinux"]);
        engine.configure(&["--lib", lib.to_str().unwrap()]);
        let finished = engine.run(&["--rm", "busybox", "true"]).exits(125).complains("vmlinux is missing");
        finished.complains("run 'make'");
        let doctor = Spawned::start(engine.program(&["--lib", lib.to_str().unwrap(), "doctor"])).wait().exits(1);
        assert!(doctor.out().contains("guest kernel") && doctor.out().contains("missing"), "{doctor:?}");
        works_again(engine);
    }

    fn the_agent_is_missing(engine: &Engine) {
        let lib = lib_without(engine, &["initrd.img"]);
        engine.configure(&["--lib", lib.to_str().unwrap()]);
        engine.run(&["--rm", "busybox", "true"]).exits(125).complains("initrd.img is missing");
        works_again(engine);
    }

    fn qemu_is_missing(engine: &Engine) {
        engine.configure(&["--qemu", "/nonexistent/qemu"]);
        engine.run(&["--rm", "busybox", "true"]).exits(125).complains("/nonexistent/qemu");
        engine.run(&["--name", "kept", "busybox", "true"]).exits(125);
        let state = engine.container("kept").state();
        assert!(state["Error"].as_str().unwrap().contains("/nonexistent/qemu"), "{state}");
        works_again(engine);
    }

    /// A program that is no QEMU says so in its own words.
    fn qemu_ends_at_once(engine: &Engine) {
        engine.configure(&["--qemu", "/bin/false"]);
        engine.run(&["--rm", "busybox", "true"]).exits(125).complains("the VM process exited with code 1");
        works_again(engine);
    }

    fn the_accelerator_is_unknown(engine: &Engine) {
        let args = ["--accelerator", "steam", "run", "--rm", "busybox", "true"];
        let refused = Spawned::start(engine.program(&args)).wait().exits(125);
        refused.complains("the daemon did not start").complains("steam");
        works_again(engine);
    }

    fn the_guest_hangs_before_it_is_up(engine: &Engine) {
        let lib = lib_with_init(engine, "hangs");
        engine.configure(&["--lib", lib.to_str().unwrap(), "--boot-timeout", "4"]);
        let finished = engine.run(&["--rm", "busybox", "true"]).exits(125);
        let finished = finished.complains("the utility VM did not come up within 4000 ms");
        finished.complains("the console's last lines").complains("test guest: hangs from here on");
        works_again(engine);
    }

    fn the_vm_process_stands_still_before_the_guest_is_up(engine: &Engine) {
        engine.configure(&["--boot-timeout", "2"]);
        let running = engine.spawn_run(&["--rm", "--name", "frozen", "busybox", "true"]);
        stop_process(vm_process("frozen"));
        running.wait().exits(125).complains("did not come up within 2000 ms");
        works_again(engine);
    }

    fn the_guests_kernel_panics_without_an_init(engine: &Engine) {
        let lib = lib_without(engine, &["initrd.img"]);
        fs::write(lib.join("initrd.img"), b"this is no initramfs").unwrap();
        engine.configure(&["--lib", lib.to_str().unwrap()]);
        let finished = engine.run(&["--rm", "busybox", "true"]).exits(125).complains("the guest's kernel panicked: Kernel panic");
        finished.complains("the console's last lines");
        works_again(engine);
    }

    fn the_guests_init_ends(engine: &Engine) {
        let lib = lib_with_init(engine, "ends");
        engine.configure(&["--lib", lib.to_str().unwrap()]);
        let finished = engine.run(&["--rm", "busybox", "true"]).exits(125).complains("Attempted to kill init");
        finished.complains("test guest: up");
        works_again(engine);
    }

    /// A guest is hostile: what it sends is not trusted.
    fn the_guest_talks_nonsense(engine: &Engine) {
        let lib = lib_with_init(engine, "talks_nonsense");
        engine.configure(&["--lib", lib.to_str().unwrap(), "--boot-timeout", "20"]);
        let finished = engine.run(&["--rm", "busybox", "true"]).exits(125);
        assert!(!finished.err().contains("did not come up within"), "{finished:?}");
        works_again(engine);
    }

    /// Its init has ended, it says, and its outputs have not.
    fn the_guest_keeps_its_outputs_open(engine: &Engine) {
        let lib = lib_with_init(engine, "keeps_outputs");
        engine.configure(&["--lib", lib.to_str().unwrap()]);
        // A guest of few words: nobody asks it for a resolver.
        engine.run(&["--rm", "--network", "none", "busybox", "true"]).exits(7).prints("said\n");
        // This one is asked to shut down, and does not answer.
        engine.run(&["--name", "kept", "--network", "none", "busybox", "true"]).exits(7).prints("said\n");
        engine.cli(&["logs", "kept"]).ok().prints("said\n");
        works_again(engine);
    }

    /// A window of single bytes takes no more than a window.
    fn the_guest_sends_single_bytes(engine: &Engine) {
        let lib = lib_with_init(engine, "crumbles");
        engine.configure(&["--lib", lib.to_str().unwrap()]);
        let options = ["--name", "crumbs", "--network", "none", "busybox", "true"];
        let run = Spawned::start_unread(engine.command(&engine.run_args(&options)));
        run.until_stuck();
        let keeper = engine.container("crumbs").host_pid("keeper");
        // Time to fill all windows on the way.
        std::thread::sleep(Duration::from_secs(3));
        let resident = host::process(keeper).and_then(|process| process.status("VmRSS")).unwrap();
        let kib: u64 = resident.trim_end_matches(" kB").parse().unwrap();
        assert!(kib < 12 << 10, "the keeper has {kib} KiB");
        drop(run);
        works_again(engine);
    }

    fn the_vm_process_is_killed(engine: &Engine) {
        let running = engine.spawn_run(&["--name", "shot", "busybox", "sh", "-c", "echo ready; sleep 100000"]);
        running.stdout.wait_for("ready\n");
        let vm = engine.container("shot").host_pid("vm");
        let exec = engine.spawn(&["exec", "shot", "sh", "-c", "echo ready; sleep 100000"]);
        exec.stdout.wait_for("ready\n");
        kill_process(pid(vm), Signal::KILL).unwrap();
        running.wait().exits(137).complains("the container ended: the VM process").complains("signal 9");
        let exec = exec.wait();
        assert_ne!(exec.code, 0, "{exec:?}");
        let state = engine.container("shot").state();
        assert_eq!((&state["Status"], &state["ExitCode"], &state["OOMKilled"]), (&json!("exited"), &json!(137), &json!(false)));
        assert!(state["Error"].as_str().unwrap().contains("signal 9"), "{state}");
        works_again(engine);
    }

    /// The VM stands still; its agent does not answer.
    fn the_agent_does_not_answer(engine: &Engine) {
        engine.configure(&["--health-deadline", "2"]);
        let running = engine.spawn_run(&["--name", "stuck", "busybox", "sh", "-c", "echo ready; sleep 100000"]);
        running.stdout.wait_for("ready\n");
        let vm = engine.container("stuck").host_pid("vm");
        stop_process(vm);
        running.wait().exits(137).complains("the guest's agent did not answer for 2000 ms");
        assert!(ended_within(vm, PATIENCE));
        let state = engine.container("stuck").state();
        assert_eq!(state["Error"], "the guest's agent did not answer for 2000 ms");
        works_again(engine);
    }

    /// A container can be removed even if its VM does not help.
    fn a_vm_that_stands_still_can_be_removed(engine: &Engine) {
        let container = engine.start("stuck", &[]);
        let vm = container.host_pid("vm");
        stop_process(vm);
        engine.cli(&["rm", "-f", "stuck"]).ok();
        assert!(ended_within(vm, PATIENCE));
        works_again(engine);
    }

    fn the_scratch_disk_is_full(engine: &Engine) {
        engine.configure(&["--scratch-size", "64m"]);
        let container = engine.start("full", &[]);
        let dd = container.exec(&["dd", "if=/dev/zero", "of=/big", "bs=1M", "count=200"]);
        dd.exits(1).complains("No space left on device");
        // The container goes on, and has its room back when it frees some.
        container.exec(&["sh", "-c", "rm /big; sync; echo fits > /small; cat /small"]).ok().prints("fits\n");
        let id = container.inspect()["Id"].as_str().unwrap().to_owned();
        let disk = engine.root().join("containers").join(id).join("scratch.ext4");
        assert_eq!(fs::metadata(disk).unwrap().len(), 64 << 20);
        works_again(engine);
    }
}
