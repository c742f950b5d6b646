//! Many clients at once, and many containers.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use casemate_e2e::{Docker, Isolation, both_modes, http, modes, note};
use serde_json::{Value, json};

const CLIENTS: usize = 50;

/// Every client's lives are counted, so that none is lost.
fn live(socket: &Path, isolation: Isolation, client: usize, until: Instant) -> usize {
    let call = |method: &str, path: &str, body: Option<&Value>| http::request_json(socket, method, path, body);
    let mut lives = 0;
    while lives == 0 || Instant::now() < until {
        let name = format!("client-{client}-{lives}");
        let body = json!({ "Image": "busybox", "Cmd": ["sh", "-c", "exit 7"], "HostConfig": { "Isolation": isolation.as_str() } });
        call("POST", &format!("/containers/create?name={name}"), Some(&body)).is(201);
        call("POST", &format!("/containers/{name}/start"), None).is(204);
        let waited = call("POST", &format!("/containers/{name}/wait"), None).is(200);
        assert_eq!(waited.json()["StatusCode"], json!(7), "{name}");
        call("DELETE", &format!("/containers/{name}"), None).is(204);
        lives += 1;
    }
    lives
}

/// A hundredth of the pings took longer.
fn slowest_hundredth(socket: &Path, over: &AtomicBool) -> Duration {
    let mut times = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let from = Instant::now();
        http::request_json(socket, "GET", "/_ping", None).is(200);
        times.push(from.elapsed());
        std::thread::sleep(Duration::from_millis(10));
    }
    times.sort();
    times[times.len() * 99 / 100]
}

both_modes! {
    fn fifty_clients_at_once(docker: &Docker) {
        // Emulated VMs by the dozen take what the host has, and no more can be
        // learned from them.
        let (clients, seconds) = if docker.engine().is_hyperv() { (6, 4) } else { (CLIENTS, 8) };
        docker.run(&["--rm", "busybox", "true"]).ok();
        let over = AtomicBool::new(false);
        let until = Instant::now() + Duration::from_secs(seconds);
        let (socket, isolation) = (&*docker.socket(), docker.engine().isolation);
        let (lives, ping) = std::thread::scope(|scope| {
            let pinging = scope.spawn(|| slowest_hundredth(socket, &over));
            let clients: Vec<_> = (0..clients).map(|client| scope.spawn(move || live(socket, isolation, client, until))).collect();
            let lives: Vec<usize> = clients.into_iter().map(|client| client.join().expect("a client that succeeds")).collect();
            over.store(true, Ordering::Relaxed);
            (lives, pinging.join().expect("a daemon that answers"))
        });
        note(&format!("{} lives of {clients} clients; one in a hundred pings took longer than {ping:?}", lives.iter().sum::<usize>()));
        assert!(lives.iter().all(|lives| *lives > 0), "{lives:?}");
        assert_eq!(docker.cli(&["ps", "-aq"]).ok().out(), "");
    }
}

/// Created, not started: half of them for each isolation.
#[test]
fn a_thousand_containers_are_listed() {
    modes::in_mode(Isolation::Process, |docker: &Docker| {
        const EACH: usize = 500;
        let socket = docker.socket();
        let create = |isolation: &str| {
            for number in 0..EACH {
                let body = json!({ "Image": "busybox", "Cmd": ["true"], "HostConfig": { "Isolation": isolation } });
                let path = format!("/containers/create?name={isolation}-{number}");
                http::request_json(&socket, "POST", &path, Some(&body)).is(201);
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(|| create("process"));
            scope.spawn(|| create("hyperv"));
        });
        let from = Instant::now();
        let listed = docker.get("/containers/json?all=1").is(200).json();
        note(&format!("a thousand containers are listed in {:?}", from.elapsed()));
        assert_eq!(listed.as_array().unwrap().len(), 2 * EACH);
        assert_eq!(docker.cli(&["ps", "-aq", "--filter", "isolation=hyperv"]).ok().out().lines().count(), EACH);
        // Found again by the next daemon too.
        docker.kill_and_restart_daemon();
        assert_eq!(docker.cli(&["ps", "-aq"]).ok().out().lines().count(), 2 * EACH);
        docker.cli(&["container", "prune", "-f"]).ok();
        assert_eq!(docker.cli(&["ps", "-aq"]).ok().out(), "");
    });
}
