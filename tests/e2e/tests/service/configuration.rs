//! `--validate`, the configuration file, and what a flag and the file both say.

use casemate_e2e::modes::in_mode;
use casemate_e2e::{Engine, Isolation, Spawned};

use crate::daemon::{Service, command, configure, refused};

#[test]
fn validate_says_whether_it_would_do() {
    in_mode(Isolation::Process, |engine: &Engine| {
        let file = configure(engine, r#"{"debug": true, "exec-opts": ["isolation=hyperv"]}"#);
        let validated = Spawned::start(command(engine, &["--config-file", &file, "--validate"])).wait().ok();
        assert_eq!(validated.err(), "configuration OK\n");
        // It started nothing.
        assert!(!engine.run_dir().join("docker.sock").exists());

        let file = configure(engine, r#"{"debugg": true}"#);
        refused(engine, &["--config-file", &file, "--validate"])
            .complains("the following directives don't match any configuration option: debugg");
        let file = configure(engine, r#"{"debug": true}"#);
        refused(engine, &["--config-file", &file, "--debug", "--validate"]).complains(
            "the following directives are specified both as a flag and in the configuration file: debug: (from flag: \
             true, from file: true)",
        );
        refused(engine, &["--host", "tcp://0.0.0.0:0", "--validate"]).complains("use --tlsverify");
        refused(engine, &["--tls", "--tlscert", "/nowhere", "--validate"]).complains("\"/nowhere\"");
        Spawned::start(command(engine, &["--no-such-flag"])).wait().exits(125);
    });
}

#[test]
fn the_file_and_the_flags_decide_where_things_are() {
    in_mode(Isolation::Process, |engine: &Engine| {
        let (root, run) = (engine.root().join("test/data"), engine.run_dir().join("exec"));
        let text = format!(r#"{{"data-root": {root:?}, "exec-root": {run:?}, "log-format": "json"}}"#);
        let file = configure(engine, &text);
        let mut started = command(engine, &["--config-file", &file]);
        started.env_remove("CASEMATE_ROOT").env_remove("CASEMATE_RUN");
        let service = Service::of(engine, started);
        let host = format!("unix://{}/docker.sock", run.display());
        let info = crate::daemon::docker(engine, &host, &["info", "--format", "{{.DockerRootDir}}"]);
        assert_eq!(Spawned::start(info).wait().word(), root.display().to_string());
        assert_eq!(std::fs::read_to_string(run.join("casemate.pid")).unwrap(), service.pid().to_string());
        let line = service.log().lines().next().expect("a line").to_owned();
        let line: serde_json::Value = serde_json::from_str(&line).expect("a line of JSON");
        assert_eq!((line["level"].as_str(), line["message"].as_str()), (Some("INFO"), Some("API listens")));
        service.stop();
        assert!(!run.join("casemate.pid").exists() && !run.join("docker.sock").exists());
        std::fs::remove_dir_all(&run).unwrap();

        // The environment comes before the file.
        let service = Service::start(engine, &["--config-file", &file]);
        assert!(engine.run_dir().join("docker.sock").exists());
        service.stop();
    });
}

#[test]
fn a_daemon_logs_what_it_is_told_to() {
    in_mode(Isolation::Process, |engine: &Engine| {
        for (flags, variable, debugs) in [
            (&["--debug"][..], None, true),
            (&["--log-level", "info"], None, false),
            (&["--log-level", "info"], Some("RUST_LOG"), true),
            (&["--log-level", "info"], Some("CASEMATE_LOG"), true),
        ] {
            let mut command = command(engine, flags);
            if let Some(variable) = variable {
                command.env(variable, "debug");
            }
            let service = Service::of(engine, command);
            // Refusals are for developers.
            service.cli(&["inspect", "nothing"]).exits(1);
            assert_eq!(service.stop().err().contains("refused"), debugs, "{flags:?} {variable:?}");
        }
    });
}
