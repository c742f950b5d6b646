//! Signals: from the user's command to the container, by `kill` and by `stop`.

use std::time::{Duration, Instant};

use casemate_e2e::both_modes;
use rustix::process::Signal;
use serde_json::json;

/// A shell that says which signal came and ends with this code; it waits so
/// that a trap runs at once.
fn trap(signal: &str, code: u8) -> String {
    format!("trap 'echo got {signal}; exit {code}' {signal}; echo ready; sleep 100000 & wait $!")
}

both_modes! {
    fn reach_the_container_through_the_command(engine: &Engine) {
        for (signal, name, code) in [(Signal::TERM, "TERM", 41), (Signal::INT, "INT", 42), (Signal::HUP, "HUP", 43)] {
            let running = engine.spawn_run(&["--rm", "busybox", "sh", "-c", &trap(name, code)]);
            running.stdout.wait_for("ready\n");
            running.signal(signal);
            running.wait().exits(code.into()).prints(&format!("ready\ngot {name}\n"));
        }
    }

    /// One that does not heed them keeps nobody: the third ends the command, as Docker's.
    fn end_the_command_when_nothing_else_does(engine: &Engine) {
        let heedless = "trap 'echo first' TERM; trap 'echo second' INT; echo ready; while :; do sleep 1000 & wait $!; done";
        let running = engine.spawn_run(&["--name", "heedless", "busybox", "sh", "-c", heedless]);
        for (said, signal) in [("ready\n", Signal::TERM), ("first\n", Signal::INT), ("second\n", Signal::TERM)] {
            running.stdout.wait_for(said);
            running.signal(signal);
        }
        running.wait().exits(1).complains("got 3 SIGTERM/SIGINTs, forcefully exiting");
        assert_eq!(engine.container("heedless").state()["Status"], "running");
    }

    /// As in Docker: they are the command's own, and the process goes on.
    fn end_the_command_of_an_exec_only(engine: &Engine) {
        let container = engine.start("host", &[]);
        let running = engine.spawn(&["exec", "host", "sh", "-c", "echo ready; exec tail -f /dev/null"]);
        running.stdout.wait_for("ready\n");
        running.signal(Signal::TERM);
        running.wait().exits(143);
        container.exec(&["pidof", "tail"]).ok();
    }

    fn kill_sends_any_signal(engine: &Engine) {
        let script = "trap 'echo got USR1' USR1; trap 'echo bye; exit 9' QUIT; echo ready; sleep 100000 & while :; do wait $!; done";
        let running = engine.spawn_run(&["--name", "target", "busybox", "sh", "-c", script]);
        running.stdout.wait_for("ready\n");
        engine.cli(&["kill", "-s", "USR1", "target"]).ok().prints("target\n");
        running.stdout.wait_for_count("got USR1\n", 1);
        engine.cli(&["kill", "--signal", "10", "target"]).ok();
        running.stdout.wait_for_count("got USR1\n", 2);
        engine.cli(&["kill", "-s", "SIGQUIT", "target"]).ok();
        running.wait().exits(9).prints("ready\ngot USR1\ngot USR1\nbye\n");
    }

    fn kill_ends_it(engine: &Engine) {
        let running = engine.spawn_run(&["--name", "target", "busybox", "sh", "-c", "echo ready; sleep 100000"]);
        running.stdout.wait_for("ready\n");
        engine.cli(&["kill", "target"]).ok().prints("target\n");
        running.wait().exits(137);
        let state = engine.container("target").state();
        assert_eq!((&state["Status"], &state["ExitCode"]), (&json!("exited"), &json!(137)), "{state}");
        assert_eq!(state["OOMKilled"], false);
        engine.cli(&["kill", "target"]).exits(1).complains("cannot kill container: target").complains("is not running");
        engine.cli(&["kill", "nobody"]).exits(1).complains("No such container: nobody");
    }

    fn stop_asks_first(engine: &Engine) {
        let running = engine.spawn_run(&["--name", "polite", "busybox", "sh", "-c", &trap("TERM", 45)]);
        running.stdout.wait_for("ready\n");
        engine.cli(&["stop", "polite"]).ok().prints("polite\n");
        running.wait().exits(45).prints("ready\ngot TERM\n");
        // Stopping what stands still is no error.
        engine.cli(&["stop", "polite"]).ok().prints("polite\n");
    }

    /// An init without a handler does not hear SIGTERM.
    fn stop_kills_when_its_time_is_up(engine: &Engine) {
        let running = engine.spawn_run(&["--name", "deaf", "busybox", "sh", "-c", "echo ready; sleep 100000"]);
        running.stdout.wait_for("ready\n");
        let from = Instant::now();
        engine.cli(&["stop", "--timeout", "1", "deaf"]).ok();
        let took = from.elapsed();
        running.wait().exits(137);
        assert!((Duration::from_secs(1)..Duration::from_secs(8)).contains(&took), "it took {took:?}");
    }

    fn stop_sends_what_the_container_asks_for(engine: &Engine) {
        let args = ["--name", "own", "--stop-signal", "USR2", "busybox", "sh", "-c", &trap("USR2", 46)];
        let running = engine.spawn_run(&args);
        running.stdout.wait_for("ready\n");
        engine.cli(&["stop", "own"]).ok();
        running.wait().exits(46);
        assert_eq!(engine.container("own").inspect()["Config"]["StopSignal"], "SIGUSR2");
    }
}
