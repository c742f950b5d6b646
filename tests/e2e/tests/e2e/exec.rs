//! `exec` in a running container.

use casemate_e2e::{Spawned, both_modes};
use serde_json::json;

both_modes! {
    fn runs_beside_the_container(engine: &Engine) {
        let container = engine.start("host", &[]);
        container.exec(&["sh", "-c", "echo out; echo err >&2; exit 7"]).exits(7).prints("out\n").complains("err\n");
        // The container's init is pid 1 for it too.
        let init = container.exec(&["cat", "/proc/1/cmdline"]).ok().out();
        assert_eq!(init, "sleep\x00100000\x00");
        // What one writes the next one reads.
        container.exec(&["sh", "-c", "echo kept > /file"]).ok();
        container.exec(&["cat", "/file"]).ok().prints("kept\n");
        assert_eq!(container.state()["Status"], json!("running"));
    }

    fn takes_its_own_environment_directory_and_user(engine: &Engine) {
        let container = engine.start("host", &["-e", "OF_RUN=1", "-e", "CHANGED=before", "-w", "/tmp"]);
        container.exec(&["sh", "-c", "echo $OF_RUN $CHANGED $PWD $(id -u)"]).ok().prints("1 before /tmp 0\n");
        let args = ["exec", "-e", "CHANGED=after", "-e", "OWN=2", "-w", "/etc", "-u", "1234:56", "host"];
        let script = ["sh", "-c", "echo $OF_RUN $CHANGED $OWN $PWD $(id -u) $(id -g)"];
        engine.cli(&[&args[..], &script[..]].concat()).ok().prints("1 after 2 /etc 1234 56\n");
    }

    fn several_at_once(engine: &Engine) {
        engine.start("host", &[]);
        let mut running: Vec<Spawned> =
            (0..6).map(|_| engine.spawn(&["exec", "-i", "host", "sh", "-c", "echo ready; cat"])).collect();
        for exec in &running {
            exec.stdout.wait_for("ready\n");
        }
        for (number, exec) in running.iter_mut().enumerate() {
            exec.feed(format!("for {number}\n").into_bytes());
        }
        for (number, exec) in running.into_iter().enumerate() {
            exec.wait().ok().prints(&format!("ready\nfor {number}\n"));
        }
    }

    fn that_cannot_start_has_dockers_codes(engine: &Engine) {
        let container = engine.start("host", &[]);
        container.exec(&["no-such-command"]).exits(127).says("executable file not found in $PATH");
        container.exec(&["/etc/hosts"]).exits(126).says("permission denied");
        engine.cli(&["exec", "-w", "/no/such/dir", "host", "true"]).exits(127).says("/no/such/dir");
        // None of this harmed the container.
        container.exec(&["echo", "alive"]).ok().prints("alive\n");
    }

    fn needs_a_running_container(engine: &Engine) {
        engine.cli(&["exec", "nobody", "true"]).exits(1).complains("No such container: nobody");
        engine.run(&["--name", "over", "busybox", "true"]).ok();
        engine.cli(&["exec", "over", "true"]).exits(1).complains("is not running");
    }

    /// Its processes end with the container, and its client is told.
    fn ends_with_its_container(engine: &Engine) {
        engine.start("host", &[]);
        let exec = engine.spawn(&["exec", "host", "sh", "-c", "echo ready; sleep 100000"]);
        exec.stdout.wait_for("ready\n");
        engine.cli(&["kill", "host"]).ok();
        let finished = exec.wait();
        assert_ne!(finished.code, 0, "{finished:?}");
    }
}
