//! What is found at the start that should not be there, or not like that: after
//! the host went down, in damaged records, in directories that others reach.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use casemate_e2e::{Engine, Spawned, both_modes};
use serde_json::json;

fn dir_of(engine: &Engine, name: &str) -> PathBuf {
    engine.root().join("containers").join(engine.container(name).inspect()["Id"].as_str().unwrap())
}

both_modes! {
    fn after_the_host_went_down(engine: &Engine) {
        engine.start("ran", &[]);
        engine.start("ran-with-rm", &["--rm"]);
        engine.run(&["--name", "ended", "busybox", "sh", "-c", "echo said; exit 3"]).exits(3);
        let gone = dir_of(engine, "ran-with-rm");
        // Killed while they were made and removed: the configuration comes
        // first and goes first.
        let half = ["a", "b"].map(|digit| engine.root().join("containers").join(digit.repeat(64)));
        fs::create_dir(&half[0]).unwrap();
        fs::create_dir_all(half[1].join("upper/etc")).unwrap();
        fs::write(half[1].join("upper/etc/passwd"), "x").unwrap();
        engine.lose_the_host();

        let names = engine.cli(&["ps", "-a", "--format", "json"]).ok().out();
        assert_eq!(names.lines().count(), 2, "{names}");
        for path in half.iter().chain([&gone]) {
            assert!(!path.exists(), "{}", path.display());
        }
        let (ran, ended) = (engine.container("ran").state(), engine.container("ended").state());
        assert_eq!((&ran["Status"], &ran["ExitCode"], &ran["Error"]), (&json!("exited"), &json!(255), &json!("the host went down")));
        assert_eq!((&ended["Status"], &ended["ExitCode"]), (&json!("exited"), &json!(3)));
        engine.cli(&["logs", "ended"]).ok().prints("said\n");
        engine.cli(&["rm", "ran", "ended"]).ok();
        engine.run(&["--rm", "busybox", "echo", "works"]).ok().prints("works\n");
    }

    /// While something runs, what a killed daemon left half-removed goes too.
    fn what_is_half_removed_goes(engine: &Engine) {
        engine.start("runs", &[]);
        engine.run(&["--name", "ended", "busybox", "true"]).ok();
        let dir = dir_of(engine, "ended");
        fs::remove_file(dir.join("config.json")).unwrap();
        engine.kill_daemon();
        engine.cli(&["ps"]).ok();
        assert!(!dir.exists());
        engine.container("runs").exec(&["echo", "alive"]).ok().prints("alive\n");
    }

    /// However deep the directories are that a container made.
    fn a_deep_tree_goes(engine: &Engine) {
        let script = "i=0; while [ $i -lt 1900 ]; do mkdir d && cd d || exit 1; i=$((i + 1)); done; echo made";
        engine.run(&["--name", "deep", "busybox", "sh", "-c", script]).ok().prints("made\n");
        // With as few descriptors as a shell usually gives.
        let limited = |args: &[&str]| {
            let command = engine.command(args);
            let mut shell = std::process::Command::new("sh");
            shell.args(["-c", "ulimit -n 1024; exec \"$0\" \"$@\""]).arg(command.get_program()).args(command.get_args());
            shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
            Spawned::start(shell).wait()
        };
        limited(&["rm", "deep"]).ok().prints("deep\n");
        let args = ["run", "--isolation", engine.isolation.as_str(), "--rm", "busybox", "sh", "-c", script];
        limited(&args).ok().prints("made\n");
        engine.leaks().check();
    }

    /// A record that cannot be read takes out its container, and nothing else.
    fn damaged_records_are_told_and_can_be_removed(engine: &Engine) {
        let damages: [(&str, &[u8], &str); 4] = [
            ("config.json", b"{\"version\": 1, \"id\": \"", "is damaged: EOF while parsing"),
            ("config.json", b"{\"version\": 99}", "has format version 99, this program knows 1"),
            ("state.json", b"\x00\xff garbage", "is damaged: expected value"),
            ("state.json", b"", "is damaged: EOF while parsing"),
        ];
        engine.start("sound", &[]);
        for (number, (file, bytes, words)) in damages.into_iter().enumerate() {
            let name = format!("broken-{number}");
            // Some run, some have ended.
            match number % 2 {
                0 => drop(engine.start(&name, &[])),
                _ => drop(engine.run(&["--name", &name, "busybox", "true"]).ok()),
            }
            let dir = dir_of(engine, &name);
            let id = dir.file_name().unwrap().to_str().unwrap().to_owned();
            fs::write(dir.join(file), bytes).unwrap();
            engine.kill_daemon();

            let listed = engine.cli(&["ps", "-a", "--format", "json"]).ok();
            assert_eq!((listed.out().lines().count(), listed.out().contains("\"sound\"")), (1, true), "{listed:?}");
            let log = engine.daemon_log();
            for said in [format!("{} {words}", dir.join(file).display()), format!("casemate rm -f {} removes it", &id[..12])] {
                assert!(log.contains(&said), "{said} is not in {log}");
            }
            engine.run(&["--rm", "busybox", "echo", "works"]).ok().prints("works\n");
            engine.cli(&["exec", "sound", "echo", "alive"]).ok().prints("alive\n");
            engine.cli(&["rm", &id]).exits(1).complains("No such container");
            // Its name is known where the configuration is sound.
            let known = if file == "state.json" { &name } else { &id[..12] };
            engine.cli(&["rm", "-f", known]).ok().prints(&format!("{known}\n"));
            assert!(!dir.exists());
            assert_eq!(engine.cli(&["ps", "-a"]).ok().err(), "");
        }
        engine.cli(&["rm", "-f", "sound"]).ok();
        engine.leaks().check();
    }
}

#[test]
fn directories_that_others_can_write_in_are_refused() {
    casemate_e2e::modes::in_mode(casemate_e2e::Isolation::Process, |engine: &casemate_e2e::Engine| {
        let set = |path: &std::path::Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        let by_itself = |args: &[&str]| Spawned::start(engine.program(args)).wait();
        for dir in [engine.root(), engine.run_dir()] {
            set(dir, 0o777);
            let refused = by_itself(&["ps"]).exits(1).complains("can be written by others (mode 0777)");
            refused.complains(&format!("if nobody else has put anything there: chmod go-w {}", dir.display()));
            by_itself(&["run", "--rm", "busybox", "true"]).exits(125).complains("chmod go-w");
            set(dir, 0o755);
            engine.cli(&["ps"]).ok();
            engine.stop_daemon();
            set(dir, 0o700);
        }
        std::os::unix::fs::chown(engine.root(), Some(1000), None).unwrap();
        by_itself(&["ps"]).exits(1).complains("belongs to user 1000").complains("chown root");
        std::os::unix::fs::chown(engine.root(), Some(0), None).unwrap();
        // The engine's own are closed again.
        set(&engine.root().join("images"), 0o755);
        engine.cli(&["ps"]).ok();
        assert_eq!(fs::metadata(engine.root().join("images")).unwrap().permissions().mode() & 0o777, 0o700);
    });
}
