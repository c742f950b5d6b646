//! `-t`: a real terminal, from the user's keys to the container's processes.

use casemate_e2e::terminal::Terminal;
use casemate_e2e::{Docker, conforming};
use serde_json::json;

fn run(docker: &Docker, args: &[&str], rows: u16, columns: u16) -> Terminal {
    Terminal::start(docker.command(&docker.run_args(args)), rows, columns)
}

/// Says its size now and whenever it changes.
const SIZES: &str = "trap 'stty size' WINCH; stty size; sleep 100000 & while :; do wait $!; done";

conforming! {
    fn has_the_users_size_and_follows_it(docker: &Docker) {
        let terminal = run(docker, &["--rm", "-it", "--name", "sized", "busybox", "sh", "-c", SIZES], 33, 101);
        // The client sets the size after the start.
        terminal.screen.wait_for("33 101\r\n");
        terminal.resize_until_shown(40, 132);
        docker.cli(&["kill", "sized"]).ok();
        assert_eq!(terminal.wait(), 137);
    }

    fn keys_go_to_the_foreground(docker: &Docker) {
        let terminal = run(docker, &["--rm", "-it", "busybox", "sh"], 24, 80);
        let before = terminal.modes_before.clone();
        terminal.press(b"echo $((40 + 2)) here\n");
        terminal.screen.wait_for("42 here\r\n");
        // Said by what is in the foreground by then.
        terminal.press(b"sh -c 'echo $((1 + 1)) go; sleep 100000'\n");
        terminal.screen.wait_for("2 go\r\n");
        terminal.press(b"\x03");
        terminal.press(b"echo still $((3 + 4)); test -t 0 && test -t 1 && test -t 2 && echo a ''terminal\n");
        terminal.screen.wait_for("still 7\r\na terminal\r\n");
        terminal.press(b"exit 3\n");
        let (modes, code) = terminal.modes_after_end();
        assert_eq!(code, 3);
        assert!(modes == before, "the user's terminal is not as it was");
    }

    fn detach_keys_leave_it_and_attach_comes_back(docker: &Docker) {
        let terminal = run(docker, &["-it", "--name", "left", "busybox", "sh"], 24, 80);
        terminal.press(b"echo $((40 + 2))\n");
        terminal.screen.wait_for("42\r\n");
        terminal.press(b"\x10\x11");
        assert_eq!(terminal.wait(), 0);
        assert_eq!(docker.state("left")["Status"], json!("running"));

        let again = Terminal::start(docker.command(&["attach", "--detach-keys", "ctrl-a,x", "left"]), 24, 80);
        again.press(b"echo $((50 + 5))\n");
        again.screen.wait_for("55\r\n");
        again.press(b"\x01x");
        // The client's own doing: leaving an `attach` by its keys is an error to it.
        assert_eq!(again.wait(), 1);
        assert_eq!(docker.state("left")["Status"], json!("running"));

        let last = Terminal::start(docker.command(&["attach", "left"]), 24, 80);
        last.press(b"exit 9\n");
        assert_eq!(last.wait(), 9);
    }

    fn started_again_with_its_terminal(docker: &Docker) {
        docker.create(&["-it", "--name", "again", "busybox", "sh"]);
        for word in ["first", "second"] {
            let terminal = Terminal::start(docker.command(&["start", "-ai", "again"]), 24, 80);
            terminal.press(format!("echo ''{word}; exit 5\n").as_bytes());
            terminal.screen.wait_for(&format!("{word}\r\n"));
            assert_eq!(terminal.wait(), 5);
        }
    }

    fn an_exec_has_its_own(docker: &Docker) {
        docker.start("host", &[]);
        let terminal = Terminal::start(docker.command(&["exec", "-it", "host", "sh", "-c", SIZES]), 30, 90);
        terminal.screen.wait_for("30 90\r\n");
        terminal.resize_until_shown(31, 91);
        terminal.press(b"\x10\x11");
        terminal.screen.wait_for("read escape sequence");
        drop(terminal);
        let terminal = Terminal::start(docker.command(&["exec", "-it", "host", "sh", "-c", "tty; exit 8"]), 24, 80);
        terminal.screen.wait_for("/dev/pts/");
        assert_eq!(terminal.wait(), 8);
    }

    /// A terminal for the container, none of the user's: the output is one
    /// stream, with the terminal's ends of lines.
    fn without_one_of_the_users(docker: &Docker) {
        let finished = docker.run(&["--rm", "-t", "busybox", "sh", "-c", "echo out; echo err >&2"]).ok();
        assert_eq!((finished.out().as_str(), finished.err().as_str()), ("out\r\nerr\r\n", ""));
    }
}
