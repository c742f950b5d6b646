//! Processes on a terminal.

use std::os::fd::OwnedFd;

use casemate_launch::{Child, Stdio, resize};
use casemate_model::{ExitStatus, TerminalSize};

use crate::harness::Test;
use crate::image::{Running, Sandbox, container, process, read_until};

pub(crate) const TESTS: &[Test] = &[
    ("terminal::the_init_has_one", the_init_has_one),
    ("terminal::it_resizes_and_interrupts", it_resizes_and_interrupts),
    ("terminal::an_exec_has_its_own", an_exec_has_its_own),
    ("terminal::it_is_the_users", it_is_the_users),
];

const SIZE: TerminalSize = TerminalSize { rows: 31, columns: 97 };

fn master(child: &mut Child) -> OwnedFd {
    match child.take_io() {
        Some(Stdio::Terminal(master)) => master,
        other => panic!("no terminal but {other:?}"),
    }
}

fn the_init_has_one() {
    let sandbox = Sandbox::new();
    let script = "tty; stty size; stat -c '%t:%T %F' /dev/console; test -t 2 && echo on three; \
        echo via tty > /dev/tty; cat /proc/self/stat | cut -d' ' -f5-7; read line; echo got $line";
    let mut c = container(&["sh", "-c", &script.replace("cut", "busybox cut")]);
    c.init.terminal = Some(SIZE);
    let cage = sandbox.cage(c);
    let mut child = cage.start().unwrap().finish().unwrap();
    let terminal = master(&mut child);
    let text = read_until(&terminal, "\r\n1 1 34816");
    assert!(
        text.starts_with("/dev/pts/0\r\n31 97\r\n88:0 character special file\r\non three\r\nvia tty\r\n"),
        "{text:?}"
    );
    rustix::io::write(&terminal, b"typed\n").unwrap();
    read_until(&terminal, "got typed\r\n");
    assert_eq!(child.wait().unwrap(), ExitStatus::Code(0));
    cage.destroy().unwrap();
}

fn it_resizes_and_interrupts() {
    let sandbox = Sandbox::new();
    let script =
        "trap 'stty size' WINCH; trap 'echo interrupted; exit 9' INT; echo ready; while :; do sleep 1000 & wait; done";
    let mut c = container(&["sh", "-c", script]);
    c.init.terminal = Some(SIZE);
    let cage = sandbox.cage(c);
    let mut child = cage.start().unwrap().finish().unwrap();
    let terminal = master(&mut child);
    read_until(&terminal, "ready");
    resize(&terminal, TerminalSize { rows: 10, columns: 20 }).unwrap();
    read_until(&terminal, "10 20");
    rustix::io::write(&terminal, b"\x03").unwrap();
    read_until(&terminal, "interrupted");
    assert_eq!(child.wait().unwrap(), ExitStatus::Code(9));
    cage.destroy().unwrap();
}

fn an_exec_has_its_own() {
    let sandbox = Sandbox::new();
    let running = Running::idle(&sandbox);
    let start = || {
        let mut p = process(&["sh", "-c", "tty; stty size; read x"]);
        p.terminal = Some(SIZE);
        let mut child = running.cage.exec(&p).unwrap().finish().unwrap();
        let terminal = master(&mut child);
        (child, terminal)
    };
    let (mut first, first_terminal) = start();
    let (mut second, second_terminal) = start();
    assert_eq!(read_until(&first_terminal, "97\r\n"), "/dev/pts/0\r\n31 97\r\n");
    assert_eq!(read_until(&second_terminal, "97\r\n"), "/dev/pts/1\r\n31 97\r\n");
    // The shells may have a child each.
    let entries = running.cage.processes().unwrap();
    let shells = entries.iter().filter(|p| p.ppid == std::process::id());
    assert_eq!(shells.map(|p| p.tty).collect::<Vec<_>>(), [None, Some(0), Some(1)]);
    // Hanging up ends them.
    drop(first_terminal);
    rustix::io::write(&second_terminal, b"\n").unwrap();
    assert_eq!(first.wait().unwrap().code(), 129);
    assert_eq!(second.wait().unwrap(), ExitStatus::Code(0));
    running.end();
}

fn it_is_the_users() {
    let sandbox = Sandbox::new();
    let mut c = container(&["sh", "-c", "echo again > $(tty); stat -c '%u %g %a' $(tty)"]);
    c.init.terminal = Some(SIZE);
    c.init.user = "web".parse().unwrap();
    let cage = sandbox.cage(c);
    let mut child = cage.start().unwrap().finish().unwrap();
    let terminal = master(&mut child);
    assert_eq!(read_until(&terminal, "620"), "again\r\n33 5 620\r\n".trim_end_matches("\r\n").to_owned() + "\r\n");
    assert_eq!(child.wait().unwrap(), ExitStatus::Code(0));
    cage.destroy().unwrap();
}
