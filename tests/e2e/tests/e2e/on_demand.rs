//! The command line without a daemon, and with one that is elsewhere.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use casemate_e2e::modes::in_mode;
use casemate_e2e::process::pid;
use casemate_e2e::{Engine, Finished, Isolation, Spawned};
use rustix::process::getsid;
use sha2::{Digest, Sha256};

const STARTED: &str = "casemate: started the daemon (pid ";

#[track_caller]
fn finish(command: Command) -> Finished {
    Spawned::start(command).wait()
}

/// The first command starts it and says so in one line; it stays, away from the
/// terminal, with the engine's options of that command.
#[test]
fn a_daemon_is_started_by_the_first_command() {
    in_mode(Isolation::Process, |engine: &Engine| {
        let run = ["--default-isolation", "hyperv", "run", "--rm", "--isolation", "process", "busybox", "echo", "hi"];
        let first = finish(engine.program(&run)).ok().prints("hi\n");
        let said = first.err();
        assert_eq!((said.lines().count(), said.starts_with(STARTED)), (1, true), "{said}");
        let daemon = engine.on_demand_daemon();
        assert!(
            said.contains(&format!("(pid {daemon}, log {})", engine.root().join("daemon.log").display())),
            "{said}"
        );
        assert_eq!(getsid(Some(pid(daemon))).unwrap(), pid(daemon));
        let info = finish(engine.program(&["info"])).ok();
        assert!(info.err().is_empty() && info.out().contains("Default isolation: hyperv\n"), "{info:?}");
        // What only its start could hear.
        let late = finish(engine.program(&["--default-isolation=process", "ps"])).ok();
        late.complains("--default-isolation=process: of no effect");
        engine.stop_on_demand_daemon();
    });
}

/// Who waits for the end of what was written to a descriptor does not wait for
/// the daemon or its keepers to end.
#[test]
fn a_daemon_keeps_nothing_of_the_command_that_started_it() {
    in_mode(Isolation::Process, |engine: &Engine| {
        let script = "umask 0; exec 3>&1 9<&0; \"$0\" run -d --name stays busybox sleep 100000 >/dev/null; echo over";
        let mut shell = Command::new("sh");
        let program = engine.program(&[]);
        shell.args(["-c", script]).arg(program.get_program());
        shell.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        finish(shell).ok().prints("over\n");
        let mode = fs::metadata(engine.run_dir().join("casemate.pid")).unwrap().permissions().mode();
        assert_eq!(mode & 0o022, 0, "{mode:o}");
        engine.remove_all();
        engine.stop_on_demand_daemon();
    });
}

#[test]
fn commands_that_come_together_start_one() {
    in_mode(Isolation::Process, |engine: &Engine| {
        let all: Vec<Spawned> = (0..8).map(|_| Spawned::start(engine.program(&["ps", "-a"]))).collect();
        let said: Vec<String> = all.into_iter().map(|command| command.wait().ok().err()).collect();
        assert_eq!(said.iter().filter(|said| said.starts_with(STARTED)).count(), 1, "{said:?}");
        assert_eq!(said.iter().filter(|said| said.is_empty()).count(), 7, "{said:?}");
        engine.stop_on_demand_daemon();
    });
}

#[test]
fn one_that_does_not_come_up_says_why() {
    in_mode(Isolation::Process, |engine: &Engine| {
        let scratch = ["--scratch-size", "1", "run", "--rm", "busybox", "true"];
        fs::write(engine.run_dir().join("docker.sock"), "no socket").unwrap();
        // A file there is nobody, and nothing that may be taken away.
        let refused = finish(engine.program(&scratch)).exits(125);
        assert!(refused.err().starts_with("casemate: "), "{refused:?}");
        fs::remove_file(engine.run_dir().join("docker.sock")).unwrap();
        let refused = finish(engine.program(&["--accelerator", "steam", "ps"])).exits(1);
        refused.complains("the daemon did not start (exit status: 1)").complains("ends with:\n  casemate: ");
        assert!(!engine.run_dir().join("docker.sock").exists());
    });
}

/// Who is not root gets a daemon that is there, or a hint.
#[test]
fn others_cannot_start_one() {
    in_mode(Isolation::Process, |engine: &Engine| {
        let nobody = |args: &[&str]| {
            let mut command = engine.program(args);
            command.uid(65534).gid(65534);
            finish(command)
        };
        nobody(&["run", "busybox"]).exits(125).complains("only root can start one").complains("hint: sudo casemate");
        engine.cli(&["ps"]).ok();
        nobody(&["ps"]).exits(1).complains("permission denied while trying to connect").complains("hint: ");
    });
}

/// By flag, by the environment, and by a context of Docker's own making.
#[test]
fn a_daemon_that_is_named_is_asked_and_none_is_started() {
    in_mode(Isolation::Process, |engine: &Engine| {
        let socket = engine.scratch().join("elsewhere.sock");
        let host = format!("unix://{}", socket.display());
        let nobody = finish(engine.program(&["-H", &host, "ps"])).exits(1).complains("cannot connect to the daemon at");
        nobody.complains(&host);
        engine.configure(&["-H", &host]);
        engine.start_daemon();

        let ask = |args: &[&str], environment: &[(&str, &str)]| {
            let mut command = engine.program(&[args, &["info"]].concat());
            command.envs(environment.iter().copied());
            finish(command)
        };
        let is_asked = |asked: Finished| assert!(asked.ok().out().starts_with(&format!("Daemon: {host}\n")));
        is_asked(ask(&["-H", &host], &[]));
        is_asked(ask(&[], &[("DOCKER_HOST", &host)]));
        let config = engine.scratch().join("docker-config");
        fs::create_dir_all(&config).unwrap();
        let mut create = Command::new("docker");
        create.args(["context", "create", "elsewhere", "--docker", &format!("host={host}")]);
        create.env("DOCKER_CONFIG", &config).env_remove("DOCKER_HOST");
        finish(create).ok();
        let id: String = Sha256::digest("elsewhere").iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(config.join("contexts/meta").join(id).exists());
        is_asked(ask(&["--context", "elsewhere"], &[]));
        is_asked(ask(&[], &[("DOCKER_CONTEXT", "elsewhere")]));
        fs::write(config.join("config.json"), r#"{"currentContext": "elsewhere"}"#).unwrap();
        is_asked(ask(&[], &[]));
        ask(&["--context", "nowhere"], &[]).exits(1).complains("context \"nowhere\": context not found");
        ask(&["-H", &host, "--context", "elsewhere"], &[]).exits(1).complains("conflicting options");
        assert!(!engine.socket().exists());
        // The look at what is left is at one that is where it is expected.
        fs::remove_file(config.join("config.json")).unwrap();
        engine.configure(&[]);
    });
}
