//! The init: streams, user, working directory, what it may do, and how it
//! fails to start.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use casemate_model::{Bytes, Capabilities, Classify, Container, ErrorClass, ExitStatus, Rlimit, RlimitKind, chain};

use crate::harness::Test;
use crate::image::{Sandbox, collect, container};

pub(crate) const TESTS: &[Test] = &[
    ("start::output_and_exit_codes", output_and_exit_codes),
    ("start::input_reaches_it", input_reaches_it),
    ("start::megabytes_through_the_pipes", megabytes_through_the_pipes),
    ("start::users_groups_and_home", users_groups_and_home),
    ("start::working_directory", working_directory),
    ("start::commands_that_cannot_be_executed", commands_that_cannot_be_executed),
    ("start::users_that_do_not_exist", users_that_do_not_exist),
    ("start::requests_that_make_no_sense", requests_that_make_no_sense),
    ("start::read_only_root", read_only_root),
    ("start::etc_files", etc_files),
    ("start::no_new_privileges", no_new_privileges),
    ("start::limits_of_resources", limits_of_resources),
    ("start::shared_memory_size", shared_memory_size),
    ("start::signals_are_as_new", signals_are_as_new),
    ("start::many_layers", many_layers),
    ("start::block_devices_are_out_of_reach", block_devices_are_out_of_reach),
    ("start::a_multithreaded_caller_is_refused", a_multithreaded_caller_is_refused),
    ("start::a_failure_leaves_nothing", a_failure_leaves_nothing),
];

fn output_and_exit_codes() {
    let sandbox = Sandbox::new();
    let output = sandbox.sh("echo out; echo err >&2; exit 7");
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("out\n", "err\n"));
    assert_eq!(output.status, ExitStatus::Code(7));
    let killed = sandbox.sh("kill -TERM $$; sleep 1; sh -c 'kill -KILL $$'; echo $?");
    // The init ignores what it has no handler for.
    assert_eq!(killed.ok(), "137\n");
}

fn input_reaches_it() {
    let sandbox = Sandbox::new();
    let mut with_input = container(&["sh", "-c", "cat; echo end"]);
    with_input.init.stdin = true;
    let cage = sandbox.cage(with_input);
    let mut child = cage.start().unwrap().finish().unwrap();
    let Some(casemate_launch::Stdio::Pipes { stdin: Some(stdin), stdout, .. }) = child.take_io() else {
        panic!("no input");
    };
    rustix::io::write(&stdin, b"hello\n").unwrap();
    drop(stdin);
    assert_eq!(crate::image::read_until(&stdout, "end"), "hello\nend\n");
    assert_eq!(child.wait().unwrap(), ExitStatus::Code(0));
    assert!(child.take_io().is_none());
    cage.destroy().unwrap();
    // Without: the null device, which is the container's own.
    let none = sandbox.sh("cat; readlink /proc/self/fd/0; chmod 600 /dev/stdin && stat -c %a /dev/null");
    assert_eq!(none.ok(), "/dev/null\n600\n");
    let mode = fs::metadata("/dev/null").unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o666, "the host's own null device");
}

fn megabytes_through_the_pipes() {
    let sandbox = Sandbox::new();
    let output = sandbox.sh("seq 1 400000; seq 1 300000 >&2");
    assert_eq!(output.status, ExitStatus::Code(0));
    let expected = |n: u32| (1..=n).map(|i| format!("{i}\n")).collect::<String>();
    assert!(output.stdout == expected(400_000) && output.stderr == expected(300_000));
}

fn users_groups_and_home() {
    let sandbox = Sandbox::new();
    let run = |user: &str| {
        let mut c = container(&["sh", "-c", "echo $(id -u) $(id -g) $(id -G) $HOME; grep CapEff /proc/self/status"]);
        c.init.user = user.parse().unwrap();
        let output = sandbox.run(c).unwrap();
        output.ok().replace("CapEff:\t", "")
    };
    assert_eq!(run(""), "0 0 0 4 /root\n00000000a80425fb\n");
    assert_eq!(run("web"), "33 34 34 4 /srv/web\n0000000000000000\n");
    assert_eq!(run("web:log"), "33 4 4 /srv/web\n0000000000000000\n");
    assert_eq!(run("1234:77"), "1234 77 77 /\n0000000000000000\n");
    // The streams are the user's, also to open again.
    let mut c = container(&["sh", "-c", "echo again > /dev/stdout; echo $HOME > /proc/self/fd/1"]);
    c.init.user = "web".parse().unwrap();
    c.init.env.push("HOME=/elsewhere".to_owned());
    assert_eq!(sandbox.run(c).unwrap().ok(), "again\n/elsewhere\n");
}

fn working_directory() {
    let sandbox = Sandbox::new();
    let run = |cwd: &str, user: &str| {
        let mut c = container(&["sh", "-c", "pwd; stat -c '%a %u' ."]);
        c.init.cwd = cwd.to_owned();
        c.init.user = user.parse().unwrap();
        sandbox.run(c)
    };
    assert_eq!(run("/new/deep/dir", "web").unwrap().ok(), "/new/deep/dir\n755 0\n");
    // Root's alone, entered for the user (as Docker does).
    fs::set_permissions(sandbox.layer().join("root"), fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(run("/root", "web").unwrap().stdout, "/root\n");
    let error = run("/etc/passwd", "").unwrap_err();
    assert_eq!(chain(&error), "cannot make directory /etc/passwd: not a directory");
    // A way out through a magic link is no directory of the container's.
    for escape in ["/proc/self/cwd", "/proc/self/fd/3", "/proc/1/root"] {
        let error = run(escape, "").unwrap_err();
        assert!(matches!(error.class(), ErrorClass::Internal | ErrorClass::CommandNotExecutable), "{error:?}");
    }
}

fn commands_that_cannot_be_executed() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.layer().join("bin/garbage"), [0u8; 64]).unwrap();
    fs::set_permissions(sandbox.layer().join("bin/garbage"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(sandbox.layer().join("bin/orphan"), "#!/no/such/interpreter\n").unwrap();
    fs::set_permissions(sandbox.layer().join("bin/orphan"), fs::Permissions::from_mode(0o755)).unwrap();
    for (command, text, code) in [
        ("foo", r#"exec: "foo": executable file not found in $PATH"#, 127),
        ("/nope", r#"exec: "/nope": stat /nope: no such file or directory"#, 127),
        ("/etc/passwd", r#"exec: "/etc/passwd": permission denied"#, 126),
        ("/etc", r#"exec: "/etc": is a directory"#, 126),
        ("/bin/garbage", "exec /bin/garbage: exec format error", 126),
        ("garbage", "exec /bin/garbage: exec format error", 126),
        ("/bin/orphan", "exec /bin/orphan: no such file or directory", 127),
        ("./bin/nope", r#"exec: "./bin/nope": stat ./bin/nope: no such file or directory"#, 127),
    ] {
        let error = sandbox.run(container(&[command])).unwrap_err();
        assert_eq!((chain(&error).as_str(), error.class().exit_code()), (text, code));
    }
    let mut no_path = container(&["true"]);
    no_path.init.env.clear();
    assert_eq!(sandbox.run(no_path).unwrap_err().class(), ErrorClass::CommandNotFound);
}

fn users_that_do_not_exist() {
    let sandbox = Sandbox::new();
    let fail = |user: &str| {
        let mut c = container(&["true"]);
        c.init.user = user.parse().unwrap();
        let error = sandbox.run(c).unwrap_err();
        assert_eq!(error.class(), ErrorClass::InvalidArgument);
        chain(&error)
    };
    assert_eq!(fail("nobody"), "unable to find user nobody: no matching entries in passwd file");
    assert_eq!(fail("web:nobody"), "unable to find group nobody: no matching entries in group file");
    assert_eq!(fail("4294967295"), "uids and gids must be in range 0-2147483647: 4294967295");
}

fn requests_that_make_no_sense() {
    let sandbox = Sandbox::new();
    let fail = |change: &dyn Fn(&mut casemate_model::Container)| {
        let mut c = container(&["true"]);
        change(&mut c);
        sandbox.run(c).unwrap_err()
    };
    assert_eq!(fail(&|c| c.init.args.clear()).to_string(), "no command specified");
    assert_eq!(fail(&|c| c.init.env.push("A=\0".to_owned())).class(), ErrorClass::InvalidArgument);
    assert_eq!(fail(&|c| c.init.cwd = "rel".to_owned()).class(), ErrorClass::InvalidArgument);
    let bad_program = casemate_model::Seccomp { program: vec![0xff; 80], log: false, allow_speculation: false };
    let error = fail(&|c| c.init.seccomp = Some(bad_program.clone()));
    assert_eq!(chain(&error), "cannot install the seccomp filter: invalid argument");
    let mut place = sandbox.place();
    place.cgroup = "../escape".to_owned();
    let error = casemate_launch::Cage::create(container(&["true"]), place).unwrap_err();
    assert_eq!(error.class(), ErrorClass::InvalidArgument);
}

fn read_only_root() {
    let sandbox = Sandbox::new();
    let script = "touch /x /etc/hosts /bin/y 2>&1; touch /dev/shm/z && echo shm; echo w > /dev/null && echo null";
    let mut c = container(&["sh", "-c", script]);
    c.read_only = true;
    let output = sandbox.run(c).unwrap();
    assert_eq!(output.stdout.matches("Read-only file system").count(), 3, "{}", output.stdout);
    assert!(output.stdout.ends_with("shm\nnull\n"), "{}", output.stdout);
}

fn etc_files() {
    let sandbox = Sandbox::new();
    let script = "cat /etc/hosts /etc/hostname /etc/resolv.conf; hostname; echo added >> /etc/hosts";
    assert_eq!(sandbox.sh(script).ok(), "127.0.0.1\tlocalhost\nbox\nnameserver 192.0.2.1\nbox\n");
    // What is bound over is no part of what the container wrote.
    let upper = sandbox.dir.path().join("upper/etc");
    for name in ["hosts", "hostname", "resolv.conf"] {
        assert_eq!(fs::metadata(upper.join(name)).unwrap().len(), 0, "{name}");
    }
    assert!(fs::read_dir(sandbox.dir.path().join("run")).unwrap().next().is_none(), "files are removed");
}

fn no_new_privileges() {
    let sandbox = Sandbox::new();
    let mut c = container(&["sh", "-c", "grep -E 'NoNewPrivs|Seccomp:' /proc/self/status; unshare -m true"]);
    c.init.no_new_privileges = true;
    c.init.user = "web".parse().unwrap();
    let output = sandbox.run(c).unwrap();
    assert_eq!(output.stdout, "NoNewPrivs:\t1\nSeccomp:\t2\n");
    assert!(output.stderr.contains("Operation not permitted"), "{}", output.stderr);
}

fn limits_of_resources() {
    let sandbox = Sandbox::new();
    let mut c = container(&["sh", "-c", "ulimit -n; ulimit -c"]);
    c.init.rlimits = vec![
        Rlimit { kind: RlimitKind::Nofile, soft: Some(64), hard: Some(128) },
        Rlimit { kind: RlimitKind::Core, soft: Some(0), hard: Some(0) },
    ];
    assert_eq!(sandbox.run(c).unwrap().ok(), "64\n0\n");
}

fn shared_memory_size() {
    let sandbox = Sandbox::new();
    let size = "grep ' /dev/shm ' /proc/mounts | sed 's/.*size=\\([0-9]*k\\).*/\\1/'";
    assert_eq!(sandbox.sh(size).ok(), "65536k\n");
    let mut c = container(&["sh", "-c", size]);
    c.shm_size = Some(Bytes::mib(1));
    assert_eq!(sandbox.run(c).unwrap().ok(), "1024k\n");
}

fn signals_are_as_new() {
    let sandbox = Sandbox::new();
    let status = sandbox.sh("exec grep -E '^Sig(Blk|Ign|Cgt|Pnd)' /proc/self/status");
    for line in status.ok().lines() {
        assert!(line.ends_with("0000000000000000"), "{line}");
    }
    let mut plain = container(&["cat", "/proc/self/status"]);
    plain.init.capabilities = Capabilities::NONE;
    let output = sandbox.run(plain).unwrap();
    assert!(output.ok().contains("CapBnd:\t0000000000000000\n"));
}

fn many_layers() {
    let mut sandbox = Sandbox::new();
    let base = sandbox.lowers.remove(0);
    for index in 0..127 {
        let layer = sandbox.dir.path().join(format!("a rather, long:name\\{index}-{}", "x".repeat(100)));
        fs::create_dir(&layer).unwrap();
        fs::write(layer.join(format!("file-{index}")), index.to_string()).unwrap();
        fs::write(layer.join("shared"), index.to_string()).unwrap();
        sandbox.lowers.push(layer);
    }
    sandbox.lowers.push(base);
    assert_eq!(sandbox.sh("ls / | grep -c '^file-'; cat /shared /file-126").ok(), "127\n0126");
    sandbox.lowers.push(sandbox.dir.path().to_owned());
    let error = sandbox.run(container(&["true"])).unwrap_err();
    assert_eq!(error.to_string(), "an image of 129 layers cannot be mounted, it needs to have 1 to 128");
}

fn block_devices_are_out_of_reach() {
    let sandbox = Sandbox::new();
    // Every block device of the host, and memory: nodes can be made, not opened.
    let mut devices = vec!["c 1 1".to_owned(), "c 1 4".to_owned(), "c 10 200".to_owned(), "b 7 0".to_owned()];
    for device in fs::read_dir("/sys/block").unwrap().flatten() {
        let number = fs::read_to_string(device.path().join("dev")).unwrap();
        devices.push(format!("b {}", number.trim().replace(':', " ")));
    }
    let mut script = String::new();
    for device in &devices {
        script += &format!("mknod /n {device} && dd if=/n of=/dev/null count=1 2>&1 | head -1; rm /n\n");
    }
    let output = sandbox.sh(&script);
    assert_eq!(output.ok().matches("Operation not permitted").count(), devices.len(), "{}", output.stdout);
    let harmless =
        "for d in null zero full random urandom; do dd if=/dev/$d of=/dev/null count=1 2>/dev/null || echo $d; done";
    assert_eq!(sandbox.sh(harmless).ok(), "");
}

fn a_multithreaded_caller_is_refused() {
    let sandbox = Sandbox::new();
    let cage = sandbox.cage(container(&["true"]));
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || stopped.recv().is_err());
    let error = cage.start().unwrap_err();
    assert_eq!(error.to_string(), "a container can be started only from a process with one thread, this one has 2");
    drop(stop);
    thread.join().unwrap();
    // It counts when the thread is gone from the kernel, not from here.
    while fs::read_dir("/proc/self/task").unwrap().count() > 1 {
        std::thread::yield_now();
    }
    assert_eq!(collect(cage.start().unwrap().finish().unwrap()).status, ExitStatus::Code(0));
    cage.destroy().unwrap();
}

type Change = Box<dyn Fn(&mut Container)>;

/// Inputs that make it fail at one stage after the other.
fn a_failure_leaves_nothing() {
    let sandbox = Sandbox::new();
    let descriptors = || fs::read_dir("/proc/self/fd").unwrap().count();
    let before = descriptors();
    let mut stages: Vec<(&str, casemate_launch::LaunchError)> = Vec::new();
    let mut place = sandbox.place();
    place.lowers.push("/no/such/layer".into());
    let cage = casemate_launch::Cage::create(container(&["true"]), place).unwrap();
    stages.push(("layer", cage.start().unwrap().finish().unwrap_err()));
    cage.destroy().unwrap();
    drop(cage);
    let mut place = sandbox.place();
    place.work = "/proc".into();
    let cage = casemate_launch::Cage::create(container(&["true"]), place).unwrap();
    stages.push(("overlay", cage.start().unwrap().finish().unwrap_err()));
    cage.destroy().unwrap();
    drop(cage);
    let mut place = sandbox.place();
    place.dir = sandbox.dir.path().join("missing");
    stages.push(("files", casemate_launch::Cage::create(container(&["true"]), place).unwrap_err()));
    let changes: [(&str, Change); 5] = [
        ("hostname", Box::new(|c| c.hostname = "x".repeat(100))),
        ("masked path", Box::new(|c| c.masked_paths.push("/etc/passwd/x".to_owned()))),
        ("user", Box::new(|c| c.init.user = "nobody".parse().unwrap())),
        (
            "limit",
            Box::new(|c| {
                c.init.rlimits = vec![Rlimit { kind: RlimitKind::Nofile, soft: Some(2), hard: Some(1) }];
            }),
        ),
        ("command", Box::new(|c| c.init.args = vec!["nope".to_owned()])),
    ];
    for (stage, change) in changes {
        let mut c = container(&["true"]);
        change(&mut c);
        stages.push((stage, sandbox.run(c).unwrap_err()));
    }
    for (stage, error) in &stages {
        assert!(!chain(error).is_empty(), "{stage}");
    }
    assert_eq!(descriptors(), before, "descriptors are closed");
    // No child, not even a zombie (the harness sees the rest).
    let children = fs::read_to_string("/proc/thread-self/children").unwrap();
    assert_eq!(children, "");
    assert_eq!(sandbox.sh("echo fine").ok(), "fine\n");
}
