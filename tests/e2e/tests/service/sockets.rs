//! Who may use the socket, whose it is, and that there is one daemon.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;
use std::{fs, io};

use casemate_e2e::modes::in_mode;
use casemate_e2e::{Engine, Isolation, Spawned};

use crate::daemon::{Service, docker, refused};

/// Of nobody, and of no group by that number on any host.
const GROUP: u32 = 1_234_567;

#[test]
fn the_socket_is_roots_and_the_groups() {
    in_mode(Isolation::Process, |engine: &Engine| {
        // A test's own files are root's alone; the client is to get at the socket.
        let service = Service::start(engine, &["--group", &GROUP.to_string()]);
        let socket = engine.run_dir().join("docker.sock");
        let metadata = fs::metadata(&socket).unwrap();
        assert_eq!((metadata.uid(), metadata.gid(), metadata.mode() & 0o7777), (0, GROUP, 0o660));
        let url = format!("--unix-socket {} --silent --fail http://docker/_ping", socket.display());
        let as_group = |gid: u32| {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=65534", &format!("--regid={gid}"), "--clear-groups", "curl"]);
            Spawned::start({
                command.args(url.split(' '));
                command
            })
            .wait()
        };
        as_group(GROUP).ok().prints("OK");
        assert_ne!(as_group(65534).code, 0, "anyone may use the socket");
        service.stop();
        refused(engine, &["--group", "no-such-group"]).complains("group no-such-group not found");
        assert!(!socket.exists());
    });
}

#[test]
fn several_hosts_are_served_and_the_run_directory_is_closed() {
    in_mode(Isolation::Process, |engine: &Engine| {
        let second = engine.run_dir().join("second.sock");
        let service = Service::start(
            engine,
            &["-H", "unix://", "-H", &format!("unix://{}", second.display()), "-H", "tcp://127.0.0.1:0"],
        );
        let hosts = [format!("unix://{}", second.display()), format!("tcp://{}", service.tcp())];
        for host in &hosts {
            Spawned::start(docker(engine, host, &["version"])).wait().ok();
        }
        service.cli(&["version"]).ok();
        service.cli(&["info"]).complains("WARNING: API is accessible on tcp://127.0.0.1:");
        let containers = fs::metadata(engine.run_dir().join("containers")).unwrap();
        assert_eq!(containers.permissions().mode() & 0o077, 0);
        service.stop();
        assert!(!second.exists());
    });
}

#[test]
fn one_daemon_on_a_root_and_on_a_pidfile() {
    in_mode(Isolation::Process, |engine: &Engine| {
        let service = Service::start(engine, &[]);
        let running = format!("process with PID {} is still running", service.pid());
        refused(engine, &[]).complains(&running);
        let pidfile = engine.run_dir().join("casemate.pid");
        assert_eq!(fs::read_to_string(&pidfile).unwrap(), service.pid().to_string());
        let (root, run) = (engine.scratch().join("root"), engine.scratch().join("run"));
        let words = [root.to_str().unwrap(), run.to_str().unwrap(), pidfile.to_str().unwrap()];
        refused(engine, &["--data-root", words[0], "--exec-root", words[1], "--pidfile", words[2]])
            .complains(&format!("ensure casemate is not running or delete {}: {running}", pidfile.display()));
        // Those took nothing away from this one.
        service.cli(&["version"]).ok();
        service.stop();
        assert!(!pidfile.exists());
    });
}

#[test]
fn a_dead_daemons_socket_is_replaced_and_a_living_programs_is_not() {
    in_mode(Isolation::Process, |engine: &Engine| {
        let socket = engine.run_dir().join("docker.sock");
        Service::start(engine, &[]).kill();
        assert!(socket.exists() && engine.run_dir().join("casemate.pid").exists());
        let service = Service::start(engine, &[]);
        service.cli(&["version"]).ok();
        service.stop();
        assert!(!socket.exists());

        let others = UnixListener::bind(&socket).unwrap();
        refused(engine, &[]).complains("another program listens on it");
        others.set_nonblocking(true).unwrap();
        // The one who looked whether anybody listens.
        drop(others.accept().unwrap());
        UnixStream::connect(&socket).unwrap();
        others.accept().expect("the socket is still the other program's");
        drop(others);
        fs::remove_file(&socket).unwrap();

        fs::write(&socket, "mine").unwrap();
        refused(engine, &[]).complains("there is something else of that name");
        assert_eq!(fs::read_to_string(&socket).unwrap(), "mine");
        fs::remove_file(&socket).unwrap();
    });
}

/// Who cannot be root for a moment cannot test what others may do.
#[test]
fn others_are_told_that_root_is_needed() {
    in_mode(Isolation::Process, |engine: &Engine| {
        let program = engine.scratch().join("casemate");
        fs::copy(&engine.prefix.program, &program).unwrap();
        for dir in [engine.root(), &engine.scratch()] {
            chown(dir, Some(65534), None).unwrap();
        }
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program).arg("daemon");
        command.env("CASEMATE_ROOT", engine.root()).env("CASEMATE_RUN", engine.run_dir());
        let finished = Spawned::start(command).wait().exits(1);
        finished.complains("casemate daemon needs to be started with root privileges");
        chown(engine.root(), Some(0), None).unwrap();
        let left = fs::read_dir(engine.run_dir()).and_then(|dir| dir.collect::<io::Result<Vec<_>>>()).unwrap();
        assert!(left.is_empty(), "{left:?}");
    });
}
