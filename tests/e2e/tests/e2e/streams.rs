//! Standard input, output and error: separate, streaming, byte for byte.

use casemate_e2e::archive::sha256;
use casemate_e2e::both_modes;
use rand::{RngCore, SeedableRng};

both_modes! {
    fn output_and_error_are_separate(engine: &Engine) {
        let finished = engine.script(&[], "echo to-out; echo to-err >&2; echo to-out-again").ok();
        assert_eq!(finished.out(), "to-out\nto-out-again\n");
        assert_eq!(finished.err(), "to-err\n");
    }

    /// The first line is there while the command waits for its input.
    fn output_comes_while_the_command_runs(engine: &Engine) {
        let script = "echo first; echo first-error >&2; read line; echo \"second $line\"";
        let mut running = engine.spawn_run(&["--rm", "-i", "busybox", "sh", "-c", script]);
        running.stdout.wait_for("first\n");
        running.stderr.wait_for("first-error\n");
        assert!(!running.has_ended());
        running.write(b"answer\n");
        running.wait().ok().prints("first\nsecond answer\n");
    }

    /// A prompt has no line's end.
    fn output_is_not_held_until_a_line_is_whole(engine: &Engine) {
        let mut running = engine.spawn_run(&["--rm", "-i", "busybox", "sh", "-c", "printf 'name? '; read name; echo $name"]);
        running.stdout.wait_for("name? ");
        running.write(b"casemate\n");
        running.wait().ok().prints("name? casemate\n");
    }

    fn input_reaches_its_end(engine: &Engine) {
        let mut running = engine.spawn_run(&["--rm", "-i", "busybox", "wc", "-c"]);
        running.feed(b"twelve bytes".to_vec());
        running.wait().ok().prints("12\n");
    }

    fn without_interactive_there_is_no_input(engine: &Engine) {
        let mut running = engine.spawn_run(&["--rm", "busybox", "cat"]);
        running.feed(b"nobody reads this".to_vec());
        running.wait().ok().prints("");
    }

    fn megabytes_pass_byte_for_byte(engine: &Engine) {
        let mut bytes = vec![0; 8 << 20];
        rand::rngs::StdRng::seed_from_u64(8).fill_bytes(&mut bytes);
        let mut running = engine.spawn_run(&["--rm", "-i", "busybox", "cat"]);
        running.feed(bytes.clone());
        let finished = running.wait().ok();
        assert_eq!((finished.stdout.len(), sha256(&finished.stdout)), (bytes.len(), sha256(&bytes)));

        // And through an exec, with both ends' own digests.
        engine.start("pipe", &[]);
        let mut running = engine.spawn(&["exec", "-i", "pipe", "sh", "-c", "tee /copy; sha256sum /copy >&2"]);
        running.feed(bytes.clone());
        let finished = running.wait().ok();
        assert_eq!(sha256(&finished.stdout), sha256(&bytes));
        assert_eq!(finished.err(), format!("{}  /copy\n", sha256(&bytes)));
    }

    /// All of what a command wrote comes, however fast it ends.
    fn nothing_is_lost_at_the_end(engine: &Engine) {
        let finished = engine.script(&[], "seq 1 60000; seq 1 60000 >&2").ok();
        let numbers: String = (1..=60000).map(|number| format!("{number}\n")).collect();
        assert!(finished.out() == numbers && finished.err() == numbers, "{finished:?}");
    }

    /// A reader that goes away ends the command that writes for it, and
    /// nothing else.
    fn a_reader_that_goes_away_is_no_trouble(engine: &Engine) {
        let mut running = engine.spawn_run(&["--name", "spring", "-i", "busybox", "sh", "-c", "yes | head -n 100000; read x; exit 5"]);
        running.stdout.wait_for("y\n");
        running.write(b"go\n");
        running.wait().exits(5);
    }
}
