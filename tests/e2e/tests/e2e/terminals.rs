//! `-t`: a real terminal, from the user's keys to the container's processes.

use casemate_e2e::terminal::Terminal;
use casemate_e2e::{Engine, both_modes};
use serde_json::json;

fn run(engine: &Engine, args: &[&str], rows: u16, columns: u16) -> Terminal {
    Terminal::start(engine.command(&engine.run_args(args)), rows, columns)
}

/// Says its size now and whenever it changes.
const SIZES: &str = "trap 'stty size' WINCH; stty size; sleep 100000 & while :; do wait $!; done";

both_modes! {
    fn is_a_terminal_of_the_users_size(engine: &Engine) {
        let script = "tty; stty size; test -t 0 && test -t 1 && test -t 2 && echo all; echo $TERM";
        let terminal = run(engine, &["--rm", "-it", "busybox", "sh", "-c", script], 33, 101);
        terminal.screen.wait_for("/dev/pts/0\r\n33 101\r\nall\r\nxterm\r\n");
        assert_eq!(terminal.wait(), 0);
    }

    fn resizes_with_the_users(engine: &Engine) {
        let terminal = run(engine, &["--rm", "-it", "--name", "sized", "busybox", "sh", "-c", SIZES], 24, 80);
        terminal.screen.wait_for("24 80\r\n");
        terminal.resize(40, 132);
        terminal.screen.wait_for("40 132\r\n");
        terminal.resize(10, 20);
        terminal.screen.wait_for("10 20\r\n");
        engine.cli(&["kill", "sized"]).ok();
        assert_eq!(terminal.wait(), 137);
    }

    /// A shell with job control: ctrl-C ends the command, not the shell.
    fn keys_go_to_the_foreground(engine: &Engine) {
        let terminal = run(engine, &["--rm", "-it", "busybox", "sh"], 24, 80);
        terminal.press(b"echo $((40 + 2)) here\n");
        terminal.screen.wait_for("42 here\r\n");
        // Said by what is in the foreground by then.
        terminal.press(b"sh -c 'echo $((1 + 1)) go; sleep 100000'\n");
        terminal.screen.wait_for("2 go\r\n");
        terminal.press(b"\x03");
        terminal.press(b"echo still $((3 + 4))\n");
        terminal.screen.wait_for("still 7\r\n");
        // What is typed ahead is the shell's to throw away.
        terminal.press(b"sh -c 'echo $((5 + 6)) cat; cat'\n");
        terminal.screen.wait_for("11 cat\r\n");
        terminal.press(b"echoed\n");
        terminal.screen.wait_for("echoed\r\nechoed\r\n");
        terminal.press(b"\x04");
        terminal.press(b"exit 3\n");
        let screen = String::from_utf8_lossy(&terminal.screen.so_far()).into_owned();
        assert!(!screen.contains("job control turned off"), "{screen}");
        assert_eq!(terminal.wait(), 3);
    }

    fn detach_keys_leave_the_container_alone(engine: &Engine) {
        let terminal = run(engine, &["-it", "--name", "left", "busybox", "sh"], 24, 80);
        terminal.press(b"echo $((40 + 2))\n");
        terminal.screen.wait_for("42\r\n");
        terminal.press(b"\x10\x11");
        assert_eq!(terminal.wait(), 0);
        let container = engine.container("left");
        assert_eq!(container.state()["Status"], json!("running"));
        container.exec(&["echo", "alive"]).ok().prints("alive\n");
    }

    fn the_users_terminal_is_as_before(engine: &Engine) {
        let terminal = run(engine, &["--rm", "-it", "busybox", "sh", "-c", "echo ready; read line; exit 6"], 24, 80);
        let before = terminal.modes_before.clone();
        terminal.screen.wait_for("ready\r\n");
        assert!(terminal.modes() != before, "the user's terminal is not in raw mode");
        terminal.press(b"go\n");
        let modes = terminal.modes_after_end();
        assert_eq!(modes.1, 6);
        assert!(modes.0 == before, "the user's terminal is not as it was");
    }

    fn an_exec_has_its_own(engine: &Engine) {
        engine.start("host", &[]);
        let terminal = Terminal::start(engine.command(&["exec", "-it", "host", "sh", "-c", SIZES]), 30, 90);
        terminal.screen.wait_for("30 90\r\n");
        terminal.resize(31, 91);
        terminal.screen.wait_for("31 91\r\n");
        drop(terminal);
        let terminal = Terminal::start(engine.command(&["exec", "-it", "host", "sh", "-c", "tty; exit 8"]), 24, 80);
        terminal.screen.wait_for("/dev/pts/");
        assert_eq!(terminal.wait(), 8);
    }

    /// A terminal for the container, none of the user's: the output is one
    /// stream, with the terminal's ends of lines.
    fn without_one_of_the_users(engine: &Engine) {
        let finished = engine.run(&["--rm", "-t", "busybox", "sh", "-c", "echo out; echo err >&2; test -t 1 && echo terminal"]).ok();
        assert_eq!((finished.out().as_str(), finished.err().as_str()), ("out\r\nerr\r\nterminal\r\n", ""));
        let refused = engine.run(&["--rm", "-it", "busybox", "true"]);
        assert_ne!(refused.code, 0);
        refused.complains("the input device is not a TTY");
    }
}
