//! SIGTERM: what goes on, what is answered, and what is cut short.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use casemate_e2e::modes::in_mode;
use casemate_e2e::{Engine, Isolation, PATIENCE, Spawned, both_modes};
use rustix::process::Signal;

use crate::daemon::Service;

both_modes! {
    fn attached_clients_are_let_go_and_containers_go_on(engine: &Engine) {
        let service = Service::start(engine, &[]);
        let isolation = engine.isolation.as_str();
        let ticking = "i=0; while :; do i=$((i+1)); echo tick $i; sleep 0.2; done";
        let args = ["run", "--isolation", isolation, "--name", "ticking", "busybox", "sh", "-c", ticking];
        let attached = Spawned::start(service.docker(&args));
        attached.stdout.wait_for("tick 2");
        let followed = Spawned::start(service.docker(&["logs", "--follow", "ticking"]));
        followed.stdout.wait_for("tick 2");
        let events = Spawned::start(service.docker(&["events"]));

        let began = Instant::now();
        service.stop();
        // Nobody waits for what has no end.
        assert!(began.elapsed() < Duration::from_secs(10), "it took {:?}", began.elapsed());
        for client in [attached, followed, events] {
            client.wait();
        }
        assert!(!engine.run_dir().join("docker.sock").exists());

        let service = Service::start(engine, &[]);
        assert_eq!(service.cli(&["inspect", "--format", "{{.State.Running}}", "ticking"]).word(), "true");
        let again = Spawned::start(service.docker(&["attach", "--no-stdin", "ticking"]));
        again.stdout.wait_for("tick ");
        service.cli(&["rm", "--force", "ticking"]).ok();
        again.wait();
        service.stop();
    }

    fn a_request_under_way_is_answered_and_no_other_is_taken(engine: &Engine) {
        let service = Service::start(engine, &[]);
        let isolation = engine.isolation.as_str();
        // A command that the first signal does not end.
        let args = ["run", "--detach", "--isolation", isolation, "--name", "stubborn", "busybox", "sh", "-c",
                    "trap 'echo asked' TERM; echo ready; while :; do sleep 0.1; done"];
        service.cli(&args).ok();
        let logs = Spawned::start(service.docker(&["logs", "--follow", "stubborn"]));
        logs.stdout.wait_for("ready");
        let idle = UnixStream::connect(engine.run_dir().join("docker.sock")).unwrap();
        let stopping = Spawned::start(service.docker(&["stop", "-t", "3", "stubborn"]));
        logs.stdout.wait_for("asked");
        service.signal(Signal::TERM);
        service.log_has("stopping; containers go on");
        stopping.wait().ok().prints("stubborn\n");
        logs.wait();
        service.stop();

        // The client that had asked nothing was let go.
        let mut idle = idle;
        idle.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut answer = Vec::new();
        let _ = idle.write_all(b"GET /_ping HTTP/1.1\r\nHost: docker\r\n\r\n");
        let _ = idle.read_to_end(&mut answer);
        assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));

        let service = Service::start(engine, &[]);
        assert_eq!(service.cli(&["inspect", "--format", "{{.State.ExitCode}}", "stubborn"]).word(), "137");
        service.cli(&["rm", "stubborn"]).ok();
        service.stop();
    }
}

#[test]
fn told_twice_it_does_not_wait() {
    in_mode(Isolation::Process, |engine: &Engine| {
        let service = Service::start(engine, &["--shutdown-timeout", "3600"]);
        let args = [
            "run",
            "--detach",
            "--isolation",
            "process",
            "--name",
            "stubborn",
            "busybox",
            "sh",
            "-c",
            "trap 'echo asked' TERM; echo ready; while :; do sleep 0.1; done",
        ];
        service.cli(&args).ok();
        let logs = Spawned::start(service.docker(&["logs", "--follow", "stubborn"]));
        logs.stdout.wait_for("ready");
        let waiting = Spawned::start(service.docker(&["stop", "-t", "3600", "stubborn"]));
        logs.stdout.wait_for("asked");
        service.signal(Signal::INT);
        service.log_has("stopping; containers go on");
        let finished = service.stop();
        finished.complains("told twice");
        waiting.wait().exits(1);
        logs.wait();
        let service = Service::start(engine, &[]);
        service.cli(&["rm", "--force", "stubborn"]).ok();
        service.stop();
    });
}
