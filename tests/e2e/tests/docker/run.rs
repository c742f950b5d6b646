//! `docker run`: its options, what it prints, and its exit codes.

use std::fs;

use casemate_e2e::conforming;
use serde_json::json;

conforming! {
    fn runs_to_its_end_and_says_how(docker: &Docker) {
        docker.run(&["--rm", "busybox", "echo", "hello"]).ok().prints("hello\n").complains("");
        docker.run(&["--rm", "busybox", "sh", "-c", "exit 3"]).exits(3);
        docker.run(&["--rm", "busybox", "false"]).exits(1);
        docker.run(&["--rm", "busybox", "sh", "-c", "sh -c 'kill -KILL $$'; exit $?"]).exits(137);
    }

    fn a_command_that_cannot_be_run_has_dockers_codes(docker: &Docker) {
        docker
            .run(&["--rm", "busybox", "no-such-command", "--flag"])
            .exits(127)
            .complains("docker: Error response from daemon: ")
            .complains(r#"exec: "no-such-command": executable file not found in $PATH"#);
        docker
            .run(&["--rm", "busybox", "/no/such"])
            .exits(127)
            .complains(r#"exec: "/no/such": stat /no/such: no such file or directory"#);
        docker.run(&["--rm", "busybox", "/etc/hosts"]).exits(126).complains(r#"exec: "/etc/hosts": permission denied"#);
        docker.run(&["--rm", "busybox", ""]).exits(127).complains(r#"exec: "": executable file not found in $PATH"#);
        docker.run(&["--rm", "busybox", "/etc"]).exits(126).complains(r#"exec: "/etc": is a directory"#);
        assert_eq!(docker.cli(&["ps", "-aq"]).ok().out(), "", "--rm removes what did not start");
    }

    fn a_failed_start_leaves_a_created_container(docker: &Docker) {
        docker.run(&["--name", "failed", "busybox", "no-such-command"]).exits(127);
        let state = docker.state("failed");
        assert_eq!((&state["Status"], &state["ExitCode"]), (&json!("created"), &json!(127)), "{state}");
        assert!(state["Error"].as_str().unwrap().contains("executable file not found"), "{state}");
    }

    fn an_engine_that_cannot_is_125(docker: &Docker) {
        docker.run(&["--rm", "-w", "relative", "busybox", "true"]).exits(125).complains("it needs to be an absolute path");
        docker
            .run(&["--rm", "-u", "nobody-here", "busybox", "true"])
            .exits(125)
            .complains("unable to find user nobody-here: no matching entries in passwd file");
        docker.run(&["--rm", "-m", "1m", "busybox", "true"]).exits(125).complains("Minimum memory limit allowed is 6MB");
        docker.run(&["--rm", "--cpuset-cpus", "8000", "busybox", "true"]).exits(125).complains("Requested CPUs are not available - requested 8000, available: 0");
        docker.run(&["--rm", "--cpuset-mems", "8000", "busybox", "true"]).exits(125).complains("Requested memory nodes are not available - requested 8000, available: 0");
        docker.run(&["--rm", "--pull", "never", "--platform", "linux/s390x", "busybox", "true"]).exits(125).complains("does not match the specified platform");
        docker.start("taken", &[]);
        docker.run(&["--name", "taken", "busybox", "true"]).exits(125).complains(
            "Conflict. The container name \"/taken\" is already in use by container",
        );
        docker.run(&["--pull", "never", "--rm", "no-such-image", "true"]).exits(125).complains("No such image: no-such-image:latest");
    }

    fn in_the_background_it_prints_the_id(docker: &Docker) {
        let id = docker.run(&["-d", "--name", "quiet", "busybox", "sleep", "100000"]).word();
        assert!(id.len() == 64 && id.bytes().all(|digit| digit.is_ascii_hexdigit()), "{id:?}");
        for known in ["quiet", "/quiet", &id, &id[..8]] {
            assert_eq!(docker.inspect(known)["Id"], json!(id), "{known}");
        }
        assert_eq!(docker.state("quiet")["Running"], json!(true));
    }

    fn removed_at_its_end_if_asked(docker: &Docker) {
        docker.run(&["--rm", "--name", "gone", "busybox", "true"]).ok();
        docker.until_gone("gone");
        docker.run(&["-d", "--rm", "--name", "later", "busybox", "sleep", "100000"]).ok();
        docker.cli(&["kill", "later"]).ok().prints("later\n");
        docker.until_gone("later");
        // The name is free again.
        docker.run(&["--rm", "--name", "later", "busybox", "true"]).ok();
    }

    fn its_id_is_written_to_a_file(docker: &Docker) {
        let file = docker.engine().scratch().join("cid");
        let id = docker.run(&["-d", "--cidfile", file.to_str().unwrap(), "busybox", "sleep", "100000"]).word();
        assert_eq!(fs::read_to_string(&file).unwrap(), id);
        docker
            .run(&["--cidfile", file.to_str().unwrap(), "busybox", "true"])
            .exits(125)
            .complains("container ID file found");
    }

    fn its_options_reach_the_container(docker: &Docker) {
        let file = docker.engine().scratch().join("env");
        fs::write(&file, "# a comment\nFROM_FILE=yes\n").unwrap();
        let script = "echo $GREETING $FROM_FILE; hostname; pwd; id -u; id -g";
        let options = [
            "--rm", "-e", "GREETING=hello", "--env-file", file.to_str().unwrap(), "-h", "castle", "-w", "/tmp", "-u", "7:8",
            "--entrypoint", "sh",
        ];
        docker.run(&[&options[..], &["busybox", "-c", script]].concat()).ok().prints("hello yes\ncastle\n/tmp\n7\n8\n");
        docker.run(&["--rm", "--read-only", "busybox", "touch", "/new"]).exits(1).complains("Read-only file system");
        docker.run(&["--rm", "--cpus", "1", "-m", "128m", "busybox", "true"]).ok();
        let id = docker.create(&["--name", "kept", "-l", "tier=wall", "-e", "A=b", "--stop-timeout", "3", "busybox", "sleep", "9"]);
        let inspected = docker.inspect("kept");
        assert_eq!(inspected["Id"], json!(id));
        let config = &inspected["Config"];
        assert_eq!(config["Labels"], json!({ "tier": "wall" }));
        assert_eq!((&config["Cmd"], &config["StopTimeout"]), (&json!(["sleep", "9"]), &json!(3)));
        assert!(config["Env"].as_array().unwrap().contains(&json!("A=b")), "{config}");
    }

    /// Resolved when the container is made, whatever the spelling.
    fn isolation_is_read_in_any_case_and_resolved(docker: &Docker) {
        let isolation = docker.isolation();
        let capitals = isolation.to_uppercase();
        docker.cli(&["create", "--name", "loud", "--isolation", &capitals, "busybox", "true"]).ok();
        assert_eq!(docker.inspect("loud")["HostConfig"]["Isolation"], json!(isolation));
        let default = docker.cli(&["info", "--format", "{{.Isolation}}"]).word();
        assert!(["process", "hyperv"].contains(&default.as_str()), "{default}");
        for (name, spelled) in [("spelled", "default"), ("empty", "")] {
            docker.cli(&["create", "--name", name, "--isolation", spelled, "busybox", "true"]).ok();
            assert_eq!(docker.inspect(name)["HostConfig"]["Isolation"], json!(default));
        }
        docker
            .cli(&["create", "--isolation", "vault", "busybox", "true"])
            .exits(1)
            .complains("Error response from daemon: ")
            .complains("nvalid isolation");
    }

    fn the_wall_is_the_one_that_was_asked_for(docker: &Docker) {
        let inside = docker.run(&["--rm", "busybox", "cat", "/proc/sys/kernel/random/boot_id"]).word();
        let host = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        assert_eq!(inside == host.trim(), !docker.engine().is_hyperv());
    }
}
