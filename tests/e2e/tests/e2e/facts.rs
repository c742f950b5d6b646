//! Facts 1 to 3: what the host shows of a utility VM, and what it does not.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use casemate_e2e::{Engine, Spawned, both_modes, host, hyperv_only};

const SHOWN: [&str; 3] = ["cmdline", "environ", "comm"];

/// Processes of the host, threads included, in which the text is to be seen.
fn processes_that_show(text: &str) -> Vec<u32> {
    let own = std::process::id();
    let shows = |pid: &u32| {
        let threads = host::names(Path::new(&format!("/proc/{pid}/task")));
        *pid != own
            && (host::shows(*pid, &SHOWN, text)
                || threads.iter().any(|thread| host::shows(*pid, &[&format!("task/{thread}/comm")], text)))
    };
    host::pids().into_iter().filter(shows).collect()
}

/// Starts a process with this text in its environment and its arguments. The
/// text gets in as input, so that no command line of the host has it.
fn start_marked(engine: &Engine, marker: &str) -> Spawned {
    let script = r#"read m; export MARKER=$m; sh -c "echo ready; sleep 100000; : $m""#;
    let mut exec = engine.spawn(&["exec", "-i", "marked", "sh", "-c", script]);
    exec.write(format!("{marker}\n").as_bytes());
    exec.stdout.wait_for("ready\n");
    exec
}

both_modes! {
    /// A standard container's processes are the host's; a VM's are nowhere.
    fn one_processes_are_on_their_own_kernel(engine: &Engine) {
        let marker = format!("marker-{:016x}", rand::random::<u64>());
        let container = engine.start("marked", &[]);
        let _marked = start_marked(engine, &marker);
        // It is there, inside.
        let inside = container.exec(&["sh", "-c", "grep -l marker-[0-9a-f] /proc/[0-9]*/environ 2>/dev/null | wc -l"]).word();
        assert!(inside.parse::<u32>().unwrap() >= 1, "{inside}");
        let found = processes_that_show(&marker);
        assert_eq!(found.is_empty(), engine.is_hyperv(), "{found:?}");

        let ask = |path: &str| (container.exec(&["cat", path]).word(), fs::read_to_string(path).unwrap().trim().to_owned());
        let (boot_inside, boot_here) = ask("/proc/sys/kernel/random/boot_id");
        let (release_inside, release_here) = ask("/proc/sys/kernel/osrelease");
        assert_eq!(boot_inside != boot_here, engine.is_hyperv());
        assert_eq!(release_inside != release_here, engine.is_hyperv());
        if engine.is_hyperv() {
            let vm = &container.inspect()["Casemate"]["Vm"];
            assert_eq!((&vm["BootId"], &vm["KernelRelease"]), (&boot_inside.into(), &release_inside.into()));
        }
    }
}

/// Mounts, loop devices and block devices of the host.
fn disks() -> [BTreeSet<String>; 3] {
    [host::mounts(), host::loops(), host::block_devices()]
}

hyperv_only! {
    /// Another program may mount something meanwhile; the engine would each time.
    fn two_no_disk_is_mounted_on_the_host(engine: &Engine) {
        engine.run(&["--rm", "busybox", "true"]).ok();
        let mut added = Vec::new();
        for _ in 0..3 {
            let before = disks();
            let container = engine.start("disks", &[]);
            container.exec(&["sh", "-c", "dd if=/dev/zero of=/file bs=1M count=4 2>/dev/null; sync"]).ok();
            let during = disks();
            engine.cli(&["rm", "-f", "disks"]).ok();
            if before == during {
                return;
            }
            added = before.iter().zip(&during).flat_map(|(before, during)| before.symmetric_difference(during).cloned()).collect();
        }
        panic!("the host's tables differ: {added:?}");
    }

    fn three_its_processes_are_named_and_listed(engine: &Engine) {
        let container = engine.start("shop-window", &[]);
        let table = engine.cli(&["top", "--host", "shop-window"]).ok().out();
        assert!(table.starts_with("PID"), "{table}");
        let (keeper, vm) = (container.host_pid("keeper"), container.host_pid("vm"));
        for (pid, begins) in [(keeper, "casemate-keeper shop-window "), (vm, "casemate-vm shop-window ")] {
            let process = host::process(pid).unwrap();
            assert!(process.cmdline.starts_with(begins), "{process:?}");
            assert!(table.contains(begins), "{table}");
        }
        // These two are all there is.
        let all: BTreeSet<u32> = engine.leaks().processes().iter().map(|process| process.pid).collect();
        assert_eq!(all, BTreeSet::from([keeper, vm]));
        assert_eq!(container.state()["Pid"], vm);
    }

    /// No user, no capability, no network, no file but what it was given.
    fn the_vm_process_is_behind_walls_of_its_own(engine: &Engine) {
        let container = engine.start("walled", &[]);
        let vm = container.host_pid("vm");
        let proc = PathBuf::from(format!("/proc/{vm}"));
        for thread in host::names(&proc.join("task")) {
            let status = |field: &str| host::status(&proc.join("task").join(&thread).join("status"), field).unwrap();
            for field in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
                assert_eq!(status(field), "0000000000000000", "{field} of thread {thread}");
            }
            assert_eq!((status("Seccomp"), status("NoNewPrivs"), status("Groups")), ("2".into(), "1".into(), "".into()));
            let uids: BTreeSet<u32> = format!("{} {}", status("Uid"), status("Gid")).split(' ').map(|id| id.parse().unwrap()).collect();
            let uid = container.inspect()["Casemate"]["Vm"]["Uid"].as_u64().unwrap() as u32;
            assert_eq!(uids, BTreeSet::from([uid]));
            assert!(uid > 100_000);
        }
        // A network with nothing in it.
        let text = fs::read_to_string(proc.join("net/dev")).unwrap();
        let links: Vec<&str> = text.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim()).collect();
        assert_eq!(links, ["lo"]);
        for namespace in ["net", "mnt", "ipc", "uts"] {
            let of = |process: &Path| fs::read_link(process.join("ns").join(namespace)).unwrap();
            assert_ne!(of(&proc), of(Path::new("/proc/self")), "{namespace}");
        }
        descriptors_are_those_given(engine, vm);
        root_is_minimal(&proc.join("root"));
    }

    /// Two VMs are two users: neither can touch the other.
    fn each_vm_process_has_a_user_of_its_own(engine: &Engine) {
        let (one, two) = (engine.start("one", &[]), engine.start("two", &[]));
        let uid = |container: &casemate_e2e::Container<'_>| container.inspect()["Casemate"]["Vm"]["Uid"].as_u64().unwrap();
        assert_ne!(uid(&one), uid(&two));
    }
}

fn descriptors_are_those_given(engine: &Engine, vm: u32) {
    let images = engine.root().join("images");
    for (number, path) in host::descriptors(vm) {
        let text = path.to_string_lossy();
        let anonymous = ["socket:", "pipe:", "anon_inode:", "/memfd:"].iter().any(|kind| text.starts_with(kind));
        let layer = path.starts_with(&images);
        // By its name, or without one where nothing is to be left of it.
        let scratch = path.starts_with(engine.root().join("containers"))
            && (text.ends_with("/scratch.ext4") || text.ends_with(" (deleted)"));
        let kvm = text == "/dev/kvm";
        // Its network card's other end: of the one link that was made for it.
        let tap = text == "/dev/net/tun";
        let null = text == "/dev/null" && number < 3;
        assert!(anonymous || layer || scratch || kvm || tap || null, "descriptor {number} is {text}");
        if layer {
            let flags = fs::read_to_string(format!("/proc/{vm}/fdinfo/{number}")).unwrap();
            let flags = flags.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim().to_owned();
            assert_eq!(u32::from_str_radix(&flags, 8).unwrap() & 3, 0, "layer {text} can be written");
        }
    }
}

fn root_is_minimal(root: &Path) {
    let allowed = ["kernel", "initrd", "usr", "lib", "lib64", "etc", "dev", "opt"];
    let names = host::names(root);
    assert!(names.iter().all(|name| allowed.contains(&name.as_str())), "{names:?}");
    assert!(host::names(&root.join("etc")).iter().all(|name| name == "ld.so.cache"));
    for path in ["bin/sh", "usr/bin/sh", "etc/passwd", "proc/self", "sys/kernel", "root", "home", "var", "tmp", "run"] {
        assert!(!root.join(path).exists(), "/{path} is in the VM process's root");
    }
    let programs = host::names(&root.join("usr/bin"));
    assert!(programs.iter().all(|name| name.starts_with("qemu-system")), "{programs:?}");
}
