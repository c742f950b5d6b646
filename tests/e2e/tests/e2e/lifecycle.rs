//! Containers from their making to their removal: names, states, what stays
//! and what does not.

use casemate_e2e::{PATIENCE, both_modes, eventually, host};
use serde_json::json;

both_modes! {
    fn runs_in_the_background(engine: &Engine) {
        let id = engine.run(&["-d", "--name", "quiet", "busybox", "sh", "-c", "sleep 100000"]).word();
        assert!(id.len() == 64 && id.bytes().all(|digit| digit.is_ascii_hexdigit()), "{id:?}");
        assert_eq!(engine.cli(&["ps", "-q", "--no-trunc"]).word(), id);
        // By name, by id, and by the beginning of an id.
        for known in ["quiet", "/quiet", &id, &id[..6]] {
            assert_eq!(engine.container(known).inspect()["Id"], json!(id), "{known}");
        }
        engine.cli(&["rm", "-f", "quiet"]).ok().prints("quiet\n");
        engine.cli(&["inspect", "quiet"]).exits(1).complains("No such container: quiet");
    }

    fn removed_at_its_end_if_asked(engine: &Engine) {
        engine.run(&["--rm", "--name", "gone", "busybox", "true"]).ok();
        engine.container("gone").until_gone();
        engine.run(&["-d", "--rm", "--name", "later", "busybox", "sleep", "100000"]).ok();
        engine.cli(&["kill", "later"]).ok();
        engine.container("later").until_gone();
    }

    fn stays_until_it_is_removed(engine: &Engine) {
        engine.run(&["--name", "kept", "busybox", "sh", "-c", "echo said; exit 4"]).exits(4);
        let state = engine.container("kept").state();
        assert_eq!((&state["Status"], &state["ExitCode"], &state["Running"]), (&json!("exited"), &json!(4), &json!(false)));
        engine.cli(&["logs", "kept"]).ok().prints("said\n");
        engine.cli(&["rm", "kept"]).ok().prints("kept\n");
        engine.cli(&["rm", "kept"]).exits(1).complains("No such container: kept");
        // By force it is no failure, as in Docker's client.
        engine.cli(&["rm", "-f", "kept"]).ok().prints("").complains("No such container: kept");
        // The same name is free again.
        engine.run(&["--rm", "--name", "kept", "busybox", "true"]).ok();
    }

    fn a_running_one_is_removed_by_force_only(engine: &Engine) {
        engine.start("busy", &[]);
        engine
            .cli(&["rm", "busy"])
            .exits(1)
            .complains("cannot remove container \"/busy\": container is running: stop the container before removing or force remove");
        assert_eq!(engine.container("busy").state()["Running"], true);
        engine.cli(&["rm", "-f", "busy"]).ok().prints("busy\n");
        engine.leaks().check();
    }

    fn a_name_is_given_once(engine: &Engine) {
        engine.start("taken", &[]);
        let id = engine.container("taken").inspect()["Id"].as_str().unwrap().to_owned();
        engine.run(&["--name", "taken", "busybox", "true"]).exits(125).complains(&format!(
            "Conflict. The container name \"/taken\" is already in use by container \"{id}\". \
             You have to remove (or rename) that container to be able to reuse that name."
        ));
        engine
            .run(&["--name", "not/a/name", "busybox", "true"])
            .exits(125)
            .complains("Invalid container name (not/a/name), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed");
    }

    /// Several at once: each has its own init, and they do not see each other.
    fn several_side_by_side(engine: &Engine) {
        let names = ["one", "two", "three"];
        let starting: Vec<_> = names
            .iter()
            .map(|name| engine.spawn_run(&["-d", "--name", name, "-h", name, "busybox", "sleep", "100000"]))
            .collect();
        for started in starting {
            started.wait().ok();
        }
        for name in names {
            let container = engine.container(name);
            container.exec(&["hostname"]).ok().prints(&format!("{name}\n"));
            container.exec(&["sh", "-c", "echo $HOSTNAME > /mine; ls / | grep -c mine"]).ok().prints("1\n");
            container.exec(&["sh", "-c", "ps | grep -c '[s]leep 100000'"]).ok().prints("1\n");
        }
        assert_eq!(engine.cli(&["ps", "-q"]).ok().out().lines().count(), names.len());
        engine.cli(&["rm", "-f", "one", "two", "three"]).ok().prints("one\ntwo\nthree\n");
    }

    fn what_it_wrote_is_seen_by_no_other(engine: &Engine) {
        let script = "echo changed > /etc/casemate-test; rm /bin/cat; chmod 700 /tmp; echo x > /bin/new; touch /only-here";
        engine.script(&[], script).ok();
        let look = "ls /etc/casemate-test /bin/new /only-here 2>/dev/null; cat /dev/null && stat -c %a /tmp";
        let first = engine.script(&[], look);
        assert_eq!(first.code, 0, "{first:?}");
        assert!(!first.out().contains("casemate-test") && !first.out().contains("only-here"), "{first:?}");
        assert_ne!(first.out().trim(), "700");
        engine.cli(&["images", "-q"]).ok();
    }

    fn its_processes_are_listed(engine: &Engine) {
        let container = engine.start("busy", &[]);
        let exec = engine.spawn(&["exec", "busy", "sh", "-c", "echo ready; sleep 4321; true"]);
        exec.stdout.wait_for("ready\n");
        let top = engine.cli(&["top", "busy"]).ok().out();
        assert!(top.starts_with("UID"), "{top}");
        assert!(top.contains("sleep 100000") && top.contains("sleep 4321"), "{top}");
        assert!(container.host_pids("keeper").len() == 1);
    }

    /// A socket's address has 107 bytes; a directory's path may have more.
    fn the_run_directory_may_be_deep(engine: &Engine) {
        let run = engine.scratch().join("d".repeat(100)).join("e".repeat(100));
        let socket = format!("unix://{}", engine.socket().display());
        engine.configure(&["--run", run.to_str().unwrap(), "-H", &socket]);
        engine.run(&["-d", "--name", "deep", "busybox", "sleep", "100000"]).ok();
        engine.cli(&["exec", "deep", "echo", "reached"]).ok().prints("reached\n");
        engine.cli(&["rm", "-f", "deep"]).ok();
        eventually("its run directory is gone", PATIENCE, || {
            let left = host::names(&run.join("containers"));
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
        });
    }
}
