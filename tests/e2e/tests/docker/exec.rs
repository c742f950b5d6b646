//! `docker exec`: further processes in a running container.

use casemate_e2e::{PATIENCE, conforming, eventually};
use serde_json::{Value, json};

conforming! {
    fn runs_with_its_own_options(docker: &Docker) {
        docker.start("host", &["-e", "FROM=container"]);
        let script = "echo $FROM $MORE; pwd; id -u";
        docker
            .cli(&["exec", "-e", "MORE=exec", "-u", "5", "-w", "/tmp", "host", "sh", "-c", script])
            .ok()
            .prints("container exec\n/tmp\n5\n");
        let finished = docker.cli(&["exec", "host", "sh", "-c", "echo out; echo err >&2; exit 9"]).exits(9);
        assert_eq!((finished.out().as_str(), finished.err().as_str()), ("out\n", "err\n"));
        docker.cli(&["exec", "host", "sh", "-c", "kill -KILL $$"]).exits(137);
    }

    fn takes_input_to_its_end(docker: &Docker) {
        docker.start("host", &[]);
        let mut exec = docker.spawn(&["exec", "-i", "host", "sh", "-c", "wc -c; echo done"]);
        exec.feed(b"twelve bytes".to_vec());
        exec.wait().ok().prints("12\ndone\n");
        let mut deaf = docker.spawn(&["exec", "host", "cat"]);
        deaf.feed(b"nobody reads this".to_vec());
        deaf.wait().ok().prints("");
    }

    fn goes_on_in_the_background(docker: &Docker) {
        docker.start("host", &[]);
        docker.cli(&["exec", "-d", "host", "sh", "-c", "echo written > /by-exec"]).ok().prints("");
        eventually("the exec has written", PATIENCE, || {
            let read = docker.cli(&["exec", "host", "cat", "/by-exec"]);
            if read.out() == "written\n" { Ok(()) } else { Err(format!("{read:?}")) }
        });
    }

    fn a_command_that_cannot_be_run_has_dockers_codes(docker: &Docker) {
        docker.start("host", &[]);
        // Docker says it on the standard output: by then it is the connection's.
        let missing = docker.cli(&["exec", "host", "no-such-command"]).exits(127);
        assert!(missing.out().contains(r#"exec: "no-such-command": executable file not found in $PATH"#), "{missing:?}");
        let denied = docker.cli(&["exec", "host", "/etc/hosts"]).exits(126);
        assert!(denied.out().contains("permission denied"), "{denied:?}");
        docker.cli(&["exec", "-w", "/nowhere", "host", "true"]).exits(127);
        let stranger = docker.cli(&["exec", "-u", "nobody-here", "host", "true"]).exits(126);
        assert!(stranger.out().contains("unable to find user nobody-here: no matching entries in passwd file"), "{stranger:?}");
        docker.cli(&["exec", "nobody", "true"]).exits(1).complains("No such container: nobody");
        let id = docker.create(&["--name", "rests", "busybox", "true"]);
        docker.cli(&["exec", "rests", "true"]).exits(1).complains(&format!("container {id} is not running"));
    }

    fn is_known_by_its_id(docker: &Docker) {
        let container = docker.start("host", &[]);
        let exec = docker.spawn(&["exec", "-i", "host", "sh", "-c", "echo ready; read code; exit $code"]);
        let mut exec = exec;
        exec.stdout.wait_for("ready\n");
        let inspected = docker.inspect("host");
        let [Value::String(id)] = &inspected["ExecIDs"].as_array().expect("an exec")[..] else {
            panic!("{}", inspected["ExecIDs"]);
        };
        let running = docker.get(&format!("/exec/{id}/json")).is(200).json();
        assert_eq!((&running["Running"], &running["ExitCode"]), (&json!(true), &Value::Null), "{running}");
        assert_eq!(running["ContainerID"], json!(container));
        assert_eq!(running["ProcessConfig"]["entrypoint"], json!("sh"));
        exec.write(b"21\n");
        exec.wait().exits(21);
        let ended = docker.get(&format!("/exec/{id}/json")).is(200).json();
        assert_eq!((&ended["Running"], &ended["ExitCode"]), (&json!(false), &json!(21)), "{ended}");
    }

    fn ends_with_its_container(docker: &Docker) {
        docker.start("host", &[]);
        let exec = docker.spawn(&["exec", "host", "sh", "-c", "echo ready; sleep 100000"]);
        exec.stdout.wait_for("ready\n");
        docker.cli(&["kill", "host"]).ok();
        assert_eq!(exec.wait().code, 137);
    }
}
