//! Beginnings and ends: who kills whom, and what is left.

use std::fs;
use std::os::fd::AsFd;
use std::process::{Command, Stdio as ProcessStdio};

use casemate_launch::{Cage, LaunchError, NetworkNamespace, destroy_leftovers};
use casemate_model::{ExitStatus, Signal};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::harness::{Test, UNPROTECTED};
use crate::image::{Running, Sandbox, collect, container, process};

pub(crate) const TESTS: &[Test] = &[
    ("lifecycle::pid_1_reaps_and_ignores", pid_1_reaps_and_ignores),
    ("lifecycle::the_report_is_readable_when_it_runs", the_report_is_readable_when_it_runs),
    ("lifecycle::a_dropped_start_is_undone", a_dropped_start_is_undone),
    ("lifecycle::a_dropped_child_is_killed", a_dropped_child_is_killed),
    ("lifecycle::kill_all_reaches_everything", kill_all_reaches_everything),
    ("lifecycle::destroy_ends_a_running_container", destroy_ends_a_running_container),
    ("lifecycle::a_killed_keeper_takes_its_container_along", a_killed_keeper_takes_its_container_along),
    ("lifecycle::leftovers_are_found_by_name", leftovers_are_found_by_name),
    ("lifecycle::signals_after_the_end_are_no_failure", signals_after_the_end_are_no_failure),
    ("lifecycle::a_program_that_can_be_written_starts_nothing", a_program_that_can_be_written_starts_nothing),
    ("lifecycle::a_shared_network", a_shared_network),
    ("lifecycle::what_it_wrote_is_there_again", what_it_wrote_is_there_again),
    ("lifecycle::fifty_in_a_row", fifty_in_a_row),
];

/// Set for the second process of a test.
const KEEPER: &str = "CASEMATE_TEST_KEEPER";

fn pid_1_reaps_and_ignores() {
    let sandbox = Sandbox::new();
    let script = "echo $$; sh -c 'sleep 0.05 & exit 0'; wait; kill -TERM 1; echo still here";
    assert_eq!(sandbox.sh(script).ok(), "1\nstill here\n");
}

fn the_report_is_readable_when_it_runs() {
    let sandbox = Sandbox::new();
    let cage = sandbox.cage(container(&["sleep", "1000"]));
    let starting = cage.start().unwrap();
    let timeout = Timespec { tv_sec: 60, tv_nsec: 0 };
    assert_eq!(poll(&mut [PollFd::new(&starting.report(), PollFlags::IN)], Some(&timeout)), Ok(1));
    let mut child = starting.finish().unwrap();
    // It runs the command, not this program any more.
    let name = fs::read_to_string(format!("/proc/{}/comm", child.pid())).unwrap();
    assert_eq!(name, "sleep\n");
    assert!(child.try_wait().unwrap().is_none());
    child.signal(Signal::KILL).unwrap();
    poll(&mut [PollFd::new(&child.pidfd(), PollFlags::IN)], Some(&timeout)).unwrap();
    assert_eq!(child.try_wait().unwrap(), Some(ExitStatus::Signal(Signal::KILL)));
    assert_eq!(child.try_wait().unwrap(), Some(ExitStatus::Signal(Signal::KILL)));
    cage.destroy().unwrap();
}

fn a_dropped_start_is_undone() {
    let sandbox = Sandbox::new();
    for _ in 0..5 {
        let cage = sandbox.cage(container(&["sleep", "1000"]));
        drop(cage.start().unwrap());
        assert_eq!(fs::read_to_string("/proc/thread-self/children").unwrap(), "");
        cage.destroy().unwrap();
    }
    let running = Running::idle(&sandbox);
    drop(running.cage.exec(&process(&["sleep", "1000"])).unwrap());
    assert_eq!(running.cage.processes().unwrap().len(), 2);
    running.end();
}

fn a_dropped_child_is_killed() {
    let sandbox = Sandbox::new();
    let cage = sandbox.cage(container(&["sleep", "1000"]));
    let child = cage.start().unwrap().finish().unwrap();
    let pidfd = child.pidfd().try_clone_to_owned().unwrap();
    drop(child);
    poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], None).unwrap();
    cage.destroy().unwrap();
}

fn kill_all_reaches_everything() {
    let sandbox = Sandbox::new();
    let mut c =
        container(&["sh", "-c", "trap '' TERM INT HUP; busybox setsid sleep 1000 & sleep 1000 & echo ready; wait"]);
    c.limits.pids = Some(100);
    let mut running = Running::start(&sandbox, c);
    crate::image::read_until(&running.stdout, "ready");
    let mut exec = running.cage.exec(&process(&["sleep", "1000"])).unwrap().finish().unwrap();
    running.cage.kill_all().unwrap();
    assert_eq!(exec.wait().unwrap().code(), 137);
    assert_eq!(running.init.wait().unwrap().code(), 137);
    assert!(running.cage.processes().unwrap().is_empty());
    running.cage.kill_all().unwrap();
    running.cage.destroy().unwrap();
    running.cage.destroy().unwrap();
}

fn destroy_ends_a_running_container() {
    let sandbox = Sandbox::new();
    let mut running = Running::idle(&sandbox);
    running.cage.destroy().unwrap();
    assert_eq!(running.init.wait().unwrap().code(), 137);
    assert!(running.cage.cgroup().directories().iter().all(|d| !d.exists()));
}

/// A second process starts a container and is killed; the container's init is
/// seen to end by a handle taken before.
fn a_killed_keeper_takes_its_container_along() {
    if std::env::var_os(KEEPER).is_some() {
        let sandbox = Sandbox::new();
        let running = Running::idle(&sandbox);
        let mut web = process(&["sleep", "1000"]);
        web.user = "web".parse().unwrap();
        let exec = running.cage.exec(&web).unwrap().finish().unwrap();
        let place = sandbox.place();
        let text = format!("{} {} {} {}", running.init.pid(), exec.pid(), place.cgroup, sandbox.dir.path().display());
        rustix::io::write(rustix::stdio::stdout(), (text + "\n").as_bytes()).unwrap();
        loop {
            std::thread::park();
        }
    }
    let (mut keeper, line) = spawn_keeper();
    let mut words = line.split_whitespace();
    let mut open = || pidfd_open(Pid::from_raw(words.next().unwrap().parse().unwrap()).unwrap(), PidfdFlags::empty());
    let (init, exec) = (open().unwrap(), open().unwrap());
    let (cgroup, dir) = (words.next().unwrap().to_owned(), words.next().unwrap().to_owned());
    keeper.kill().unwrap();
    keeper.wait().unwrap();
    let timeout = Timespec { tv_sec: 60, tv_nsec: 0 };
    for pidfd in [init.as_fd(), exec.as_fd()] {
        assert_eq!(poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout)), Ok(1));
    }
    destroy_leftovers(&cgroup, &std::path::Path::new(&dir).join("run")).unwrap();
    destroy_leftovers(&cgroup, &std::path::Path::new(&dir).join("run")).unwrap();
    assert!(fs::read_dir(std::path::Path::new(&dir).join("run")).unwrap().next().is_none());
    fs::remove_dir_all(dir).unwrap();
}

fn spawn_keeper() -> (std::process::Child, String) {
    use std::io::BufRead;
    let test = std::env::args().nth(2).unwrap();
    let mut keeper = Command::new("/proc/self/exe")
        .args(["--in-child", &test])
        .env(KEEPER, "1")
        .stdout(ProcessStdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (keeper, line)
}

/// A container that evades its keeper's end: it takes back the signal by
/// executing a set-user-ID program.
fn leftovers_are_found_by_name() {
    if std::env::var_os(KEEPER).is_some() {
        let sandbox = Sandbox::new();
        fs::create_dir(sandbox.layer().join("suid")).unwrap();
        let sleeper = sandbox.layer().join("suid/busybox");
        fs::copy("/bin/busybox", &sleeper).unwrap();
        std::os::unix::fs::chown(&sleeper, Some(0), Some(0)).unwrap();
        fs::set_permissions(&sleeper, std::os::unix::fs::PermissionsExt::from_mode(0o4755)).unwrap();
        let mut c = container(&["/suid/busybox", "sh", "-c", "echo up; sleep 1000 & wait"]);
        c.init.user = "web".parse().unwrap();
        let running = Running::start(&sandbox, c);
        crate::image::read_until(&running.stdout, "up");
        let place = sandbox.place();
        let text = format!("{} {} {}", running.init.pid(), place.cgroup, sandbox.dir.path().display());
        rustix::io::write(rustix::stdio::stdout(), (text + "\n").as_bytes()).unwrap();
        loop {
            std::thread::park();
        }
    }
    let (mut keeper, line) = spawn_keeper();
    let mut words = line.split_whitespace();
    let pid = Pid::from_raw(words.next().unwrap().parse().unwrap()).unwrap();
    let init = pidfd_open(pid, PidfdFlags::empty()).unwrap();
    let (cgroup, dir) = (words.next().unwrap(), words.next().unwrap());
    keeper.kill().unwrap();
    keeper.wait().unwrap();
    let lives = poll(&mut [PollFd::new(&init, PollFlags::IN)], Some(&Timespec::default())) == Ok(0);
    assert!(lives, "the container evaded nothing, so this test shows nothing");
    destroy_leftovers(cgroup, &std::path::Path::new(dir).join("run")).unwrap();
    assert_eq!(poll(&mut [PollFd::new(&init, PollFlags::IN)], Some(&Timespec::default())), Ok(1));
    fs::remove_dir_all(dir).unwrap();
}

fn signals_after_the_end_are_no_failure() {
    let sandbox = Sandbox::new();
    let cage = sandbox.cage(container(&["true"]));
    let mut child = cage.start().unwrap().finish().unwrap();
    assert_eq!(child.wait().unwrap(), ExitStatus::Code(0));
    child.signal(Signal::TERM).unwrap();
    cage.kill_all().unwrap();
    cage.destroy().unwrap();
}

fn a_program_that_can_be_written_starts_nothing() {
    if std::env::var_os(UNPROTECTED).is_some() {
        let sandbox = Sandbox::new();
        let cage = sandbox.cage(container(&["true"]));
        assert!(matches!(cage.start(), Err(LaunchError::ProgramWritable)));
        cage.destroy().unwrap();
        return;
    }
    assert!(casemate_launch::is_program_protected().unwrap());
    // EROFS, not ETXTBSY: it stays so when nobody runs it any more. (Without
    // truncation the kernel looks for the latter first.)
    let written = fs::OpenOptions::new().write(true).truncate(true).open("/proc/self/exe").unwrap_err();
    assert_eq!(written.raw_os_error(), Some(30));
    let mut arguments = std::env::args();
    let file = arguments.next().unwrap();
    assert!(Command::new(file).args(arguments).env(UNPROTECTED, "1").status().unwrap().success());
}

/// In a network namespace of the test's own, since it is changed.
fn a_shared_network() {
    if std::env::var_os(KEEPER).is_none() {
        let file = std::env::args().next().unwrap();
        let mut again = Command::new("unshare");
        again.args(["--net", &file]).args(std::env::args().skip(1)).env(KEEPER, "1");
        assert!(again.status().unwrap().success());
        return;
    }
    let sandbox = Sandbox::new();
    let script = "readlink /proc/self/ns/net; ip addr show lo | grep -c 127.0.0.1; ls /sys/class/net | grep -c lo";
    let cage = sandbox.cage(container(&["sh", "-c", script])).in_network(NetworkNamespace::OfMachine);
    let output = collect(cage.start().unwrap().finish().unwrap());
    let own = fs::read_link("/proc/self/ns/net").unwrap();
    assert_eq!(output.ok(), format!("{}\n1\n1\n", own.display()));
    cage.destroy().unwrap();
}

/// As `docker start` does it: over the same directories, by another keeper.
fn what_it_wrote_is_there_again() {
    let sandbox = Sandbox::new();
    let start = |script: &str, change: &dyn Fn(&mut casemate_model::Container)| {
        let mut c = container(&["sh", "-c", script]);
        change(&mut c);
        sandbox.run(c).unwrap()
    };
    let first = "echo one > /tmp/kept; rm /etc/passwd; mkdir /new; echo added >> /etc/hosts; echo x > /dev/shm/x";
    start(first, &|_| {}).ok();
    let again = "cat /tmp/kept /etc/hosts; ls /new /etc; ls /dev/shm | wc -l; echo two > /tmp/kept";
    let output = start(again, &|c| c.etc.hosts = "127.0.0.1\tanother\n".to_owned());
    assert_eq!(output.ok(), "one\n127.0.0.1\tanother\n/etc:\ngroup\nhostname\nhosts\nresolv.conf\n\n/new:\n0\n");
    // Killed in the middle of something, and then read-only.
    let mut running = Running::start(&sandbox, container(&["sh", "-c", "echo three > /tmp/kept; echo up; sleep 1000"]));
    crate::image::read_until(&running.stdout, "up");
    running.init.signal(Signal::KILL).unwrap();
    running.init.wait().unwrap();
    running.cage.destroy().unwrap();
    let output = start("cat /tmp/kept; touch /x 2>&1", &|c| c.read_only = true);
    assert!(output.stdout.starts_with("three\n") && output.stdout.contains("Read-only"), "{output:?}");
    // What an image's directory is replaced by stays too.
    let tmpfs = casemate_model::Tmpfs::new("/new", "").unwrap();
    let output = start("touch /new/lost; ls /new", &|c| c.tmpfs = vec![tmpfs.clone()]);
    assert_eq!(output.ok(), "lost\n");
    assert_eq!(start("ls /new", &|_| {}).ok(), "");
}

fn fifty_in_a_row() {
    let sandbox = Sandbox::new();
    let open = || fs::read_dir("/proc/self/fd").unwrap().count();
    let before = open();
    for index in 0..50 {
        let place = sandbox.place();
        let cage = Cage::create(container(&["true"]), place).unwrap();
        let mut child = cage.start().unwrap().finish().unwrap();
        assert_eq!(child.wait().unwrap(), ExitStatus::Code(0), "{index}");
        cage.destroy().unwrap();
    }
    assert_eq!(open(), before);
}
