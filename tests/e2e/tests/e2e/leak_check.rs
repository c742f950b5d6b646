//! The check that nothing is left would be worth nothing if it saw nothing.

use std::fs;
use std::os::unix::net::UnixListener;
use std::process::Command;

use casemate_e2e::{Isolation, PATIENCE, Spawned, eventually, modes};

#[test]
fn finds_what_is_left() {
    modes::in_mode(Isolation::Process, |engine| {
        let found = |what: &str| {
            let left = engine.leaks().left();
            assert!(left.iter().any(|line| line.starts_with(what)), "{what} is not among {left:?}");
        };
        engine.run(&["--rm", "busybox", "true"]).ok();
        engine.leaks().check();

        let mut command = Command::new("sleep");
        command.arg("1000").current_dir(engine.root());
        let process = Spawned::start(command);
        found(&format!("process {}: sleep 1000", process.pid()));
        drop(process);

        let mut command = Command::new("sleep");
        command.args(["1000"]).env("SOMETHING", engine.run_dir());
        let process = Spawned::start(command);
        eventually(
            "it is found",
            PATIENCE,
            || if engine.leaks().left().is_empty() { Err("not found") } else { Ok(()) },
        );
        drop(process);

        let file = engine.run_dir().join("containers/left");
        fs::write(&file, "").unwrap();
        found("file ");
        fs::remove_file(&file).unwrap();

        let socket = engine.run_dir().join("left.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        found("socket ");
        drop(listener);
        fs::remove_file(&socket).unwrap();

        let group = fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|entry| entry.path().join("casemate"));
        let group = group.chain(["/sys/fs/cgroup/casemate".into()]).find(|path| path.is_dir()).unwrap().join("left");
        fs::create_dir(&group).unwrap();
        found("control group ");
        fs::remove_dir(&group).unwrap();

        let target = engine.scratch().join("mounted");
        fs::create_dir(&target).unwrap();
        rustix::mount::mount_bind(engine.scratch(), &target).unwrap();
        found("mount ");
        rustix::mount::unmount(&target, rustix::mount::UnmountFlags::empty()).unwrap();
        engine.leaks().check();
    });
}

/// A running container is much that is left, under either isolation.
#[test]
fn finds_a_running_container() {
    for isolation in [Isolation::Process, Isolation::Hyperv] {
        modes::in_mode(isolation, |engine| {
            engine.start("left", &[]);
            let left = engine.leaks().left();
            for what in ["process ", "control group ", "file "] {
                assert!(left.iter().any(|line| line.starts_with(what)), "{what} is not among {left:?}");
            }
        });
    }
}
