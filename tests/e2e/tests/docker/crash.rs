//! The daemon killed at any moment: containers go on without it, and it knows
//! them again.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use casemate_e2e::process::pid;
use casemate_e2e::{Docker, PATIENCE, Spawned, both_modes, ended_within, eventually, host, note};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rustix::process::{Signal, kill_process};
use serde_json::json;

const KILLS: usize = 8;

/// Ids of the containers that are on disk.
fn recorded(docker: &Docker) -> BTreeSet<String> {
    host::names(&docker.engine().root().join("containers"))
}

fn known(docker: &Docker) -> BTreeSet<String> {
    docker.cli(&["ps", "-aq", "--no-trunc"]).ok().out().lines().map(str::to_owned).collect()
}

fn keeper(name: &str) -> Option<u32> {
    let cmdline = format!("casemate-keeper {name} ");
    host::processes().into_iter().find(|process| process.cmdline.starts_with(&cmdline)).map(|process| process.pid)
}

both_modes! {
    fn a_running_container_does_not_notice(docker: &Docker) {
        let script = "n=0; while read line; do n=$((n + 1)); echo \"$n $line\"; done; exit 17";
        docker.run(&["-d", "-i", "--name", "counts", "busybox", "sh", "-c", script]).ok();
        let started = docker.state("counts")["StartedAt"].clone();
        for word in ["before", "after"] {
            let mut client = docker.spawn(&["attach", "counts"]);
            client.write(format!("{word}\n").as_bytes());
            client.stdout.wait_for(word);
            if word == "before" {
                docker.kill_daemon();
                assert_ne!(client.wait().code, 0, "its connection is gone");
                docker.start_daemon();
            }
        }
        let state = docker.state("counts");
        assert_eq!((&state["Status"], &state["StartedAt"]), (&json!("running"), &started));
        docker.cli(&["exec", "counts", "echo", "in"]).ok().prints("in\n");
        docker.cli(&["logs", "counts"]).ok().prints("1 before\n2 after\n");
        docker.cli(&["kill", "counts"]).ok();
        docker.until_status("counts", "exited");
    }

    fn what_ends_without_it_is_known_after(docker: &Docker) {
        docker.run(&["-d", "--name", "ends", "busybox", "sh", "-c", "echo first; sleep 3; echo last; exit 23"]).ok();
        docker.run(&["-d", "--rm", "--name", "vanishes", "busybox", "sleep", "3"]).ok();
        let keepers = ["ends", "vanishes"].map(|name| keeper(name).expect("a keeper"));
        docker.kill_daemon();
        let lives = |keeper: &u32| host::process(*keeper).is_some();
        assert!(keepers.iter().all(lives), "they ended too early for this test");
        assert!(keepers.iter().all(|keeper| ended_within(*keeper, PATIENCE)));
        docker.start_daemon();
        let state = docker.state("ends");
        assert_eq!((&state["Status"], &state["ExitCode"]), (&json!("exited"), &json!(23)));
        docker.cli(&["logs", "ends"]).ok().prints("first\nlast\n");
        docker.cli(&["wait", "ends"]).ok().prints("23\n");
        docker.get("/containers/vanishes/json").is(404);
    }

    /// Its policy holds for one that was just being started.
    fn a_start_that_was_cut_short_is_made_up_for(docker: &Docker) {
        docker.start("always", &["--restart", "always"]);
        docker.cli(&["stop", "-t", "0", "always"]).ok();
        let start = docker.spawn(&["start", "always"]);
        eventually("its keeper is there", PATIENCE, || keeper("always").ok_or("no keeper"));
        docker.kill_daemon();
        drop(start);
        docker.start_daemon();
        docker.until_status("always", "running");
        docker.cli(&["exec", "always", "echo", "in"]).ok().prints("in\n");
    }

    /// A keeper that stands still keeps neither the daemon nor other containers.
    fn a_keeper_that_does_not_answer_is_waited_for_by_nobody_else(docker: &Docker) {
        docker.start("still", &[]);
        docker.start("lively", &[]);
        let keeper = pid(keeper("still").expect("a keeper"));
        docker.kill_daemon();
        kill_process(keeper, Signal::STOP).unwrap();
        docker.start_daemon();
        docker.cli(&["exec", "lively", "echo", "in"]).ok().prints("in\n");
        kill_process(keeper, Signal::CONT).unwrap();
        docker.until_status("still", "running");
        docker.cli(&["exec", "still", "echo", "in"]).ok().prints("in\n");
    }

    /// Clients that are killed while nothing is said are noticed.
    fn clients_that_are_killed_cost_nothing(docker: &Docker) {
        docker.start("silent", &[]);
        docker.cli(&["exec", "silent", "true"]).ok();
        let open = || host::descriptors(docker.daemon_pid()).len();
        let before = open();
        let clients: Vec<Spawned> = (0..4)
            .flat_map(|_| [&["exec", "silent", "sleep", "100000"][..], &["attach", "--no-stdin", "silent"], &["start", "-a", "silent"]])
            .map(|args| docker.spawn(args))
            .collect();
        eventually("all are served", PATIENCE, || match open() {
            now if now >= before + 2 * clients.len() => Ok(()),
            now => Err(format!("{now} descriptors, {before} before")),
        });
        clients.iter().for_each(|client| client.signal(Signal::KILL));
        drop(clients);
        eventually("their descriptors are closed", PATIENCE, || match open() {
            now if now <= before => Ok(()),
            now => Err(format!("{now} descriptors, {before} before")),
        });
    }

    /// What was paused for a commit goes on, whoever asked for it.
    fn a_commit_without_its_client_comes_to_its_end(docker: &Docker) {
        docker.start("paused", &[]);
        docker.cli(&["exec", "paused", "dd", "if=/dev/urandom", "of=/large", "bs=1M", "count=32"]).ok();
        let client = docker.spawn(&["commit", "paused", "made:1"]);
        docker.until_status("paused", "paused");
        client.signal(Signal::KILL);
        drop(client);
        docker.until_status("paused", "running");
        docker.cli(&["run", "--rm", "--isolation", docker.isolation(), "made:1", "wc", "-c", "/large"]).ok().says("33554432");
        docker.cli(&["rmi", "made:1"]).ok();
    }

    /// At random moments of create, start, exec, stop and remove: what is
    /// there afterwards is whole, and can be removed.
    fn at_any_moment_of_a_containers_life(docker: &Docker) {
        let seed = std::env::var("CASEMATE_TEST_SEED").ok().and_then(|text| text.parse().ok());
        let seed = seed.unwrap_or_else(rand::random::<u64>);
        let mut rng = StdRng::seed_from_u64(seed);
        let life = |name: &str| -> [Vec<String>; 4] {
            let isolation = docker.isolation();
            [
                vec!["run", "-d", "--isolation", isolation, "--name", name, "busybox", "sleep", "100000"],
                vec!["exec", name, "true"],
                vec!["stop", "-t", "0", name],
                vec!["rm", name],
            ]
            .map(|args| args.into_iter().map(str::to_owned).collect())
        };
        let go = |args: &[String]| docker.spawn(&args.iter().map(String::as_str).collect::<Vec<_>>());
        let from = Instant::now();
        life("measured").iter().for_each(|args| drop(go(args).wait().ok()));
        let whole = from.elapsed();
        note(&format!("CASEMATE_TEST_SEED={seed}, a life takes {whole:?}"));
        for number in 0..KILLS {
            let name = format!("c{number}");
            let delay = whole.mul_f64(rng.random());
            let deadline = Instant::now() + delay;
            let mut steps = life(&name).into_iter();
            let mut step: Option<Spawned> = None;
            // The step that is under way at the moment is met by it.
            while Instant::now() < deadline {
                match &step {
                    Some(running) if !running.has_ended() => {}
                    _ => match steps.next() {
                        Some(args) => step = Some(go(&args)),
                        None => break,
                    },
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            note(&format!("kill {number} after {delay:?}"));
            docker.kill_daemon();
            drop(step);
            docker.start_daemon();
            // One whose start was cut short is given up by its keeper.
            eventually("what is recorded is known", PATIENCE, || {
                let (recorded, known) = (recorded(docker), known(docker));
                if recorded == known { Ok(()) } else { Err(format!("{recorded:?} and {known:?}")) }
            });
            for id in known(docker) {
                let status = docker.inspect(&id)["State"]["Status"].clone();
                assert!([json!("created"), json!("running"), json!("exited")].contains(&status), "{status}");
                if status == json!("running") {
                    docker.cli(&["exec", &id, "true"]).ok();
                }
            }
            docker.remove_all();
            assert!(recorded(docker).is_empty(), "{:?}", recorded(docker));
        }
        docker.run(&["--rm", "busybox", "echo", "works"]).ok().prints("works\n");
    }

    /// All processes are gone, and with them what was in memory.
    fn a_reboot_of_the_host_is_recovered_from(docker: &Docker) {
        docker.start("plain", &[]);
        docker.start("always", &["--restart", "always"]);
        docker.create(&["--name", "made", "busybox", "true"]);
        docker.run(&["--name", "ended", "busybox", "sh", "-c", "echo said; exit 5"]).exits(5);
        docker.kill_daemon();
        docker.engine().lose_the_host();
        docker.start_daemon();
        docker.until_status("always", "running");
        docker.cli(&["exec", "always", "true"]).ok();
        let state = docker.state("plain");
        assert_eq!((&state["Status"], &state["Running"]), (&json!("exited"), &json!(false)), "{state}");
        assert_ne!(state["ExitCode"], json!(0));
        assert_eq!(docker.state("made")["Status"], json!("created"));
        assert_eq!(docker.state("ended")["ExitCode"], json!(5));
        docker.cli(&["logs", "ended"]).ok().prints("said\n");
        docker.cli(&["start", "plain", "made"]).ok();
        assert_eq!(docker.state("plain")["Running"], json!(true));
    }

    fn there_is_one_daemon_on_one_root(docker: &Docker) {
        let mut second = docker.engine().daemon_command();
        let socket = docker.engine().run_dir().join("second.sock");
        second.args(["-H", &format!("unix://{}", socket.display())]);
        let refused = Spawned::start(second).wait();
        assert_ne!(refused.code, 0, "{refused:?}");
        refused.complains("daemon").complains(docker.engine().root().to_str().unwrap());
        assert!(!socket.exists());
        // The first one does not mind.
        docker.cli(&["ps"]).ok();
    }

    fn stopped_it_leaves_its_containers_alone(docker: &Docker) {
        docker.start("stays", &[]);
        let before = docker.state("stays");
        docker.stop_daemon();
        docker.start_daemon();
        let after = docker.state("stays");
        assert_eq!((&after["Status"], &after["StartedAt"]), (&json!("running"), &before["StartedAt"]));
        docker.cli(&["exec", "stays", "echo", "alive"]).ok().prints("alive\n");
    }
}
