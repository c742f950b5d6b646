//! What is shown of containers: `ps`, `inspect`, `top`.

use casemate_e2e::{Docker, conforming};
use serde_json::{Value, json};

/// The names that `ps` shows, newest first.
fn names(docker: &Docker, options: &[&str]) -> Vec<String> {
    let args = [&["ps", "--format", "{{.Names}}"], options].concat();
    docker.cli(&args).ok().out().lines().map(str::to_owned).collect()
}

conforming! {
    fn ps_filters_what_it_shows(docker: &Docker) {
        docker.create(&["--name", "made", "-l", "tier=wall", "busybox", "true"]);
        let running = docker.start("runs", &["-l", "tier=gate", "-l", "extra"]);
        docker.run(&["--name", "failed", "busybox", "sh", "-c", "exit 3"]).exits(3);
        let other = if docker.engine().is_hyperv() { "process" } else { "hyperv" };
        docker.cli(&["create", "--name", "other-wall", "--isolation", other, "busybox", "true"]).ok();
        let own = docker.isolation();

        assert_eq!(names(docker, &[]), ["runs"]);
        assert_eq!(names(docker, &["-a"]), ["other-wall", "failed", "runs", "made"]);
        assert_eq!(names(docker, &["-n", "2"]), ["other-wall", "failed"]);
        assert_eq!(names(docker, &["-l"]), ["other-wall"]);
        let cases: [(&str, &[&str]); 17] = [
            ("name=a", &["other-wall", "failed", "made"]),
            ("name=^runs$", &["runs"]),
            ("id=0", &[]),
            ("label=tier", &["runs", "made"]),
            ("label=tier=wall", &["made"]),
            ("status=created", &["other-wall", "made"]),
            ("status=exited", &["failed"]),
            ("exited=3", &["failed"]),
            ("exited=0", &[]),
            ("ancestor=busybox", &["other-wall", "failed", "runs", "made"]),
            ("ancestor=other", &[]),
            ("before=failed", &["runs", "made"]),
            ("since=runs", &["other-wall", "failed"]),
            ("health=none", &["other-wall", "failed", "runs", "made"]),
            ("is-task=false", &["other-wall", "failed", "runs", "made"]),
            ("volume=none", &[]),
            ("network=nowhere", &[]),
        ];
        for (filter, expected) in cases {
            let found = names(docker, &["-a", "--filter", filter]);
            // Any id may begin with a zero.
            if filter == "id=0" {
                continue;
            }
            assert_eq!(found, expected, "{filter}");
        }
        assert_eq!(names(docker, &["--filter", &format!("id={}", &running[..12])]), ["runs"]);
        assert_eq!(names(docker, &["-a", "--filter", &format!("isolation={other}")]), ["other-wall"]);
        assert_eq!(names(docker, &["-a", "--filter", &format!("isolation={own}")]), ["failed", "runs", "made"]);
        assert_eq!(names(docker, &["-a", "--filter", "label=tier", "--filter", "status=running"]), ["runs"]);
        assert_eq!(names(docker, &["-a", "--filter", "status=created", "--filter", "status=exited"]), ["other-wall", "failed", "made"]);
        docker.cli(&["ps", "--filter", "colour=red"]).exits(1).complains("invalid filter 'colour'");
        docker.cli(&["ps", "--filter", "status=asleep"]).exits(1).complains("invalid filter 'status=asleep'");
        docker.cli(&["ps", "-a", "--filter", "since=nobody"]).exits(1).complains("No such container: nobody");
    }

    fn ps_formats_what_it_shows(docker: &Docker) {
        let id = docker.start("shown", &["-l", "tier=wall"]);
        let format = "{{.ID}}|{{.Image}}|{{.Command}}|{{.State}}|{{.Names}}|{{.Label \"tier\"}}";
        let line = docker.cli(&["ps", "--format", format]).word();
        assert_eq!(line, format!("{}|busybox|\"sleep 100000\"|running|shown|wall", &id[..12]));
        let status = docker.cli(&["ps", "--format", "{{.Status}}"]).word();
        assert!(status.starts_with("Up ") && status.contains("second"), "{status}");
        let table = docker.cli(&["ps"]).ok().out();
        assert!(table.starts_with("CONTAINER ID   IMAGE     COMMAND "), "{table}");
        docker.cli(&["ps", "-q", "--no-trunc"]).ok().prints(&format!("{id}\n"));
        let row: Value = serde_json::from_str(&docker.cli(&["ps", "--format", "json"]).word()).unwrap();
        assert_eq!((&row["Names"], &row["LocalVolumes"]), (&json!("shown"), &json!("0")));
        docker.cli(&["kill", "shown"]).ok();
        docker.until_status("shown", "exited");
        let status = docker.cli(&["ps", "-a", "--format", "{{.Status}}"]).word();
        assert!(status.starts_with("Exited (137) ") && status.ends_with(" ago"), "{status}");
    }

    fn inspect_shows_what_was_asked_for_and_what_is(docker: &Docker) {
        let id = docker.start("shown", &["-e", "A=b", "-m", "128m", "--restart", "on-failure:3", "-h", "castle"]);
        let inspected = docker.inspect("shown");
        assert_eq!((&inspected["Id"], &inspected["Name"]), (&json!(id), &json!("/shown")));
        assert_eq!((&inspected["Path"], &inspected["Args"]), (&json!("sleep"), &json!(["100000"])));
        let host = &inspected["HostConfig"];
        assert_eq!(host["RestartPolicy"], json!({ "Name": "on-failure", "MaximumRetryCount": 3 }));
        assert_eq!((&host["Memory"], &host["Isolation"]), (&json!(128 << 20), &json!(docker.isolation())));
        assert_eq!(inspected["Config"]["Hostname"], json!("castle"));
        assert_eq!(inspected["State"]["Running"], json!(true));
        assert!(inspected["State"]["Pid"].as_u64().unwrap() > 0, "{}", inspected["State"]);
        let shown = docker.cli(&["inspect", "-f", "{{.State.Status}} {{.HostConfig.RestartPolicy.Name}} {{.Config.Image}}", "shown"]);
        assert_eq!(shown.word(), "running on-failure busybox");
        docker.cli(&["inspect", "nobody"]).exits(1).complains("No such object: nobody");
        docker.cli(&["container", "inspect", "nobody"]).exits(1).complains("No such container: nobody");
    }

    /// By what they have written: at least that, and in a VM not their whole disk.
    fn sizes_are_those_on_disk(docker: &Docker) {
        let script = "dd if=/dev/urandom of=/file bs=1M count=5 2>/dev/null; sync";
        docker.run(&["--name", "wrote", "busybox", "sh", "-c", script]).ok();
        docker.create(&["--name", "idle", "busybox", "true"]);
        let size = |name: &str, field: &str| -> u64 {
            let format = format!("{{{{.{field}}}}}");
            docker.cli(&["inspect", "--size", "-f", &format, name]).ok().word().parse().expect("bytes")
        };
        let written = size("wrote", "SizeRw");
        assert!((5 << 20..30 << 20).contains(&written), "{written}");
        assert_eq!(size("idle", "SizeRw"), 0);
        assert!(size("idle", "SizeRootFs") > 1 << 20);
        assert_eq!(size("wrote", "SizeRootFs"), written + size("idle", "SizeRootFs"));
        let listed = docker.cli(&["ps", "-a", "--size", "--format", "{{.Names}} {{.Size}}"]).ok().out();
        assert!(listed.contains("idle 0B (virtual ") && listed.contains("MB (virtual "), "{listed}");
        let pruned = docker.cli(&["container", "prune", "-f"]).ok().out();
        assert!(pruned.contains("Total reclaimed space: ") && !pruned.contains("space: 0B"), "{pruned}");
    }

    fn top_shows_its_processes(docker: &Docker) {
        docker.start("busy", &[]);
        let exec = docker.spawn(&["exec", "busy", "sh", "-c", "echo ready; sleep 4321; true"]);
        exec.stdout.wait_for("ready\n");
        let top = docker.cli(&["top", "busy"]).ok().out();
        assert!(top.starts_with("UID ") && top.contains("CMD"), "{top}");
        assert!(top.contains("sleep 100000") && top.contains("sleep 4321"), "{top}");
        let chosen = docker.cli(&["top", "busy", "-o", "pid,args"]).ok().out();
        let header: Vec<&str> = chosen.lines().next().unwrap_or_default().split_whitespace().collect();
        assert_eq!(header, ["PID", "COMMAND"], "{chosen}");
        docker.cli(&["top", "busy", "-o", "args"]).exits(1).complains("Couldn't find PID field in ps output");
        let by_user = docker.cli(&["top", "busy", "aux"]).ok().out();
        assert!(by_user.starts_with("USER ") && by_user.contains("sleep 4321"), "{by_user}");
        let id = docker.create(&["--name", "rests", "busybox", "true"]);
        docker.cli(&["top", "rests"]).exits(1).complains(&format!("container {id} is not running"));
    }

    fn the_daemon_counts_its_containers(docker: &Docker) {
        docker.start("runs", &[]);
        docker.create(&["--name", "made", "busybox", "true"]);
        docker.cli(&["info", "--format", "{{.Containers}} {{.ContainersRunning}} {{.ContainersStopped}}"]).ok().prints("2 1 1\n");
        let info = docker.cli(&["info"]).ok();
        assert!(info.out().contains("isolation"), "{info:?}");
        docker.cli(&["version", "--format", "{{.Server.APIVersion}}"]).ok();
        docker.cli(&["system", "df"]).ok();
    }
}
