//! The check that nothing is left would be worth nothing if it saw nothing.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use casemate_e2e::network::with_netlink;
use casemate_e2e::{Isolation, PATIENCE, Spawned, eventually, modes};
use rtnetlink::{LinkUnspec, LinkVeth};

#[test]
fn finds_what_is_left() {
    modes::in_mode(Isolation::Process, |engine: &casemate_e2e::Engine| {
        // A process whose start has just been told has no arguments yet.
        let found = |what: &str| {
            eventually("a leak is found", PATIENCE, || {
                let left = engine.leaks().left();
                let found = left.iter().any(|line| line.starts_with(what));
                if found { Ok(()) } else { Err(format!("{what:?} is not among {left:?}")) }
            });
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
        found(&format!("process {}: sleep 1000", process.pid()));
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

        let group = hierarchy().join("casemate/left");
        fs::create_dir_all(&group).unwrap();
        found("control group ");
        fs::remove_dir(&group).unwrap();
        // It stays while others are in it.
        let _ = fs::remove_dir(group.parent().unwrap());

        let target = engine.scratch().join("mounted");
        fs::create_dir(&target).unwrap();
        rustix::mount::mount_bind(engine.scratch(), &target).unwrap();
        found("mount ");
        rustix::mount::unmount(&target, rustix::mount::UnmountFlags::empty()).unwrap();
        engine.leaks().check();
    });
}

#[test]
fn finds_what_is_left_in_the_network() {
    modes::in_mode(Isolation::Process, |engine: &casemate_e2e::Engine| {
        let found = |what: &str| {
            let left = engine.leaks().left();
            assert!(left.iter().any(|line| line.starts_with(what)), "{what:?} is not among {left:?}");
        };
        engine.leaks().check();

        with_netlink(async |handle| {
            handle.link().add(LinkVeth::new("cm-left", "br-left").build()).execute().await.unwrap();
        });
        found("network link \"cm-left\"");
        found("network link \"br-left\"");
        // Gone with its peer.
        with_netlink(async |handle| {
            let link = LinkUnspec::new_with_name("cm-left").build();
            handle.link().del_with_message(link).execute().await.unwrap();
        });
        engine.leaks().check();

        let nft = |words: &str| {
            let mut command = Command::new("nft");
            command.args(words.split(' '));
            Spawned::start(command).wait().ok();
        };
        nft("add table inet casemate");
        nft("add set inet casemate known { type ifname . ipv4_addr ; }");
        nft("add map inet casemate publish { type inet_service : ipv4_addr ; }");
        nft("add element inet casemate known { br-0123456789ab . 10.1.0.1 }");
        // The networks' own.
        engine.leaks().check();
        nft("add element inet casemate known { cm-left . 10.1.0.2 }");
        found("firewall element known of table \"inet\": ");
        nft("flush set inet casemate known");
        nft("add element inet casemate publish { 80 : 10.1.0.2 }");
        found("firewall element publish of table \"inet\": ");
        nft("delete table inet casemate");
        nft("add table inet another");
        found("firewall table ");
        nft("delete table inet another");
        engine.leaks().check();
    });
}

/// Some hierarchy of control groups: the only one, or one of several.
fn hierarchy() -> PathBuf {
    let root = Path::new("/sys/fs/cgroup");
    let single = root.join("cgroup.procs").exists();
    if single { root.to_owned() } else { root.join("pids") }
}

/// A running container is much that is left, under either isolation.
#[test]
fn finds_a_running_container() {
    for isolation in [Isolation::Process, Isolation::Hyperv] {
        modes::in_mode(isolation, |engine: &casemate_e2e::Engine| {
            engine.start("left", &[]);
            let left = engine.leaks().left();
            for what in ["process ", "control group ", "file "] {
                assert!(left.iter().any(|line| line.starts_with(what)), "{what} is not among {left:?}");
            }
        });
    }
}
