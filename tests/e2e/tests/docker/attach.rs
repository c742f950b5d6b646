//! `docker attach`: to what runs already, together with others.

use casemate_e2e::conforming;
use serde_json::json;

/// Answers every line, and leaves with the code of `quit`.
const ANSWERS: &str = "echo ready; while read word code; do echo \"got $word\"; [ $word != quit ] || exit $code; done";

conforming! {
    fn two_clients_see_the_same(docker: &Docker) {
        docker.run(&["-d", "-i", "--name", "shared", "busybox", "sh", "-c", ANSWERS]).ok();
        let mut first = docker.spawn(&["attach", "shared"]);
        let mut second = docker.spawn(&["attach", "--no-stdin", "shared"]);
        // Neither says that it is attached, so each word is tried until both
        // have heard.
        let mut number = 0;
        loop {
            number += 1;
            first.write(format!("word-{number}\n").as_bytes());
            let word = format!("got word-{number}\n");
            first.stdout.wait_for(&word);
            if String::from_utf8_lossy(&second.stdout.so_far()).contains("got") {
                break;
            }
            assert!(number < 10_000, "the second client hears nothing");
        }
        first.write(b"both\n");
        first.stdout.wait_for("got both\n");
        second.stdout.wait_for("got both\n");
        second.close_stdin();
        first.write(b"quit 6\n");
        first.wait().exits(6);
        second.wait().exits(6);
        let logs = docker.cli(&["logs", "shared"]).ok().out();
        assert!(logs.starts_with("ready\ngot word-1\n") && logs.ends_with("got both\ngot quit\n"), "{logs}");
    }

    fn one_that_leaves_does_not_end_the_other(docker: &Docker) {
        docker.run(&["-d", "-i", "--name", "shared", "busybox", "sh", "-c", ANSWERS]).ok();
        let mut gone = docker.spawn(&["attach", "shared"]);
        gone.write(b"first\n");
        gone.stdout.wait_for("got first\n");
        drop(gone);
        let mut next = docker.spawn(&["attach", "shared"]);
        next.write(b"second\n");
        next.stdout.wait_for("got second\n");
        next.write(b"quit 2\n");
        next.wait().exits(2);
    }

    fn started_with_a_client_attached(docker: &Docker) {
        docker.create(&["-i", "--name", "late", "busybox", "sh", "-c", ANSWERS]);
        let mut started = docker.spawn(&["start", "-ai", "late"]);
        started.stdout.wait_for("ready\n");
        started.write(b"quit 7\n");
        started.wait().exits(7).prints("ready\ngot quit\n");
        docker.cli(&["attach", "late"]).exits(1).complains("cannot attach to a stopped container, start it first");
    }

    /// The client passes a signal on that it gets.
    fn signals_are_passed_on(docker: &Docker) {
        let script = "trap 'echo got it; exit 12' USR1; echo ready; while :; do sleep 0.05; done";
        let running = docker.spawn_run(&["--name", "signalled", "busybox", "sh", "-c", script]);
        running.stdout.wait_for("ready\n");
        running.signal(rustix::process::Signal::USR1);
        running.wait().exits(12).prints("ready\ngot it\n");
        assert_eq!(docker.state("signalled")["ExitCode"], json!(12));
    }
}
