//! What a container can be given beyond the defaults, and taken.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use casemate_launch::LaunchError;
use casemate_model::{
    Bytes, Capabilities, Classify, Container, Device, ErrorClass, Ipc, Namespace, Sysctl, Tmpfs, chain,
};
use casemate_seccomp::{KernelVersion, Profile};

use crate::harness::Test;
use crate::image::{Output, Running, Sandbox, container, own_capabilities, process, read_until};

pub(crate) const TESTS: &[Test] = &[
    ("options::tmpfs_as_docker_mounts_it", tmpfs_as_docker_mounts_it),
    ("options::tmpfs_wherever_links_lead", tmpfs_wherever_links_lead),
    ("options::tmpfs_in_place_of_shared_memory", tmpfs_in_place_of_shared_memory),
    ("options::tmpfs_below_and_above_the_engines_files", tmpfs_below_and_above_the_engines_files),
    ("options::sysctls_of_its_namespaces", sysctls_of_its_namespaces),
    ("options::names", names),
    ("options::further_groups", further_groups),
    ("options::oom_score", oom_score),
    ("options::nothing_masked", nothing_masked),
    ("options::capabilities_that_this_host_has_not", capabilities_that_this_host_has_not),
    ("options::a_profile_of_ones_own", a_profile_of_ones_own),
    ("options::privileged", privileged),
    ("options::a_privileged_exec", a_privileged_exec),
    ("options::devices", devices),
    ("options::device_rules", device_rules),
    ("options::devices_that_are_none", devices_that_are_none),
    ("options::the_hosts_ipc", the_hosts_ipc),
    ("options::no_shared_memory", no_shared_memory),
    ("options::the_hosts_names", the_hosts_names),
    ("options::the_hosts_processes", the_hosts_processes),
    ("options::the_hosts_processes_end_with_the_init", the_hosts_processes_end_with_the_init),
    ("options::the_hosts_control_groups", the_hosts_control_groups),
];

fn with(script: &str, change: impl FnOnce(&mut Container)) -> Container {
    let mut container = container(&["sh", "-c", script]);
    change(&mut container);
    container
}

fn run(script: &str, change: impl FnOnce(&mut Container)) -> Result<Output, LaunchError> {
    Sandbox::new().run(with(script, change))
}

fn tmpfs(path: &str, options: &str) -> Tmpfs {
    Tmpfs::new(path, options).unwrap()
}

fn tmpfs_as_docker_mounts_it() {
    let sandbox = Sandbox::new();
    fs::set_permissions(sandbox.layer().join("srv"), fs::Permissions::from_mode(0o751)).unwrap();
    let script = "for p in /run /srv /data/deep; do grep \" $p \" /proc/self/mountinfo; done; \
        stat -c '%a %u %g' /run /srv /data/deep /mine; touch /run/x /data/deep/x; touch /srv/x 2>&1";
    let mut c = with(script, |c| {
        c.tmpfs = vec![
            tmpfs("/data/deep", "size=1m,exec,suid,dev"),
            tmpfs("/run", ""),
            tmpfs("/srv", "ro,mode=700"),
            tmpfs("/mine", "uid=33,gid=34,mode=0750"),
        ];
    });
    c.limits.memory = Some(Bytes::mib(64));
    let output = sandbox.run(c).unwrap();
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert!(lines[0].contains(" /run rw,nosuid,nodev,noexec,relatime - tmpfs tmpfs rw"), "{output:?}");
    assert!(lines[1].contains(" /srv ro,nosuid,nodev,noexec,relatime - tmpfs tmpfs ro"), "{output:?}");
    assert!(lines[2].contains(" /data/deep rw,relatime - tmpfs tmpfs rw,size=1024k"), "{output:?}");
    // The directory's own mode where there is one, and none was asked for.
    assert_eq!(lines[3..7], ["1777 0 0", "700 0 0", "1777 0 0", "750 33 34"], "{output:?}");
    assert!(lines[7].contains("Read-only file system"), "{output:?}");
    let kept = |name: &str| sandbox.dir.path().join("upper").join(name).exists();
    assert!(kept("data/deep") && !kept("data/deep/x") && !kept("run/x"), "a tmpfs is no part of the root");
    // Where the image has the directory, its mode.
    fs::create_dir_all(sandbox.layer().join("run")).unwrap();
    fs::set_permissions(sandbox.layer().join("run"), fs::Permissions::from_mode(0o710)).unwrap();
    let c = with("stat -c %a /run", |c| c.tmpfs = vec![tmpfs("/run/", "")]);
    for name in ["upper", "work"] {
        fs::remove_dir_all(sandbox.dir.path().join(name)).unwrap();
    }
    assert_eq!(sandbox.run(c).unwrap().ok(), "710\n");
}

fn tmpfs_wherever_links_lead() {
    let outside = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::new();
    let up = format!("../../../../../../../..{}", outside.path().display());
    symlink(up, sandbox.layer().join("up")).unwrap();
    symlink("/proc/sys", sandbox.layer().join("kernel")).unwrap();
    let c = with("touch /up/x && stat -f -c %T /up && ls /up", |c| c.tmpfs = vec![tmpfs("/up", "")]);
    assert_eq!(sandbox.run(c).unwrap().ok(), "tmpfs\nx\n");
    assert!(fs::read_dir(outside.path()).unwrap().next().is_none(), "the host's directory is untouched");
    // What is masked in there must not come off by covering it.
    for path in ["/proc", "/proc/sys", "/kernel", "/kernel/net"] {
        let error = sandbox.run(with("true", |c| c.tmpfs = vec![tmpfs(path, "")])).unwrap_err();
        assert!(chain(&error).starts_with(&format!("cannot mount {path} inside /proc")), "{path}: {error}");
    }
    let error = sandbox.run(with("true", |c| c.tmpfs = vec![tmpfs("/etc/passwd", "")])).unwrap_err();
    assert_eq!(chain(&error), "cannot make directory /etc/passwd: not a directory");
    let error = sandbox.run(with("true", |c| c.tmpfs = vec![tmpfs("/run", "size=much")])).unwrap_err();
    assert_eq!(chain(&error), "cannot mount /run: invalid argument");
}

fn tmpfs_in_place_of_shared_memory() {
    let script = "grep ' /dev/shm ' /proc/self/mountinfo";
    let output = run(script, |c| c.tmpfs = vec![tmpfs("/dev/shm", "size=2m,exec,mode=1777")]).unwrap();
    assert!(output.ok().contains(" /dev/shm rw,nosuid,nodev,relatime - tmpfs tmpfs rw,size=2048k"), "{output:?}");
    assert_eq!(output.stdout.lines().count(), 1, "{output:?}");
}

fn tmpfs_below_and_above_the_engines_files() {
    let output = run("cat /etc/hosts; ls /etc; touch /etc/x && echo writable", |c| {
        c.tmpfs = vec![tmpfs("/etc/deep", ""), tmpfs("/etc", "")];
    });
    assert_eq!(output.unwrap().ok(), "127.0.0.1\tlocalhost\ndeep\nhostname\nhosts\nresolv.conf\nwritable\n");
}

fn sysctls_of_its_namespaces() {
    let sysctl = |name: &str, value: &str| Sysctl::new(name, value).unwrap();
    let host_before = fs::read_to_string("/proc/sys/kernel/shmmni").unwrap();
    let script = "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmni /proc/sys/fs/mqueue/msg_max \
        /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/domainname; \
        echo 0 > /proc/sys/net/ipv4/ip_forward";
    let output = run(script, |c| {
        c.sysctls = vec![
            sysctl("net.ipv4.ip_forward", "1"),
            sysctl("kernel.shmmni", "77"),
            sysctl("fs.mqueue.msg_max", "12"),
            sysctl("net/ipv4/ip_unprivileged_port_start", "80"),
            sysctl("kernel.domainname", "lan"),
        ];
    });
    let output = output.unwrap();
    assert_eq!(output.stdout, "1\n77\n12\n80\nlan\n");
    assert!(output.stderr.contains("Read-only file system"), "{output:?}");
    assert_eq!(fs::read_to_string("/proc/sys/kernel/shmmni").unwrap(), host_before);
    let error = run("true", |c| c.sysctls = vec![sysctl("net.nope", "1")]).unwrap_err();
    assert_eq!(chain(&error), "cannot set kernel parameter net.nope: no such file or directory");
    let error = run("true", |c| c.sysctls = vec![sysctl("kernel.shmmni", "many")]).unwrap_err();
    assert_eq!(chain(&error), "cannot set kernel parameter kernel.shmmni: invalid argument");
    // Of namespaces that are the host's.
    let error = run("true", |c| {
        c.namespaces.ipc = Ipc::Host;
        c.sysctls = vec![sysctl("kernel.shmmni", "77")];
    });
    let error = error.unwrap_err();
    assert_eq!(error.to_string(), "sysctl \"kernel.shmmni\" is not allowed in the hosts ipc namespace");
    assert_eq!(error.class(), ErrorClass::InvalidArgument);
    let error = run("true", |c| {
        c.namespaces.uts = Namespace::Host;
        c.sysctls = vec![sysctl("kernel.domainname", "x")];
    });
    assert!(error.unwrap_err().to_string().ends_with("is not in a separate kernel namespace"));
}

fn names() {
    let output = run("hostname; cat /proc/sys/kernel/domainname", |c| c.domainname = "example.org".to_owned());
    assert_eq!(output.unwrap().ok(), "box\nexample.org\n");
    assert_eq!(run("cat /proc/sys/kernel/domainname", |_| {}).unwrap().ok(), "(none)\n");
}

fn further_groups() {
    let groups = |user: &str, further: &[&str]| {
        run("id -G; grep Groups /proc/self/status", |c| {
            c.init.user = user.parse().unwrap();
            c.init.additional_groups = further.iter().map(|g| (*g).to_owned()).collect();
        })
    };
    assert_eq!(groups("web", &["777", "root"]).unwrap().ok(), "34 0 4 777\nGroups:\t0 4 34 777 \n");
    assert_eq!(groups("1234:77", &["log"]).unwrap().ok(), "77 4\nGroups:\t4 77 \n");
    let error = groups("", &["nope"]).unwrap_err();
    assert_eq!(chain(&error), "unable to find group nope: no matching entries in group file");
    // As for an exec.
    let sandbox = Sandbox::new();
    let running = Running::idle(&sandbox);
    let mut p = process(&["id", "-G"]);
    p.additional_groups = vec!["log".to_owned(), "99".to_owned()];
    assert_eq!(running.exec(&p).unwrap().ok(), "0 4 99\n");
    running.end();
}

fn oom_score() {
    let output = run("cat /proc/self/oom_score_adj", |c| c.init.oom_score_adj = 321).unwrap();
    assert_eq!(output.ok(), "321\n");
    let sandbox = Sandbox::new();
    let running = Running::idle(&sandbox);
    let mut p = process(&["cat", "/proc/self/oom_score_adj"]);
    p.oom_score_adj = 12;
    assert_eq!(running.exec(&p).unwrap().ok(), "12\n");
    running.end();
    // Lower than the engine's own needs a capability that not every host gives.
    match run("cat /proc/self/oom_score_adj", |c| c.init.oom_score_adj = -400) {
        Ok(output) => assert_eq!(output.ok(), "-400\n"),
        Err(error) => assert_eq!(chain(&error), "cannot set the OOM score adjustment to -400: permission denied"),
    }
}

fn nothing_masked() {
    let output = run("head -c 1 /proc/kcore | wc -c; touch /proc/sys/kernel/domainname && echo written", |c| {
        c.masked_paths.clear();
        c.readonly_paths.clear();
    });
    let output = output.unwrap();
    // The capabilities still say no to kcore, and the kernel to the file's user.
    assert!(output.stdout.ends_with("written\n"), "{output:?}");
    let masks = run("grep -c -E ' /proc/|/sys/firmware' /proc/self/mountinfo", |c| {
        c.masked_paths.clear();
        c.readonly_paths.clear();
    });
    assert_eq!(masks.unwrap().stdout, "0\n");
}

fn capabilities_that_this_host_has_not() {
    let script = "grep -E 'Cap(Prm|Eff)' /proc/self/status | sort -u -k2";
    let output = run(script, |c| {
        c.init.capabilities = Capabilities::ALL;
        c.init.seccomp = None;
    });
    let all = Capabilities::ALL.bits() & own_capabilities();
    assert_eq!(casemate_launch::available_capabilities().unwrap().bits(), all);
    assert_eq!(output.unwrap().ok().split_whitespace().last(), Some(format!("{all:016x}").as_str()));
}

fn a_profile_of_ones_own() {
    let json = r#"{"defaultAction":"SCMP_ACT_ALLOW","flags":["SECCOMP_FILTER_FLAG_LOG"],
        "syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":28}]}"#;
    let kernel = KernelVersion::of_this_host().unwrap();
    let seccomp = Profile::parse(json).unwrap().compile(Capabilities::DOCKER_DEFAULT, kernel).unwrap();
    let output = run("mkdir /x; grep Seccomp: /proc/self/status", |c| c.init.seccomp = Some(seccomp)).unwrap();
    assert!(output.stderr.contains("No space left on device"), "{output:?}");
    assert_eq!(output.stdout, "Seccomp:\t2\n");
    let output = run("mkdir /x; grep Seccomp: /proc/self/status; unshare -m true", |c| {
        c.init.seccomp = None;
        c.init.capabilities = Capabilities::ALL;
    });
    assert_eq!(output.unwrap().ok(), "Seccomp:\t0\n");
}

/// As the engine asks for it.
fn as_privileged(c: &mut Container) {
    c.privileged = true;
    c.init.capabilities = Capabilities::ALL;
    c.init.seccomp = None;
    c.masked_paths.clear();
    c.readonly_paths.clear();
}

fn privileged() {
    let script = "mount -t tmpfs none /tmp && echo mounted; \
        d=$(ls -d /sys/fs/cgroup/pids /sys/fs/cgroup | head -1); mkdir $d/below && rmdir $d/below && echo groups; \
        grep -E ' /sys ' /proc/self/mountinfo | grep -c ' rw,'; \
        echo 1 > /proc/sys/net/ipv4/ip_forward && echo parameters; \
        for d in /dev/*; do test -b $d && dd if=$d of=/dev/null bs=512 count=1 2>/dev/null && echo $d && break; done | wc -l; \
        readlink /dev/ptmx; ls /dev/pts";
    let output = run(script, as_privileged).unwrap();
    let has_disks = fs::read_dir("/dev").unwrap().flatten().any(|entry| {
        use std::os::unix::fs::FileTypeExt;
        entry.file_type().is_ok_and(|kind| kind.is_block_device()) && fs::File::open(entry.path()).is_ok()
    });
    let disks = u8::from(has_disks);
    assert_eq!(
        output.stdout,
        format!("mounted\ngroups\n1\nparameters\n{disks}\npts/ptmx\nptmx\n"),
        "{}",
        output.stderr
    );
    // Every device of the host is there, with its numbers, owner and mode.
    let listed = run("stat -c '%n %t:%T %a %u:%g' /dev/*", as_privileged).unwrap();
    for name in ["null", "full"] {
        let host =
            std::process::Command::new("stat").args(["-c", "%n %t:%T %a %u:%g", &format!("/dev/{name}")]).output();
        let host = String::from_utf8(host.unwrap().stdout).unwrap();
        assert!(listed.ok().contains(host.trim()), "{host} in {}", listed.stdout);
    }
}

fn a_privileged_exec() {
    let sandbox = Sandbox::new();
    let running = Running::idle(&sandbox);
    let mut p = process(&["sh", "-c", "mount -t tmpfs none /tmp && grep CapEff /proc/self/status"]);
    p.capabilities = Capabilities::ALL;
    p.seccomp = None;
    let all = Capabilities::ALL.bits() & own_capabilities();
    assert_eq!(running.exec(&p).unwrap().ok(), format!("CapEff:\t{all:016x}\n"));
    running.end();
}

fn device(host_path: &str, path: &str, access: &str) -> Device {
    Device { host_path: host_path.to_owned(), path: path.to_owned(), access: access.parse().unwrap() }
}

/// A device that no container may use by default, and that every host has.
const KMSG: &str = "/dev/kmsg";

/// Opening it shows what is allowed; to read it takes a capability besides.
const OPEN: &str = "(: > /dev/mine) 2>&1 && echo opened";

fn devices() {
    let script =
        format!("stat -c '%t:%T %F' /dev/mine /some/where/kmsg; {OPEN}; mknod /x c 1 11; echo > /x && echo same");
    let run_with = |access: &str| {
        run(&script, |c| {
            c.devices = vec![device(KMSG, "/dev/mine", access), device(KMSG, "/some/where/kmsg", access)];
        })
    };
    let nodes = "1:b character special file\n1:b character special file\n";
    // The container's own node of it is the same device.
    assert_eq!(run_with("w").unwrap().stdout, format!("{nodes}opened\nsame\n"));
    let read_only = run_with("rm").unwrap();
    assert!(read_only.stdout.starts_with(nodes), "{read_only:?}");
    assert!(read_only.stdout.contains("/dev/mine: Operation not permitted"), "{read_only:?}");
    let without = run(&format!("mknod /dev/mine c 1 11; {OPEN}"), |_| {}).unwrap();
    assert!(without.stdout.ends_with("/dev/mine: Operation not permitted\n"), "{without:?}");
}

fn device_rules() {
    for rule in ["c 1:* w", "a *:* rwm", "a 1:11 w"] {
        let output = run(&format!("mknod /dev/mine c 1 11; {OPEN}"), |c| c.device_rules = vec![rule.parse().unwrap()]);
        assert_eq!(output.unwrap().ok(), "opened\n", "{rule}");
    }
    let output = run(&format!("mknod /dev/mine c 1 11; {OPEN}"), |c| {
        c.device_rules = vec!["b 1:11 w".parse().unwrap(), "c 1:12 w".parse().unwrap(), "c 1:11 r".parse().unwrap()];
    });
    assert!(output.unwrap().stdout.contains("Operation not permitted"));
}

fn devices_that_are_none() {
    let fail = |path: &str| run("true", |c| c.devices = vec![device(path, "/dev/x", "rwm")]).unwrap_err();
    let adding = "error gathering device information while adding custom device";
    let missing = fail("/dev/nope");
    assert_eq!(chain(&missing), format!("{adding} \"/dev/nope\": no such file or directory"));
    assert_eq!(missing.class(), ErrorClass::InvalidArgument);
    assert_eq!(chain(&fail("/etc/passwd")), format!("{adding} \"/etc/passwd\": not a device node"));
}

fn the_hosts_ipc() {
    let name = format!("/dev/shm/casemate-launch-test-{}", std::process::id());
    fs::write(&name, "the host's").unwrap();
    let output = run(&format!("readlink /proc/self/ns/ipc; cat {name}; rm {name}"), |c| {
        c.namespaces.ipc = Ipc::Host;
    });
    let own = fs::read_link("/proc/self/ns/ipc").unwrap();
    assert_eq!(output.unwrap().ok(), format!("{}\nthe host's", own.display()));
    assert!(!fs::exists(&name).unwrap());
}

fn no_shared_memory() {
    let output = run("readlink /proc/self/ns/ipc; test -e /dev/shm || echo none", |c| c.namespaces.ipc = Ipc::None);
    let output = output.unwrap();
    let own = fs::read_link("/proc/self/ns/ipc").unwrap();
    assert!(output.ok().ends_with("\nnone\n") && !output.stdout.starts_with(&*own.to_string_lossy()), "{output:?}");
}

fn the_hosts_names() {
    let before = rustix::system::uname().nodename().to_owned();
    let output = run("hostname; readlink /proc/self/ns/uts", |c| {
        c.namespaces.uts = Namespace::Host;
        c.domainname = "not.set".to_owned();
    });
    let own = fs::read_link("/proc/self/ns/uts").unwrap();
    assert_eq!(output.unwrap().ok(), format!("{}\n{}\n", before.to_string_lossy(), own.display()));
    assert_eq!(rustix::system::uname().nodename(), before.as_c_str());
}

fn the_hosts_processes() {
    let sandbox = Sandbox::new();
    let mut c = container(&["sh", "-c", "echo $$; sleep 1000 & wait"]);
    c.namespaces.pid = Namespace::Host;
    let running = Running::start(&sandbox, c);
    let pid = read_until(&running.stdout, "\n");
    assert_eq!(pid.trim(), running.init.pid().to_string());
    let test = std::process::id();
    let see = running.exec(&process(&["sh", "-c", &format!("test -d /proc/{test} && readlink /proc/self/ns/pid")]));
    let own = fs::read_link("/proc/self/ns/pid").unwrap();
    assert_eq!(see.unwrap().ok(), format!("{}\n", own.display()));
    let entries = running.cage.processes().unwrap();
    assert!(entries.iter().all(|entry| entry.pid == entry.pid_inside) && entries.len() == 2, "{entries:?}");
    running.end();
}

fn the_hosts_processes_end_with_the_init() {
    let sandbox = Sandbox::new();
    let mut c = container(&["sh", "-c", "sleep 1000 & echo started"]);
    c.namespaces.pid = Namespace::Host;
    let mut running = Running::start(&sandbox, c);
    read_until(&running.stdout, "started");
    assert_eq!(running.init.wait().unwrap().code(), 0);
    assert!(running.cage.outlives_init());
    assert_eq!(running.cage.processes().unwrap().len(), 1, "one is left");
    running.cage.destroy().unwrap();
    assert!(running.cage.processes().unwrap().is_empty());
}

fn the_hosts_control_groups() {
    let sandbox = Sandbox::new();
    let script = "grep -c ':/$' /proc/self/cgroup; readlink /proc/self/ns/cgroup; \
        d=$(ls -d /sys/fs/cgroup/pids /sys/fs/cgroup | head -1); mkdir $d/x 2>&1 | grep -c Read-only; \
        p=/sys/fs/cgroup/pids; test ! -d $p || test $(cat $p/pids.max) = 55 && echo own";
    let mut c = container(&["sh", "-c", script]);
    c.namespaces.cgroup = Namespace::Host;
    c.limits.pids = Some(55);
    let output = sandbox.run(c).unwrap();
    let own = fs::read_link("/proc/self/ns/cgroup").unwrap();
    assert_eq!(output.stdout, format!("0\n{}\n1\nown\n", own.display()), "{}", output.stderr);
}
