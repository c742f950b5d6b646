//! What containers may use and what they do use: limits, `update`, `pause`,
//! `stats`.

use casemate_e2e::{Docker, conforming};
use serde_json::{Value, json};

/// One look at a running container's statistics.
fn stats(docker: &Docker, name: &str) -> Value {
    docker.get(&format!("/containers/{name}/stats?stream=false&one-shot=true")).is(200).json()
}

conforming! {
    /// What no kernel in question can hold it to is left out, and told.
    fn limits_that_cannot_hold_are_told(docker: &Docker) {
        let known = docker.get("/info").is(200).json();
        // A VM's own kernel has no such thing, whatever the host's has.
        let warned = docker.engine().is_hyperv() || known["OomKillDisable"] == json!(false);
        let told = docker.cli(&["create", "--isolation", docker.isolation(), "-m", "64m", "--oom-kill-disable", "busybox"]).ok();
        let text = "WARNING: Your kernel does not support OomKillDisable. OomKillDisable discarded.";
        assert_eq!(told.err().contains(text), warned, "{told:?}");
        let quiet = docker.cli(&["create", "--isolation", docker.isolation(), "-m", "64m", "--memory-swap", "-1", "busybox"]).ok();
        assert_eq!(quiet.err(), "");
    }

    fn limits_are_changed_while_it_runs(docker: &Docker) {
        docker.start("box", &["-m", "128m"]);
        assert_eq!(stats(docker, "box")["memory_stats"]["limit"], json!(128 << 20));
        docker.cli(&["update", "-m", "96m", "--memory-swap", "-1", "--pids-limit", "40", "box"]).ok().prints("box\n");
        assert_eq!(stats(docker, "box")["memory_stats"]["limit"], json!(96 << 20));
        assert_eq!(stats(docker, "box")["pids_stats"]["limit"], json!(40));
        docker.cli(&["restart", "-t", "0", "box"]).ok();
        assert_eq!(stats(docker, "box")["pids_stats"]["limit"], json!(40), "it is kept");
        docker.cli(&["update", "-m", "1m", "box"]).exits(1).complains("Minimum memory limit allowed is 6MB");
    }

    fn a_paused_one_stands_still(docker: &Docker) {
        docker.start("box", &[]);
        docker.cli(&["pause", "box"]).ok().prints("box\n");
        assert_eq!(docker.state("box")["Status"], json!("paused"));
        let id = docker.inspect("box")["Id"].as_str().expect("an id").to_owned();
        docker.cli(&["pause", "box"]).exits(1).complains(&format!("container {id} is already paused"));
        docker.cli(&["exec", "box", "true"]).exits(1).complains("is paused");
        let stood = stats(docker, "box")["cpu_stats"]["cpu_usage"]["total_usage"].clone();
        assert_eq!(stats(docker, "box")["cpu_stats"]["cpu_usage"]["total_usage"], stood);
        docker.cli(&["unpause", "box"]).ok().prints("box\n");
        docker.cli(&["exec", "box", "echo", "goes on"]).ok().prints("goes on\n");
        docker.cli(&["unpause", "box"]).exits(1).complains("is not paused");
        // A paused one can be stopped.
        docker.cli(&["pause", "box"]).ok();
        docker.cli(&["rm", "--force", "box"]).ok();
    }

    fn statistics_are_those_of_its_processes(docker: &Docker) {
        docker.start("box", &["-m", "256m"]);
        let before = stats(docker, "box");
        // 64 MiB that stay, and a processor's time.
        docker.cli(&["exec", "-d", "box", "sh", "-c", "dd if=/dev/zero of=/dev/shm/held bs=1M count=48; exec sleep 1000"]).ok();
        docker.cli(&["exec", "box", "sh", "-c", "until [ -e /dev/shm/held ] && [ $(stat -c %s /dev/shm/held) = 50331648 ]; do :; done"]).ok();
        let after = stats(docker, "box");
        let number = |stats: &Value, path: &str| stats.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("{path}"));
        let grown = number(&after, "/memory_stats/usage") - number(&before, "/memory_stats/usage");
        assert!((44 << 20..80 << 20).contains(&grown), "{grown} bytes more");
        let used = "/cpu_stats/cpu_usage/total_usage";
        assert!(number(&after, used) > number(&before, used));
        assert_eq!(number(&after, "/pids_stats/current"), 2);
        let line = docker.cli(&["stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}} {{.MemUsage}}", "box"]).ok().out();
        assert!(line.starts_with("box 2 ") && line.trim_end().ends_with(" / 256MiB"), "{line}");
        // Of the machine around it, if there is one: what it costs the host.
        assert_eq!(after.pointer("/casemate/vm").is_some_and(Value::is_object), docker.engine().is_hyperv(), "{after}");
    }
}
