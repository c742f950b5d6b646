//! Standard input, output and error over a hijacked connection: separate,
//! streaming, byte for byte, with their ends.

use casemate_e2e::archive::sha256;
use casemate_e2e::conforming;
use rand::{RngCore, SeedableRng};

conforming! {
    fn output_and_error_are_separate(docker: &Docker) {
        let finished = docker.run(&["--rm", "busybox", "sh", "-c", "echo out; echo err >&2; echo again"]).ok();
        assert_eq!((finished.out().as_str(), finished.err().as_str()), ("out\nagain\n", "err\n"));
    }

    fn output_comes_while_the_command_runs(docker: &Docker) {
        let script = "printf 'name? '; read name; echo \"hello $name\"; read more; echo \"and $more\"";
        let mut running = docker.spawn_run(&["--rm", "-i", "busybox", "sh", "-c", script]);
        running.stdout.wait_for("name? ");
        running.write(b"casemate\n");
        running.stdout.wait_for("hello casemate\n");
        running.write(b"more\n");
        running.wait().ok().prints("name? hello casemate\nand more\n");
    }

    /// The end of the input is no end of the connection.
    fn input_ends_and_output_goes_on(docker: &Docker) {
        let mut running = docker.spawn_run(&["--rm", "-i", "busybox", "sh", "-c", "wc -c; sleep 0.3; echo after; exit 4"]);
        running.feed(b"twelve bytes".to_vec());
        running.wait().exits(4).prints("12\nafter\n");
    }

    fn without_interactive_there_is_no_input(docker: &Docker) {
        let mut running = docker.spawn_run(&["--rm", "busybox", "cat"]);
        running.feed(b"nobody reads this".to_vec());
        running.wait().ok().prints("");
    }

    fn megabytes_pass_both_ways_byte_for_byte(docker: &Docker) {
        let mut bytes = vec![0; 8 << 20];
        rand::rngs::StdRng::seed_from_u64(8).fill_bytes(&mut bytes);
        let digest = sha256(&bytes);
        let mut running = docker.spawn_run(&["--name", "pipe", "-i", "busybox", "sh", "-c", "tee /copy; sha256sum /copy >&2; sleep 100000"]);
        running.feed(bytes.clone());
        running.stderr.wait_for(&format!("{digest}  /copy\n"));
        let mut through = docker.spawn(&["exec", "-i", "pipe", "cat"]);
        through.feed(bytes);
        assert_eq!(sha256(&through.wait().ok().stdout), digest);
        docker.cli(&["kill", "pipe"]).ok();
        assert_eq!(sha256(&running.wait().exits(137).stdout), digest);
    }

    /// All of what a command wrote comes, however fast it ends.
    fn nothing_is_lost_at_the_end(docker: &Docker) {
        let finished = docker.run(&["--rm", "busybox", "sh", "-c", "seq 1 40000; seq 1 40000 >&2"]).ok();
        let numbers: String = (1..=40000).map(|number| format!("{number}\n")).collect();
        assert!(finished.out() == numbers && finished.err() == numbers, "{finished:?}");
    }

    /// A client that is gone takes nothing with it.
    fn a_client_that_goes_away_leaves_the_container_alone(docker: &Docker) {
        let script = "while read line; do echo \"got $line\"; done; sleep 100000";
        let mut running = docker.spawn_run(&["--name", "alone", "-i", "busybox", "sh", "-c", script]);
        running.write(b"one\n");
        running.stdout.wait_for("got one\n");
        drop(running);
        docker.cli(&["exec", "alone", "echo", "alive"]).ok().prints("alive\n");
        docker.cli(&["logs", "alone"]).ok().prints("got one\n");
    }
}
