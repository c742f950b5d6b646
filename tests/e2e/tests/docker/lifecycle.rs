//! From `create` to `rm`: what each verb does, prints, and refuses.

use casemate_e2e::{Docker, PATIENCE, conforming, eventually, host};
use serde_json::json;

/// Its keepers are the daemon's children: none that has ended stays one.
fn no_keeper_stays_dead(docker: &Docker) {
    eventually("ended keepers are reaped", PATIENCE, || {
        let stat = |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let is_dead = |pid: &u32| stat(pid).rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'));
        let dead = host::children(docker.daemon_pid()).into_iter().filter(is_dead).count();
        if dead == 0 { Ok(()) } else { Err(dead) }
    });
}

conforming! {
    fn ended_keepers_are_reaped(docker: &Docker) {
        for _ in 0..3 {
            docker.run(&["--rm", "busybox", "true"]).ok();
        }
        docker.run(&["--name", "still", "busybox", "true"]).ok();
        docker.cli(&["diff", "still"]).ok();
        docker.cli(&["start", "-a", "still"]).ok();
        no_keeper_stays_dead(docker);
    }

    fn created_started_stopped_and_removed(docker: &Docker) {
        let id = docker.create(&["--name", "web", "busybox", "sh", "-c", "trap 'exit 3' TERM; echo up; while :; do sleep 0.05; done"]);
        assert_eq!(docker.state("web")["Status"], json!("created"));
        docker.cli(&["start", "web"]).ok().prints("web\n");
        docker.cli(&["start", "web"]).ok().prints("web\n");
        let logs = docker.spawn(&["logs", "-f", "web"]);
        logs.stdout.wait_for("up\n");
        docker.cli(&["stop", "web"]).ok().prints("web\n");
        let state = docker.state("web");
        assert_eq!((&state["Status"], &state["ExitCode"], &state["Running"]), (&json!("exited"), &json!(3), &json!(false)));
        docker.cli(&["stop", "web"]).ok().prints("web\n");
        docker.cli(&["kill", "web"]).exits(1).complains(&format!("cannot kill container: web: container {id} is not running"));
        docker.cli(&["rm", "web"]).ok().prints("web\n");
        docker.cli(&["rm", "web"]).exits(1).complains("No such container: web");
    }

    fn started_again_it_has_what_it_wrote(docker: &Docker) {
        docker.create(&["--name", "keeps", "busybox", "sh", "-c", "echo line >> /lines; wc -l < /lines"]);
        for count in 1..=2 {
            docker.cli(&["start", "-a", "keeps"]).ok().prints(&format!("{count}\n"));
        }
        docker.cli(&["logs", "keeps"]).ok().prints("1\n2\n");
    }

    fn stop_kills_what_does_not_listen(docker: &Docker) {
        docker.start("deaf", &[]);
        docker.cli(&["stop", "-t", "1", "deaf"]).ok();
        assert_eq!(docker.state("deaf")["ExitCode"], json!(137));
        docker.cli(&["start", "deaf"]).ok();
        docker.cli(&["kill", "-s", "KILL", "deaf"]).ok().prints("deaf\n");
        docker.until_status("deaf", "exited");
        docker.cli(&["kill", "--signal", "WHAT", "deaf"]).exits(1).complains("WHAT");
    }

    fn its_stop_signal_is_its_own(docker: &Docker) {
        let script = "trap 'echo usr1; exit 4' USR1; echo up; while :; do sleep 0.05; done";
        docker.run(&["-d", "--name", "own", "--stop-signal", "USR1", "busybox", "sh", "-c", script]).ok();
        docker.spawn(&["logs", "-f", "own"]).stdout.wait_for("up\n");
        docker.cli(&["stop", "own"]).ok();
        assert_eq!(docker.state("own")["ExitCode"], json!(4));
        docker.cli(&["logs", "own"]).ok().prints("up\nusr1\n");
    }

    fn restart_starts_whatever_was(docker: &Docker) {
        docker.start("again", &["--stop-timeout", "0"]);
        let first = docker.state("again");
        docker.cli(&["restart", "again"]).ok().prints("again\n");
        let second = docker.state("again");
        assert_eq!(second["Status"], json!("running"));
        assert_ne!(first["StartedAt"], second["StartedAt"]);
        docker.cli(&["kill", "again"]).ok();
        docker.cli(&["restart", "again"]).ok();
        assert_eq!(docker.state("again")["Status"], json!("running"));
    }

    fn a_name_is_changed_and_given_once(docker: &Docker) {
        docker.start("old", &[]);
        let other = docker.create(&["--name", "other", "busybox", "true"]);
        docker.cli(&["rename", "old", "new"]).ok().prints("");
        assert_eq!(docker.inspect("new")["Name"], json!("/new"));
        docker.cli(&["container", "inspect", "old"]).exits(1).complains("No such container: old");
        docker.cli(&["rename", "new", "other"]).exits(1).complains(&format!(
            "Error when allocating new name: Conflict. The container name \"/other\" is already in use by container \"{other}\". \
             You have to remove (or rename) that container to be able to reuse that name."
        ));
        docker.cli(&["rename", "new", "not/a/name"]).exits(1).complains("Error when allocating new name: Invalid container name (/not/a/name)");
        docker.cli(&["exec", "new", "true"]).ok();
        docker.create(&["--name", "old", "busybox", "true"]);
    }

    fn wait_tells_the_exit_code(docker: &Docker) {
        docker.run(&["-d", "-i", "--name", "waited", "busybox", "sh", "-c", "exit 11"]).ok();
        docker.cli(&["wait", "waited"]).ok().prints("11\n");
        docker.start("killed", &[]);
        let waiting = docker.spawn(&["wait", "killed"]);
        docker.cli(&["kill", "killed"]).ok();
        waiting.wait().ok().prints("137\n");
        docker.cli(&["wait", "nobody"]).exits(1).complains("No such container: nobody");
    }

    fn a_running_one_is_removed_by_force_only(docker: &Docker) {
        docker.start("busy", &[]);
        docker.cli(&["rm", "busy"]).exits(1).complains(
            "cannot remove container \"/busy\": container is running: stop the container before removing or force remove",
        );
        docker.cli(&["rm", "-f", "busy"]).ok().prints("busy\n");
        docker.cli(&["rm", "-f", "busy"]).ok();
        docker.create(&["--name", "one", "busybox", "true"]);
        docker.create(&["--name", "two", "busybox", "true"]);
        docker.cli(&["rm", "one", "two"]).ok().prints("one\ntwo\n");
    }

    fn prune_takes_those_that_rest(docker: &Docker) {
        docker.start("runs", &[]);
        let created = docker.create(&["--name", "created", "-l", "keep", "busybox", "true"]);
        docker.run(&["--name", "ended", "busybox", "true"]).ok();
        let ended = docker.inspect("ended")["Id"].as_str().unwrap().to_owned();
        let pruned = docker.cli(&["container", "prune", "-f", "--filter", "label!=keep"]).ok().out();
        assert!(pruned.contains(&ended) && !pruned.contains(&created), "{pruned}");
        let pruned = docker.cli(&["container", "prune", "-f"]).ok().out();
        assert!(pruned.contains(&created) && pruned.contains("Total reclaimed space"), "{pruned}");
        docker.cli(&["ps", "-a", "--format", "{{.Names}}"]).ok().prints("runs\n");
    }
}
