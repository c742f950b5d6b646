//! Sockets and notices of a service manager, as systemd's protocol has them.

use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::Command;

use casemate_e2e::modes::in_mode;
use casemate_e2e::{Engine, Isolation, PATIENCE, Spawned};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::Signal;

use crate::daemon::{Service, command, docker, refused};

/// The daemon's command, with these descriptors from 3 on.
fn activated(engine: &Engine, flags: &[&str], names: &str, sockets: &[BorrowedFd]) -> Command {
    let daemon = command(engine, flags);
    let mut shell = Command::new("bash");
    // High numbers first become 3 and up; the numbers that were inherited go.
    let mut script = String::new();
    for (at, socket) in sockets.iter().enumerate() {
        // The daemon's, not this program's other children's: cleared below.
        fcntl_setfd(socket, FdFlags::empty()).unwrap();
        script += &format!("exec {}<&{} {}<&-\n", at + 100, socket.as_raw_fd(), socket.as_raw_fd());
    }
    for at in 0..sockets.len() {
        script += &format!("exec {}<&{} {}<&-\n", at + 3, at + 100, at + 100);
    }
    script += &format!("LISTEN_FDS={} LISTEN_FDNAMES={names} LISTEN_PID=$$ exec \"$@\"", sockets.len());
    shell.args(["-c", &script, "bash"]).arg(daemon.get_program()).args(daemon.get_args());
    for (name, value) in daemon.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell
}

#[test]
fn handed_over_sockets_are_served_and_stay() {
    in_mode(Isolation::Process, |engine: &Engine| {
        let path = engine.scratch().join("api.sock");
        let unix = UnixListener::bind(&path).unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let hosts = [format!("unix://{}", path.display()), format!("tcp://{}", tcp.local_addr().unwrap())];
        let service = Service::of(engine, activated(engine, &["-H", "fd://"], "a:b", &[unix.as_fd(), tcp.as_fd()]));
        service.log_has("API listens address=\"tcp://");
        for host in &hosts {
            Spawned::start(docker(engine, host, &["version"])).wait().ok();
        }
        // Its own is not made, and those that it was given are not its.
        assert!(!engine.run_dir().join("docker.sock").exists());
        let run = ["run", "--detach", "--isolation", "process", "--name", "held", "busybox", "sleep", "1000"];
        Spawned::start(docker(engine, &hosts[0], &run)).wait().ok();
        let top = ["-H", &hosts[0], "top", "--host", "--format", "json", "held"];
        let processes = Spawned::start(engine.program(&top)).wait().ok().out();
        let keeper = processes.lines().find(|line| line.contains(r#""Role":"keeper""#)).expect("a keeper");
        let keeper: serde_json::Value = serde_json::from_str(keeper).unwrap();
        let keeper = keeper["PID"].as_u64().unwrap() as u32;
        assert_eq!(listening_descriptors(keeper), 0, "a keeper has the daemon's sockets");
        Spawned::start(docker(engine, &hosts[1], &["rm", "--force", "held"])).wait().ok();
        service.stop();
        assert!(path.exists());

        // Each name by itself.
        let service = Service::of(engine, activated(engine, &["-H", "fd://b"], "a:b", &[unix.as_fd(), tcp.as_fd()]));
        assert!(service.log().contains("tcp://") && !service.log().contains("unix://"), "{}", service.log());
        service.stop();
        drop((unix, tcp));
        std::fs::remove_file(&path).unwrap();
    });
}

/// Sockets of the host's network and of its file system that accept.
fn listening_descriptors(pid: u32) -> usize {
    let tables =
        ["tcp", "unix"].map(|table| std::fs::read_to_string(format!("/proc/thread-self/net/{table}")).unwrap());
    let mut listening = Vec::new();
    for line in tables[0].lines().skip(1) {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        if fields[3] == "0A" {
            listening.push(fields[9].to_owned());
        }
    }
    for line in tables[1].lines().filter(|line| line.contains("api.sock")) {
        listening.extend(line.split_ascii_whitespace().nth(6).map(str::to_owned));
    }
    let links = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let links = links.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    links.filter(|link| listening.iter().any(|inode| link.to_string_lossy() == format!("socket:[{inode}]"))).count()
}

#[test]
fn what_is_not_handed_over_is_missed() {
    in_mode(Isolation::Process, |engine: &Engine| {
        refused(engine, &["-H", "fd://"]).complains("no sockets found via socket activation");
        let open = TcpListener::bind("0.0.0.0:0").unwrap();
        let complaint = |flags: &[&str], socket: BorrowedFd, complaint: &str| {
            Spawned::start(activated(engine, flags, "a", &[socket])).wait().exits(1).complains(complaint);
        };
        complaint(&["-H", "fd://b"], open.as_fd(), "no socket named b");
        // The rule for TCP is the same, whoever opened it.
        complaint(&["-H", "fd://"], open.as_fd(), "use --tlsverify");
        let datagram = UnixDatagram::unbound().unwrap();
        complaint(&["-H", "fd://"], datagram.as_fd(), "no stream socket that listens");
    });
}

#[test]
fn the_service_manager_is_told() {
    in_mode(Isolation::Process, |engine: &Engine| {
        let path = engine.scratch().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_read_timeout(Some(PATIENCE)).unwrap();
        let told = || {
            let mut buffer = [0; 256];
            let length = manager.recv(&mut buffer).expect("a notice");
            String::from_utf8_lossy(&buffer[..length]).into_owned()
        };
        let mut started = command(engine, &[]);
        started.env("NOTIFY_SOCKET", &path);
        let service = Service::of(engine, started);
        assert_eq!(told(), "READY=1");
        service.signal(Signal::HUP);
        assert!(told().starts_with("RELOADING=1\nMONOTONIC_USEC="));
        assert_eq!(told(), "READY=1");
        service.stop();
        assert_eq!(told(), "STOPPING=1");
        drop(manager);
        std::fs::remove_file(&path).unwrap();
    });
}
