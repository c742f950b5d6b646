//! The container's exit code is the program's; what goes wrong before has
//! Docker's codes and words.

use casemate_e2e::{Isolation, both_modes};

both_modes! {
    fn of_the_command(engine: &Engine) {
        engine.run(&["--rm", "busybox", "true"]).exits(0).prints("").complains("");
        engine.run(&["--rm", "busybox", "false"]).exits(1);
        engine.script(&[], "exit 3").exits(3);
        engine.script(&[], "exit 255").exits(255);
    }

    /// An init is safe from signals of its own making, so its child dies.
    fn of_a_command_killed_by_a_signal(engine: &Engine) {
        engine.script(&[], "sh -c 'kill -TERM $$'; exit $?").exits(143);
        engine.script(&[], "sh -c 'kill -KILL $$'; exit $?").exits(137);
        let container = engine.start("victim", &[]);
        container.exec(&["sh", "-c", "kill -TERM $$"]).exits(143);
        container.exec(&["sh", "-c", "kill -KILL $$"]).exits(137);
        container.exec(&["sh", "-c", "kill -SEGV $$"]).exits(139);
    }

    fn of_a_command_that_does_not_exist(engine: &Engine) {
        engine
            .run(&["--rm", "busybox", "no-such-command", "--flag"])
            .exits(127)
            .complains(r#"exec: "no-such-command": executable file not found in $PATH"#);
        engine
            .run(&["--rm", "busybox", "/no/such/command"])
            .exits(127)
            .complains(r#"exec: "/no/such/command": stat /no/such/command: no such file or directory"#);
    }

    fn of_a_command_that_cannot_be_executed(engine: &Engine) {
        engine.run(&["--rm", "busybox", "/etc"]).exits(126).complains(r#"exec: "/etc": is a directory"#);
        engine.run(&["--rm", "busybox", "/etc/hosts"]).exits(126).complains(r#"exec: "/etc/hosts": permission denied"#);
    }

    fn of_an_engine_that_cannot(engine: &Engine) {
        engine
            .run(&["--rm", "--pull", "never", "no-such-image", "true"])
            .exits(125)
            .complains("Unable to find image 'no-such-image:latest' locally");
        engine.run(&["--rm", "--no-such-flag", "busybox", "true"]).exits(125).complains("--no-such-flag");
        engine.run(&["--rm", "-w", "relative", "busybox", "true"]).exits(125).complains("it needs to be an absolute path");
        engine
            .run(&["--rm", "-u", "nobody-here", "busybox", "true"])
            .exits(125)
            .complains("unable to find user nobody-here: no matching entries in passwd file");
        engine.run(&["--rm", "-m", "1m", "busybox", "true"]).exits(125).complains("Minimum memory limit allowed is 6MB");
    }

    /// As in Docker, a container that could not be started is there to be
    /// looked at, with its exit code.
    fn of_a_failed_start_is_kept(engine: &Engine) {
        engine.run(&["--name", "failed", "busybox", "no-such-command"]).exits(127);
        let state = engine.container("failed").state();
        assert_eq!(state["Status"], "created", "{state}");
        assert_eq!(state["ExitCode"], 127, "{state}");
        assert!(state["Error"].as_str().unwrap().contains("executable file not found"), "{state}");
        engine.cli(&["rm", "failed"]).ok().prints("failed\n");
    }
}

/// The isolation's own name, before there is any engine to speak of.
#[test]
fn of_an_isolation_that_does_not_exist() {
    casemate_e2e::modes::in_mode(Isolation::Process, |engine: &casemate_e2e::Engine| {
        engine
            .cli(&["run", "--isolation", "vault", "busybox", "true"])
            .exits(125)
            .complains("invalid isolation (vault)");
        engine.cli(&["run", "--isolation", "default", "--rm", "busybox", "true"]).ok();
    });
}
