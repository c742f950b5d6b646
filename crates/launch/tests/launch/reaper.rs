//! The program that goes before a container's command.

use std::path::{Path, PathBuf};
use std::process::Command;

use casemate_model::{Classify, Container, ErrorClass, ExitStatus, Signal, TerminalSize};

use crate::harness::Test;
use crate::image::{Output, Running, Sandbox, collect, container, process, read_until};

pub(crate) const TESTS: &[Test] = &[
    ("reaper::it_is_the_first_process", it_is_the_first_process),
    ("reaper::exit_codes_are_the_commands", exit_codes_are_the_commands),
    ("reaper::commands_that_cannot_be_executed", commands_that_cannot_be_executed),
    ("reaper::orphans_are_collected", orphans_are_collected),
    ("reaper::signals_reach_the_command", signals_reach_the_command),
    ("reaper::the_terminal_is_the_commands", the_terminal_is_the_commands),
    ("reaper::it_cannot_be_written", it_cannot_be_written),
    ("reaper::none_of_it_is_there_without", none_of_it_is_there_without),
    ("reaper::it_has_to_be_there", it_has_to_be_there),
];

/// Builds the program as it is shipped.
fn program() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../init/Cargo.toml");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("init");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--release", "--locked", "--offline", "--quiet", "--manifest-path"])
        .arg(manifest)
        .arg("--target-dir")
        .arg(&target)
        .status()
        .unwrap();
    assert!(built.success());
    target.join("release/docker-init")
}

fn sandbox() -> Sandbox {
    Sandbox { reaper: Some(program()), ..Sandbox::new() }
}

fn with_init(args: &[&str]) -> Container {
    Container { reaper: true, ..container(args) }
}

fn sh(sandbox: &Sandbox, script: &str) -> Output {
    sandbox.run(with_init(&["sh", "-c", script])).unwrap()
}

fn it_is_the_first_process() {
    let sandbox = sandbox();
    let script = "busybox tr '\\0' ' ' < /proc/1/cmdline; echo; ps -o pid,ppid,comm | grep -v ps; echo $1";
    let mut c = with_init(&["sh", "-c", script, "name", "last"]);
    c.init.user = "web".parse().unwrap();
    let output = sandbox.run(c).unwrap();
    let lines: Vec<&str> = output.ok().lines().collect();
    assert!(lines[0].starts_with("/sbin/docker-init -- sh -c busybox tr"), "{output:?}");
    assert!(lines.iter().any(|line| line.split_whitespace().eq(["1", "0", "docker-init"])), "{output:?}");
    assert!(lines.iter().any(|line| line.split_whitespace().skip(1).eq(["1", "sh"])), "{output:?}");
    assert_eq!(lines.last(), Some(&"last"));
}

fn exit_codes_are_the_commands() {
    let sandbox = sandbox();
    assert_eq!(sh(&sandbox, "exit 0").status, ExitStatus::Code(0));
    assert_eq!(sh(&sandbox, "exit 7").status, ExitStatus::Code(7));
    assert_eq!(sh(&sandbox, "exit 255").status, ExitStatus::Code(255));
    assert_eq!(sh(&sandbox, "kill -TERM $$").status, ExitStatus::Code(143));
    assert_eq!(sh(&sandbox, "kill -KILL $$").status, ExitStatus::Code(137));
    assert_eq!(sh(&sandbox, "echo out; echo err >&2").stdout, "out\n");
}

fn commands_that_cannot_be_executed() {
    let sandbox = sandbox();
    let fail = |command: &str| {
        let output = sandbox.run(with_init(&[command])).unwrap();
        (output.status.code(), output.stderr)
    };
    let text = |command: &str, why: &str| format!("docker-init: exec {command} failed: {why}\n");
    assert_eq!(fail("nope"), (127, text("nope", "No such file or directory")));
    assert_eq!(fail("/nope"), (127, text("/nope", "No such file or directory")));
    assert_eq!(fail("/etc/passwd"), (126, text("/etc/passwd", "Permission denied")));
}

/// A process whose parent has gone becomes the first one's child.
fn orphans_are_collected() {
    let sandbox = sandbox();
    let script = "for i in 1 2 3 4 5; do sh -c 'sleep 0.01 & :'; done; \
        until [ $(ps -o comm | grep -c sleep) = 0 ]; do :; done; ps -o stat,comm | grep -c '^Z'";
    assert_eq!(sh(&sandbox, script).stdout, "0\n");
}

fn signals_reach_the_command() {
    let sandbox = sandbox();
    let script =
        "trap 'echo usr; exit 9' USR1; trap 'echo hup' HUP; echo ready; while :; do sleep 1000 & wait $!; done";
    let mut running = Running::start(&sandbox, with_init(&["sh", "-c", script]));
    read_until(&running.stdout, "ready");
    running.init.signal(Signal::HUP).unwrap();
    read_until(&running.stdout, "hup");
    running.init.signal("USR1".parse().unwrap()).unwrap();
    read_until(&running.stdout, "usr");
    assert_eq!(running.init.wait().unwrap(), ExitStatus::Code(9));
    running.cage.destroy().unwrap();
    // Without a handler the command dies of it, though the first process of a
    // pid namespace would not.
    let mut running = Running::start(&sandbox, with_init(&["sleep", "1000"]));
    while running.cage.processes().unwrap().iter().all(|entry| entry.name != "sleep") {
        std::thread::yield_now();
    }
    running.init.signal(Signal::TERM).unwrap();
    assert_eq!(running.init.wait().unwrap(), ExitStatus::Code(143));
    running.cage.destroy().unwrap();
}

fn the_terminal_is_the_commands() {
    let sandbox = sandbox();
    let mut c =
        with_init(&["sh", "-c", "trap 'echo interrupted; exit 3' INT; tty; while :; do sleep 1000 & wait; done"]);
    c.init.terminal = Some(TerminalSize { rows: 24, columns: 80 });
    let cage = sandbox.cage(c);
    let mut child = cage.start().unwrap().finish().unwrap();
    let Some(casemate_launch::Stdio::Terminal(terminal)) = child.take_io() else { panic!("no terminal") };
    read_until(&terminal, "/dev/pts/0");
    rustix::io::write(&terminal, b"\x03").unwrap();
    read_until(&terminal, "interrupted");
    assert_eq!(child.wait().unwrap(), ExitStatus::Code(3));
    cage.destroy().unwrap();
}

fn it_cannot_be_written() {
    let sandbox = sandbox();
    let before = std::fs::read(program()).unwrap();
    let script = "echo x > /sbin/docker-init; rm /sbin/docker-init; echo x > /proc/1/exe; stat -c %a /sbin/docker-init";
    let output = sh(&sandbox, script);
    assert!(output.stderr.contains("Read-only file system") && output.stdout == "755\n", "{output:?}");
    assert_eq!(std::fs::read(program()).unwrap(), before);
    // Also in a root that cannot be written.
    let c = Container { read_only: true, ..with_init(&["sh", "-c", "exit 4"]) };
    assert_eq!(sandbox.run(c).unwrap().status, ExitStatus::Code(4));
}

fn none_of_it_is_there_without() {
    let sandbox = sandbox();
    assert_eq!(sandbox.sh("test -e /sbin/docker-init || echo none; echo $$").ok(), "none\n1\n");
    let cage = sandbox.cage(with_init(&["sh", "-c", "sleep 1000 & wait"]));
    let init = cage.start().unwrap().finish().unwrap();
    // An exec has none before it.
    let exec = cage.exec(&process(&["grep", "PPid", "/proc/self/status"])).unwrap().finish().unwrap();
    assert_eq!(collect(exec).ok(), "PPid:\t0\n");
    cage.kill_all().unwrap();
    drop(init);
    cage.destroy().unwrap();
}

fn it_has_to_be_there() {
    let error = Sandbox::new().run(with_init(&["true"])).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Internal);
    let nowhere = Sandbox { reaper: Some("/no/such/init".into()), ..Sandbox::new() };
    assert_eq!(nowhere.run(with_init(&["true"])).unwrap_err().to_string(), "cannot open /no/such/init");
}
