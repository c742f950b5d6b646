//! `docker logs`: what a container wrote, while it runs and after.

use casemate_e2e::conforming;
use serde_json::json;

conforming! {
    fn tell_both_streams_apart(docker: &Docker) {
        docker.run(&["--name", "said", "busybox", "sh", "-c", "echo one; echo two >&2; echo three; printf four"]).ok();
        let logs = docker.cli(&["logs", "said"]).ok();
        assert_eq!((logs.out().as_str(), logs.err().as_str()), ("one\nthree\nfour", "two\n"));
        docker.cli(&["logs", "nobody"]).exits(1).complains("No such container: nobody");
    }

    fn show_the_end_and_the_time(docker: &Docker) {
        docker.run(&["--name", "counted", "busybox", "sh", "-c", "seq 1 10; sleep 0.2; seq 11 20"]).ok();
        docker.cli(&["logs", "--tail", "3", "counted"]).ok().prints("18\n19\n20\n");
        docker.cli(&["logs", "-n", "0", "counted"]).ok().prints("");
        docker.cli(&["logs", "-n", "all", "counted"]).ok().prints(&(1..=20).map(|n| format!("{n}\n")).collect::<String>());
        let stamped = docker.cli(&["logs", "-t", "counted"]).ok().out();
        let times: Vec<&str> = stamped.lines().map(|line| line.split_once(' ').expect("a time and a line").0).collect();
        assert!(times.len() == 20 && times.is_sorted(), "{stamped}");
        assert!(times.iter().all(|time| time.starts_with("20") && time.ends_with('Z')), "{stamped}");
        let since = docker.cli(&["logs", "--since", times[10], "counted"]).ok().out();
        assert_eq!(since, (11..=20).map(|n| format!("{n}\n")).collect::<String>());
        let until = docker.cli(&["logs", "--until", times[9], "counted"]).ok().out();
        assert_eq!(until, (1..=10).map(|n| format!("{n}\n")).collect::<String>());
        docker.cli(&["logs", "--since", "10m", "--tail", "1", "counted"]).ok().prints("20\n");
        docker.cli(&["logs", "--until", "10m", "counted"]).ok().prints("");
    }

    fn follow_a_running_container(docker: &Docker) {
        let script = "echo before; while read line; do echo \"got $line\"; done; echo over";
        let mut running = docker.spawn_run(&["--name", "told", "-i", "busybox", "sh", "-c", script]);
        running.stdout.wait_for("before\n");
        let follower = docker.spawn(&["logs", "-f", "told"]);
        let late = docker.spawn(&["logs", "-f", "--tail", "0", "told"]);
        follower.stdout.wait_for("before\n");
        for word in ["a", "b", "c"] {
            running.write(format!("{word}\n").as_bytes());
            follower.stdout.wait_for(&format!("got {word}\n"));
        }
        // The late one follows from some moment on: until it has heard something.
        let mut more = 0;
        while late.stdout.so_far().is_empty() {
            more += 1;
            running.write(b"more\n");
            follower.stdout.wait_for_count("got more\n", more);
        }
        running.close_stdin();
        running.wait().ok();
        let all = format!("before\ngot a\ngot b\ngot c\n{}over\n", "got more\n".repeat(more));
        follower.wait().ok().prints(&all);
        let late = late.wait().ok().out();
        assert!(late.ends_with("over\n") && !late.contains("before"), "{late}");
    }

    /// Nobody was attached, and nothing is lost; a line may be long.
    fn are_kept_of_a_container_in_the_background(docker: &Docker) {
        let script = "seq 1 5000; head -c 300000 /dev/zero | tr '\\0' x; echo; echo end";
        docker.run(&["-d", "--name", "alone", "busybox", "sh", "-c", script]).ok();
        docker.cli(&["wait", "alone"]).ok().prints("0\n");
        let mut expected: String = (1..=5000).map(|number| format!("{number}\n")).collect();
        expected.push_str(&"x".repeat(300_000));
        expected.push_str("\nend\n");
        let logs = docker.cli(&["logs", "alone"]).ok();
        assert!(logs.out() == expected, "{logs:?}");
    }

    /// As many bytes and files as `--log-opt` says, or none at all.
    fn are_kept_as_far_as_the_options_say(docker: &Docker) {
        let numbers = |options: &[&str], name: &str| {
            let run = [&["--name", name][..], options, &["busybox", "seq", "1", "20000"]].concat();
            docker.run(&run).ok();
        };
        numbers(&["--log-opt", "max-size=100k", "--log-opt", "max-file=3"], "three");
        let logs = docker.cli(&["logs", "three"]).ok().out();
        let (first, _) = logs.split_once('\n').expect("a line");
        let first: u32 = first.parse().expect("a number");
        assert!(first > 1, "all of it was kept");
        assert_eq!(logs, (first..=20_000).map(|number| format!("{number}\n")).collect::<String>());
        let path = docker.inspect("three")["LogPath"].as_str().expect("a path").to_owned();
        for file in ["", ".1", ".2"] {
            let length = std::fs::metadata(format!("{path}{file}")).expect("a file").len();
            assert!((1..=100_000).contains(&length), "{file}: {length} bytes");
        }
        assert!(!std::path::Path::new(&format!("{path}.3")).exists());
        let options = docker.inspect("three")["HostConfig"]["LogConfig"].clone();
        assert_eq!(options, json!({ "Type": "json-file", "Config": { "max-size": "100k", "max-file": "3" } }));

        numbers(&["--log-driver", "none"], "none");
        docker.cli(&["logs", "none"]).exits(1).complains("configured logging driver does not support reading");
        numbers(&["--log-driver", "local"], "local");
        assert_eq!(docker.cli(&["logs", "local"]).ok().out().lines().count(), 20_000);
        let refused = ["--log-opt", "colour=red", "busybox", "true"];
        docker.run(&refused).exits(125).complains("unknown log opt 'colour' for json-file log driver");
    }

    /// Beside its text, what the options choose of the container.
    fn carry_what_the_options_say(docker: &Docker) {
        let options = ["--name", "tagged", "--label", "tier=front end", "--label", "other=1", "-e", "MODE=a=b"];
        let attributes = ["labels=tier", "env-regex=^MO", "tag={{.Name}}/{{.ImageName}}"];
        let attributes = attributes.iter().flat_map(|attribute| ["--log-opt", attribute]);
        let options: Vec<&str> = options.into_iter().chain(attributes).chain(["busybox", "echo", "text"]).collect();
        docker.run(&options).ok().prints("text\n");
        docker.cli(&["logs", "tagged"]).ok().prints("text\n");
        let details = "MODE=a%3Db,tag=tagged%2Fbusybox,tier=front+end text\n";
        docker.cli(&["logs", "--details", "tagged"]).ok().prints(details);
        let logs = docker.cli(&["logs", "--details", "--timestamps", "tagged"]).ok().out();
        assert_eq!(logs.split_once(' ').expect("a time").1, details);

        docker.run(&["--name", "plain", "busybox", "echo", "text"]).ok();
        docker.cli(&["logs", "--details", "plain"]).ok().prints(" text\n");
        for (option, value) in [("env-regex", "("), ("tag", "{{.Nothing}}")] {
            let option = format!("{option}={value}");
            docker.run(&["--log-opt", &option, "busybox", "true"]).exits(125).complains("invalid value for");
        }
    }

    /// However often its file changes while it is read.
    fn of_a_small_file_are_followed(docker: &Docker) {
        let script = "echo ready; read line; i=0; while [ $i -lt 300 ]; do echo $i; i=$((i + 1)); usleep 2000; done";
        let options = ["--name", "rolls", "-i", "--log-opt", "max-size=1k", "--log-opt", "max-file=4"];
        let mut running = docker.spawn_run(&[&options[..], &["busybox", "sh", "-c", script]].concat());
        running.stdout.wait_for("ready\n");
        let follower = docker.spawn(&["logs", "-f", "rolls"]);
        follower.stdout.wait_for("ready\n");
        running.write(b"go\n");
        running.wait().ok();
        let followed = follower.wait().ok().out();
        assert!(followed.ends_with("\n299\n"), "{followed}");
    }

    fn of_a_terminal_are_one_stream(docker: &Docker) {
        docker.run(&["-t", "--name", "screen", "busybox", "sh", "-c", "echo out; echo err >&2"]).ok();
        let logs = docker.cli(&["logs", "screen"]).ok();
        assert_eq!((logs.out().as_str(), logs.err().as_str()), ("out\r\nerr\r\n", ""));
    }
}
