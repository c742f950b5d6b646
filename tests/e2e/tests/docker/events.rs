//! `docker events`: what happened, in order, as it happens and afterwards.

use std::collections::BTreeSet;

use casemate_e2e::conforming;
use serde_json::Value;

const ACTIONS: [&str; 2] = ["--format", "{{.Action}}"];

conforming! {
    fn tell_a_containers_life(docker: &Docker) {
        docker.create(&["--name", "told", "-l", "tier=wall", "busybox", "sleep", "100000"]);
        docker.cli(&["start", "told"]).ok();
        docker.cli(&["exec", "told", "true"]).ok();
        docker.cli(&["kill", "told"]).ok();
        docker.cli(&["wait", "told"]).ok();
        docker.cli(&["rename", "told", "retold"]).ok();
        docker.cli(&["rm", "retold"]).ok();
        let actions = docker.events_so_far(&["--filter", "type=container"]);
        let life = ["create", "start", "exec_create: true", "exec_start: true", "exec_die", "kill", "die", "rename", "destroy"];
        // The network's and the client's own are no part of this.
        let actions: Vec<&str> = actions.iter().map(String::as_str).filter(|action| *action != "attach").collect();
        assert_eq!(actions, life);
        assert_eq!(docker.events_so_far(&["--filter", "event=die"]), ["die"]);
        let told = docker.events_so_far(&["--filter", "event=die", "--format", "{{.Actor.Attributes.execDuration}}"]);
        assert!(matches!(&told[..], [seconds] if seconds.parse::<u64>().is_ok()), "{told:?}");
        assert_eq!(docker.events_so_far(&["--filter", "label=tier=wall", "--filter", "event=start"]), ["start"]);
        assert_eq!(docker.events_so_far(&["--filter", "container=nobody"]), Vec::<String>::new());
    }

    fn say_what_was_done_from_outside(docker: &Docker) {
        docker.start("used", &[]);
        docker.cli(&["cp", "used:/etc/passwd", "-"]).ok();
        docker.cli(&["top", "used"]).ok();
        docker.cli(&["export", "used"]).ok();
        docker.run(&["--name", "seen", "busybox", "true"]).ok();
        let actions = docker.events_so_far(&["--filter", "type=container", "--filter", "container=used"]);
        for action in ["archive-path", "top", "export"] {
            assert!(actions.iter().any(|told| told == action), "{action} in {actions:?}");
        }
        let actions = docker.events_so_far(&["--filter", "type=container", "--filter", "container=seen"]);
        assert_eq!(actions, ["create", "attach", "start", "die"]);
    }

    fn say_that_an_end_was_asked_for(docker: &Docker) {
        docker.start("ended", &["--stop-signal", "KILL"]);
        docker.cli(&["stop", "ended"]).ok();
        docker.cli(&["start", "ended"]).ok();
        docker.cli(&["restart", "ended"]).ok();
        docker.cli(&["rm", "-f", "ended"]).ok();
        let actions = docker.events_so_far(&["--filter", "type=container"]);
        let ends = ["kill", "die", "stop", "start", "kill", "die", "stop", "start", "restart", "kill", "die", "destroy"];
        assert_eq!(actions[..2], ["create", "start"]);
        assert_eq!(actions[2..], ends);
    }

    fn come_while_they_happen(docker: &Docker) {
        let all = docker.spawn(&["events", "--format", "json", "--filter", "type=container"]);
        let ends = docker.spawn(&["events", "--format", "{{.Action}} {{.Actor.Attributes.name}} {{.Actor.Attributes.exitCode}}", "--filter", "event=die"]);
        // A client does not say that it listens: until both have heard one.
        let mut number = 0;
        while all.stdout.so_far().is_empty() || ends.stdout.so_far().is_empty() {
            number += 1;
            assert!(number < 50, "the clients hear nothing");
            docker.run(&["--rm", "--name", &format!("try-{number}"), "busybox", "true"]).ok();
        }
        let id = docker.run(&["-d", "--name", "seen", "busybox", "sh", "-c", "exit 13"]).word();
        ends.stdout.wait_for("die seen 13\n");
        docker.cli(&["rm", "seen"]).ok();
        all.stdout.wait_for("\"destroy\"");
        let text = String::from_utf8_lossy(&all.stdout.so_far()).into_owned();
        let events = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("an event"));
        let of_it: Vec<Value> = events.filter(|event| event["Actor"]["ID"] == id.as_str()).collect();
        let actions: Vec<&str> = of_it.iter().map(|event| event["Action"].as_str().unwrap()).collect();
        assert_eq!(actions[..3], ["create", "start", "die"], "{text}");
        let times: Vec<u64> = of_it.iter().map(|event| event["timeNano"].as_u64().unwrap()).collect();
        assert!(times.is_sorted(), "{times:?}");
        let images: BTreeSet<&str> = of_it.iter().map(|event| event["Actor"]["Attributes"]["image"].as_str().unwrap()).collect();
        assert_eq!(images, BTreeSet::from(["busybox"]));
    }

    fn end_when_they_are_asked_to(docker: &Docker) {
        docker.create(&["--name", "before", "busybox", "true"]);
        // Seconds from now: it must hear what comes until then, and end.
        let events = docker.spawn(&[&["events", "--since", "1h", "--until", "-1s", "--filter", "type=container"], &ACTIONS[..]].concat());
        events.stdout.wait_for("create\n");
        docker.cli(&["rm", "before"]).ok();
        events.wait().ok().prints("create\ndestroy\n");
    }
}
