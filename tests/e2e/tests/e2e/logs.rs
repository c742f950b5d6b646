//! `logs`: what a container wrote, while it runs and after.

use casemate_e2e::both_modes;

both_modes! {
    fn tell_both_streams_apart(engine: &Engine) {
        engine.run(&["--name", "said", "busybox", "sh", "-c", "echo one; echo two >&2; echo three; printf four"]).ok();
        let logs = engine.cli(&["logs", "said"]).ok();
        assert_eq!((logs.out().as_str(), logs.err().as_str()), ("one\nthree\nfour", "two\n"));
    }

    fn show_the_end_and_the_time(engine: &Engine) {
        engine.run(&["--name", "counted", "busybox", "seq", "1", "20"]).ok();
        engine.cli(&["logs", "--tail", "3", "counted"]).ok().prints("18\n19\n20\n");
        engine.cli(&["logs", "-n", "0", "counted"]).ok().prints("");
        let stamped = engine.cli(&["logs", "-t", "-n", "1", "counted"]).ok().out();
        let (time, line) = stamped.split_once(' ').unwrap();
        assert!(time.starts_with("20") && time.ends_with('Z') && time.contains('T'), "{stamped}");
        assert_eq!(line, "20\n");
        engine.cli(&["logs", "nobody"]).exits(1).complains("No such container: nobody");
    }

    /// Everything, from the beginning, as it comes, until the container ends.
    fn follow_a_running_container(engine: &Engine) {
        let script = "echo before; while read line; do echo \"got $line\"; done; echo over";
        let mut running = engine.spawn_run(&["--name", "told", "-i", "busybox", "sh", "-c", script]);
        running.stdout.wait_for("before\n");
        let follower = engine.spawn(&["logs", "-f", "told"]);
        follower.stdout.wait_for("before\n");
        for word in ["a", "b", "c"] {
            running.write(format!("{word}\n").as_bytes());
            follower.stdout.wait_for(&format!("got {word}\n"));
        }
        running.close_stdin();
        running.wait().ok();
        follower.wait().ok().prints("before\ngot a\ngot b\ngot c\nover\n");
    }

    /// Nobody was attached, and nothing is lost.
    fn are_kept_of_a_container_in_the_background(engine: &Engine) {
        engine.run(&["-d", "--name", "alone", "busybox", "seq", "1", "5000"]).ok();
        engine.container("alone").until("exited");
        let expected: String = (1..=5000).map(|number| format!("{number}\n")).collect();
        let logs = engine.cli(&["logs", "alone"]).ok();
        assert!(logs.out() == expected, "{logs:?}");
    }
}
