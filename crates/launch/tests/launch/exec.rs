//! Further processes in a running container.

use std::fs;

use casemate_model::{Classify, ErrorClass, ExitStatus, Signal, chain};

use crate::harness::Test;
use crate::image::{Running, Sandbox, collect, container, process};

pub(crate) const TESTS: &[Test] = &[
    ("exec::it_is_in_the_container", it_is_in_the_container),
    ("exec::its_own_user_directory_and_environment", its_own_user_directory_and_environment),
    ("exec::commands_that_cannot_be_executed", commands_that_cannot_be_executed),
    ("exec::none_before_and_after_the_init", none_before_and_after_the_init),
    ("exec::it_dies_with_the_init", it_dies_with_the_init),
    ("exec::the_callers_pid_namespace_stays", the_callers_pid_namespace_stays),
    ("exec::a_broken_null_device_is_not_opened", a_broken_null_device_is_not_opened),
    ("exec::no_descriptor_and_no_host_directory_leaks", no_descriptor_and_no_host_directory_leaks),
];

fn it_is_in_the_container() {
    let sandbox = Sandbox::new();
    let running = Running::idle(&sandbox);
    let script = "for n in cgroup ipc mnt net pid uts; do
        [ $(readlink /proc/self/ns/$n) = $(readlink /proc/1/ns/$n) ] || echo $n differs; done
        hostname; grep -c . /proc/self/cgroup >/dev/null; grep -v ':/$' /proc/self/cgroup; ps -o pid,comm | grep -c sleep";
    let output = running.exec(&process(&["sh", "-c", script])).unwrap();
    // `ps` and `grep` see the init's sleep.
    assert_eq!(output.ok(), "box\n1\n");
    let entries = running.cage.processes().unwrap();
    assert_eq!(entries.len(), 2, "{entries:?}");
    running.end();
}

fn its_own_user_directory_and_environment() {
    let sandbox = Sandbox::new();
    let running = Running::idle(&sandbox);
    let mut web = process(&["sh", "-c", "id -u; pwd; echo $X $HOME; grep CapEff /proc/self/status; exit 3"]);
    web.user = "web".parse().unwrap();
    web.cwd = "/tmp".to_owned();
    web.env.push("X=y".to_owned());
    let output = running.exec(&web).unwrap();
    assert_eq!(output.status, ExitStatus::Code(3));
    assert_eq!(output.stdout, "33\n/tmp\ny /srv/web\nCapEff:\t0000000000000000\n");
    // Not made for an exec.
    web.cwd = "/missing".to_owned();
    let error = running.exec(&web).unwrap_err();
    assert_eq!(chain(&error), "chdir to cwd (\"/missing\") failed: no such file or directory");
    running.end();
}

fn commands_that_cannot_be_executed() {
    let sandbox = Sandbox::new();
    let running = Running::idle(&sandbox);
    for (command, class) in [
        ("nope", ErrorClass::CommandNotFound),
        ("/nope", ErrorClass::CommandNotFound),
        ("/etc/passwd", ErrorClass::CommandNotExecutable),
    ] {
        assert_eq!(running.exec(&process(&[command])).unwrap_err().class(), class, "{command}");
    }
    let mut nobody = process(&["true"]);
    nobody.user = "nobody".parse().unwrap();
    assert_eq!(running.exec(&nobody).unwrap_err().class(), ErrorClass::InvalidArgument);
    assert_eq!(running.cage.processes().unwrap().len(), 2);
    running.end();
}

fn none_before_and_after_the_init() {
    let sandbox = Sandbox::new();
    let cage = sandbox.cage(container(&["sh", "-c", "read line"]));
    assert_eq!(cage.exec(&process(&["true"])).unwrap_err().class(), ErrorClass::Conflict);
    let starting = cage.start().unwrap();
    assert_eq!(cage.exec(&process(&["true"])).unwrap_err().class(), ErrorClass::Conflict);
    assert_eq!(cage.start().unwrap_err().class(), ErrorClass::Conflict);
    let init = starting.finish().unwrap();
    assert_eq!(collect(init).status, ExitStatus::Code(1));
    assert_eq!(cage.exec(&process(&["true"])).unwrap_err().to_string(), "the container is not running");
    cage.destroy().unwrap();
}

fn it_dies_with_the_init() {
    let sandbox = Sandbox::new();
    let mut running = Running::idle(&sandbox);
    let mut exec = running.cage.exec(&process(&["sleep", "1000"])).unwrap().finish().unwrap();
    running.init.signal(Signal::KILL).unwrap();
    assert_eq!(exec.wait().unwrap(), ExitStatus::Signal(Signal::KILL));
    assert_eq!(running.init.wait().unwrap(), ExitStatus::Signal(Signal::KILL));
    // And alone, without the init's end.
    running.cage.destroy().unwrap();
}

fn the_callers_pid_namespace_stays() {
    let sandbox = Sandbox::new();
    let running = Running::idle(&sandbox);
    let namespaces =
        || ["pid", "pid_for_children", "mnt", "net"].map(|n| fs::read_link(format!("/proc/self/ns/{n}")).unwrap());
    let before = namespaces();
    running.exec(&process(&["true"])).unwrap();
    running.exec(&process(&["nope"])).unwrap_err();
    assert_eq!(namespaces(), before);
    running.end();
}

fn a_broken_null_device_is_not_opened() {
    let sandbox = Sandbox::new();
    let running = Running::idle(&sandbox);
    for replacement in ["mkfifo /dev/null", "ln -s /dev/zero /dev/null", "mknod /dev/null c 1 5", "mkdir /dev/null"] {
        let script = format!("rm -rf /dev/null; busybox {replacement}");
        let mut with_input = process(&["sh", "-c", &script]);
        with_input.stdin = true;
        running.exec(&with_input).unwrap().ok();
        let error = running.exec(&process(&["true"])).unwrap_err();
        assert!(error.to_string().contains("/dev/null"), "{replacement}: {error}");
    }
    running.end();
}

fn no_descriptor_and_no_host_directory_leaks() {
    let sandbox = Sandbox::new();
    // One more that must not get in, inheritable as a careless caller's.
    let host = fs::File::open("/").unwrap();
    let inheritable = rustix::io::dup(&host).unwrap();
    let listing = "ls /proc/self/fd | sort -n | head -c 100; ls /proc/1/fd | sort -n";
    let running = Running::start(&sandbox, container(&["sh", "-c", "sleep 1000 & wait"]));
    let output = running.exec(&process(&["sh", "-c", listing])).unwrap();
    // Each `ls` has the directory it lists open, and the init's shell its script.
    assert_eq!(output.ok(), "0\n1\n2\n3\n0\n1\n2\n");
    for cwd in ["/proc/self/fd/3", "/proc/self/fd/7/../..", "/proc/1/cwd", "/proc/self/root"] {
        let mut escape = process(&["ls"]);
        escape.cwd = cwd.to_owned();
        assert!(running.exec(&escape).is_err(), "{cwd}");
    }
    running.end();
    drop(inheritable);
}
