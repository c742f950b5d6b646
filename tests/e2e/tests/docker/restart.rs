//! Restart policies, with the daemon there and without.

use casemate_e2e::conforming;
use casemate_e2e::process::{ended_within, pid};
use casemate_e2e::{Docker, PATIENCE, host};
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};

fn count(inspected: &Value) -> u64 {
    inspected["RestartCount"].as_u64().expect("a count")
}

/// kill -9 of the container's keeper, and with it of the container.
fn kill_keeper(name: &str) {
    let begins = format!("casemate-keeper {name} ");
    let keeper = host::processes().into_iter().find(|process| process.cmdline.starts_with(&begins));
    let keeper = keeper.unwrap_or_else(|| panic!("{name} has no keeper")).pid;
    kill_process(pid(keeper), Signal::KILL).expect("a keeper to be killed");
    assert!(ended_within(keeper, PATIENCE));
}

/// On this host the next start comes after so many ends.
fn restarted(docker: &Docker, name: &str, times: u64) -> Value {
    docker.until(name, "was restarted", |inspected| count(inspected) >= times && inspected["State"]["Running"] == true)
}

conforming! {
    fn on_failure_as_often_as_it_says(docker: &Docker) {
        docker.run(&["-d", "--name", "fails", "--restart", "on-failure:2", "busybox", "sh", "-c", "echo once; exit 3"]).ok();
        let ended = docker.until("fails", "has given up", |inspected| inspected["State"]["Status"] == "exited" && count(inspected) == 2);
        assert_eq!(ended["State"]["ExitCode"], json!(3));
        docker.cli(&["logs", "fails"]).ok().prints("once\nonce\nonce\n");
        docker.run(&["-d", "--name", "succeeds", "--restart", "on-failure", "busybox", "true"]).ok();
        docker.cli(&["wait", "succeeds"]).ok().prints("0\n");
        docker.until_status("succeeds", "exited");
        assert_eq!(count(&docker.inspect("succeeds")), 0);
    }

    fn always_until_the_user_stops_it(docker: &Docker) {
        docker.run(&["-d", "-i", "--name", "tireless", "--restart", "always", "--stop-timeout", "0", "busybox", "sh", "-c", "read line; exit 0"]).ok();
        let mut end = docker.spawn(&["attach", "tireless"]);
        end.write(b"end\n");
        end.wait().ok();
        restarted(docker, "tireless", 1);
        docker.cli(&["stop", "tireless"]).ok();
        docker.until_status("tireless", "exited");
        docker.cli(&["start", "tireless"]).ok();
        assert_eq!(count(&docker.inspect("tireless")), 0, "counted anew after the user's start");
    }

    fn one_that_is_killed_is_started_again(docker: &Docker) {
        docker.start("again", &["--restart", "unless-stopped"]);
        kill_keeper("again");
        let again = restarted(docker, "again", 1);
        let times = |name: &str| again["State"][name].as_str().unwrap().to_owned();
        assert!(times("FinishedAt") < times("StartedAt") && !times("FinishedAt").starts_with("0001"), "{again}");
        docker.cli(&["exec", "again", "true"]).ok();
    }

    fn with_the_daemon_what_died_while_it_was_down(docker: &Docker) {
        docker.start("always", &["--restart", "always"]);
        docker.start("never", &[]);
        docker.start("stopped", &["--restart", "unless-stopped"]);
        docker.start("told", &["--restart", "always", "--stop-timeout", "0"]);
        docker.cli(&["stop", "-t", "0", "stopped", "told"]).ok();
        docker.kill_daemon();
        kill_keeper("always");
        kill_keeper("never");
        docker.start_daemon();
        docker.until_status("always", "running");
        docker.until_status("never", "exited");
        assert_eq!(docker.state("never")["ExitCode"], json!(137));
        // Docker's difference between the two.
        docker.until_status("stopped", "exited");
        docker.until_status("told", "running");
    }

    fn policies_that_do_not_exist_are_refused(docker: &Docker) {
        docker.cli(&["create", "--restart", "sometimes", "busybox", "true"]).exits(1).complains("unknown policy 'sometimes'");
        docker.cli(&["create", "--restart", "always:3", "busybox", "true"]).exits(1).complains("maximum retry count can only be used with 'on-failure'");
        let both = json!({ "Image": "busybox", "HostConfig": { "AutoRemove": true, "RestartPolicy": { "Name": "always" } } });
        docker.request("POST", "/containers/create", Some(&both)).is(400).says("can't create 'AutoRemove' container with restart policy");
    }
}
