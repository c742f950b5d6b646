//! Images that try to get more than a container's due.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use casemate_model::chain;

use crate::harness::Test;
use crate::image::{Running, Sandbox, container, process};

pub(crate) const TESTS: &[Test] = &[
    ("hostile::etc_elsewhere", etc_elsewhere),
    ("hostile::etc_files_of_every_kind", etc_files_of_every_kind),
    ("hostile::kernel_filesystems_are_not_led_astray", kernel_filesystems_are_not_led_astray),
    ("hostile::account_files_of_every_kind", account_files_of_every_kind),
    ("hostile::working_directories_stay_inside", working_directories_stay_inside),
    ("hostile::layers_cannot_redirect", layers_cannot_redirect),
    ("hostile::the_host_cannot_be_seen_or_changed", the_host_cannot_be_seen_or_changed),
    ("hostile::an_exec_cannot_be_looked_into", an_exec_cannot_be_looked_into),
];

fn replace_etc(layer: &Path, target: &str) {
    fs::create_dir_all(layer.join("real")).unwrap();
    for name in ["passwd", "group"] {
        fs::rename(layer.join("etc").join(name), layer.join("real").join(name)).unwrap();
    }
    fs::remove_dir(layer.join("etc")).unwrap();
    symlink(target, layer.join("etc")).unwrap();
}

fn etc_elsewhere() {
    // Absolute, upwards out of the root, and to nowhere.
    let outside = tempfile::tempdir().unwrap();
    let up = format!("../../../../../../../../..{}", outside.path().display());
    for target in ["/real", "real/../real", up.as_str(), "/no/such/dir"] {
        let sandbox = Sandbox::new();
        replace_etc(&sandbox.layer(), target);
        let output = sandbox.sh("cat /etc/hosts /etc/hostname; readlink /etc");
        assert_eq!(output.ok(), format!("127.0.0.1\tlocalhost\nbox\n{target}\n"));
    }
    assert!(fs::read_dir(outside.path()).unwrap().next().is_none(), "the host's directory is untouched");
}

fn etc_files_of_every_kind() {
    let make = |prepare: &dyn Fn(&Path)| {
        let sandbox = Sandbox::new();
        prepare(&sandbox.layer().join("etc/hosts"));
        sandbox.run(container(&["cat", "/etc/hosts"]))
    };
    let hosts = "127.0.0.1\tlocalhost\n";
    assert_eq!(make(&|p| symlink("../run/made/on/the/way", p).unwrap()).unwrap().ok(), hosts);
    assert_eq!(make(&|p| fs::write(p, "the image's").unwrap()).unwrap().ok(), hosts);
    let fifo = |p: &Path| assert!(Command::new("mkfifo").arg(p).status().unwrap().success());
    assert_eq!(make(&fifo).unwrap().ok(), hosts);
    let error = make(&|p| fs::create_dir(p).unwrap()).unwrap_err();
    assert_eq!(chain(&error), "cannot make file /etc/hosts: is a directory");
    let error = make(&|p| symlink("hosts", p).unwrap()).unwrap_err();
    assert!(chain(&error).starts_with("cannot make file /etc/hosts: too many"), "{error}");
    // A magic link leads nowhere.
    let error = make(&|p| symlink("/proc/self/fd/0", p).unwrap()).unwrap_err();
    assert!(chain(&error).starts_with("cannot make file /etc/hosts"), "{error}");
}

fn kernel_filesystems_are_not_led_astray() {
    for name in ["proc", "dev", "sys"] {
        let sandbox = Sandbox::new();
        let path = sandbox.layer().join(name);
        fs::remove_dir(&path).unwrap();
        symlink("tmp", &path).unwrap();
        let error = sandbox.run(container(&["true"])).unwrap_err();
        assert!(chain(&error).starts_with(&format!("cannot mount /{name}: ")), "{error}");
        fs::remove_file(&path).unwrap();
        fs::write(&path, "a file").unwrap();
        let error = sandbox.run(container(&["true"])).unwrap_err();
        assert!(chain(&error).starts_with(&format!("cannot mount /{name}: ")), "{error}");
        // A later layer without it: made.
        fs::remove_file(&path).unwrap();
        assert_eq!(
            sandbox.sh("test -e /proc/self && test -c /dev/null && test -d /sys/class && echo all").ok(),
            "all\n"
        );
    }
}

fn account_files_of_every_kind() {
    for name in ["passwd", "group"] {
        let make = |prepare: &dyn Fn(&Path)| {
            let sandbox = Sandbox::new();
            let path = sandbox.layer().join("etc").join(name);
            fs::remove_file(&path).unwrap();
            prepare(&path);
            let started = Instant::now();
            let result = sandbox.run(container(&["id", "-u"]));
            assert!(started.elapsed() < Duration::from_secs(20), "it waited for {name}");
            result
        };
        let refused = |prepare: &dyn Fn(&Path)| {
            let error = make(prepare).unwrap_err();
            assert!(chain(&error).starts_with(&format!("cannot read /etc/{name}: ")), "{error}");
        };
        refused(&|p| assert!(Command::new("mkfifo").arg(p).status().unwrap().success()));
        refused(&|p| assert!(Command::new("mknod").arg(p).args(["c", "1", "5"]).status().unwrap().success()));
        refused(&|p| fs::create_dir(p).unwrap());
        refused(&|p| fs::write(p, vec![b'\n'; (16 << 20) + 1]).unwrap());
        refused(&|p| symlink("/proc/1/root/etc/shadow", p).unwrap());
        refused(&|p| symlink(name, p).unwrap());
        assert_eq!(make(&|_| ()).unwrap().ok(), "0\n", "without {name}");
        assert_eq!(make(&|p| fs::write(p, b"\xff\xfe:::::\n\0\n:0:0").unwrap()).unwrap().ok(), "0\n");
    }
}

fn working_directories_stay_inside() {
    let sandbox = Sandbox::new();
    symlink("../../../../../../../../tmp", sandbox.layer().join("up")).unwrap();
    let mut c = container(&["sh", "-c", "pwd; ls /proc/1/cwd/.. | grep -c '^casemate'"]);
    c.init.cwd = "/up/made".to_owned();
    let output = sandbox.run(c).unwrap();
    assert_eq!(output.stdout, "/tmp/made\n0\n");
}

fn layers_cannot_redirect() {
    let mut sandbox = Sandbox::new();
    let evil = sandbox.dir.path().join("evil");
    fs::create_dir_all(evil.join("home")).unwrap();
    let set =
        rustix::fs::setxattr(evil.join("home"), "trusted.overlay.redirect", b"/root", rustix::fs::XattrFlags::empty());
    set.unwrap();
    fs::write(sandbox.layer().join("root/secret"), "s").unwrap();
    sandbox.lowers.insert(0, evil);
    let output = sandbox.sh("cat /home/secret; ls /root");
    assert_eq!(output.stdout, "secret\n", "{}", output.stderr);
}

fn the_host_cannot_be_seen_or_changed() {
    let sandbox = Sandbox::new();
    let attempts = [
        "mount -t proc proc /tmp",
        "mount -o remount,rw /sys",
        "umount /proc/kcore",
        "mount --bind /tmp /proc",
        "echo 1 > /proc/sys/kernel/panic",
        "echo c > /proc/sysrq-trigger",
        "touch /sys/fs/cgroup/x",
        "echo 1 > /sys/fs/cgroup/cgroup.procs || echo 1 > /sys/fs/cgroup/pids/cgroup.procs",
        "unshare -m true",
        "unshare -U true",
        "hostname other",
        "head -c 1 /proc/kcore | grep -q .",
        "head -c 1 /proc/keys | grep -q .",
        "ls /proc/acpi | grep -q .",
        "ls /sys/firmware/nothing",
        "busybox chroot /proc/1/root/../../../.. cat /no/such/file",
        "busybox insmod x.ko",
        "busybox reboot -f",
        "busybox nice -n -5 true",
        "ip link set lo down",
    ];
    for attempt in attempts {
        let output = sandbox.sh(&format!("({attempt}) && echo SUCCEEDED"));
        assert!(!output.stdout.contains("SUCCEEDED"), "{attempt}: {output:?}");
    }
    // Nothing of the host's is mounted, and no mount names a path of it.
    // (But for the files of /etc, as with Docker.)
    let mounts = sandbox.sh("grep -v ' /etc/' /proc/self/mountinfo");
    assert!(!mounts.ok().contains(&sandbox.dir.path().display().to_string()), "{}", mounts.stdout);
    let namespaces = sandbox.sh("for n in cgroup ipc mnt net pid uts; do readlink /proc/self/ns/$n; done");
    for line in namespaces.ok().lines() {
        let name = line.split(':').next().unwrap();
        let host = fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
        assert_ne!(Path::new(line), host, "{name}");
    }
}

/// A process inside watches for newcomers and tries to get at what they still
/// have of the host.
fn an_exec_cannot_be_looked_into() {
    let sandbox = Sandbox::new();
    let watcher = "while :; do for p in /proc/[0-9]*; do case $p in /proc/1|/proc/$$) continue;; esac; \
        for l in exe root cwd; do t=$(readlink $p/$l) && case $t in *busybox|/) ;; *) echo \"$p/$l $t\" >> /tmp/seen;; esac; \
        done; done; done";
    let running = Running::start(&sandbox, container(&["sh", "-c", watcher]));
    for _ in 0..100 {
        running.exec(&process(&["true"])).unwrap();
    }
    let seen = running.exec(&process(&["sh", "-c", "cat /tmp/seen 2>/dev/null; echo end"])).unwrap();
    assert_eq!(seen.ok(), "end\n");
    running.end();
}
