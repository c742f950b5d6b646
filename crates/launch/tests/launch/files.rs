//! Children that work on a container's files.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;

use casemate_launch::{Cage, Child, ChildFds, ContainerRoot, LaunchError};
use casemate_model::{Classify, ErrorClass, chain};
use casemate_tree::{ChangeKind, list_changes};

use crate::harness::Test;
use crate::image::{Running, Sandbox, container, process, read_until};

pub(crate) const TESTS: &[Test] = &[
    ("files::of_a_running_container", of_a_running_container),
    ("files::of_a_held_root", of_a_held_root),
    ("files::a_child_stands_outside", a_child_stands_outside),
    ("files::read_only_roots_stay_so", read_only_roots_stay_so),
    ("files::changes_are_the_containers_own", changes_are_the_containers_own),
    ("files::no_root_without_a_container", no_root_without_a_container),
];

const READY: [&str; 3] = ["sh", "-c", "echo ready; sleep 1000 & wait"];

/// A container that has done this and then waits.
fn ready(sandbox: &Sandbox, script: &str) -> Running {
    let script = format!("{script}\n{}", READY[2]);
    let running = Running::start(sandbox, container(&["sh", "-c", &script]));
    read_until(&running.stdout, "ready");
    running
}

/// What a child wrote, once it has ended.
fn told(start: impl FnOnce(ChildFds<'_>, &OwnedFd) -> Result<Child, LaunchError>) -> Result<String, LaunchError> {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let (_report, child_report) = std::io::pipe().unwrap();
    let writer = OwnedFd::from(writer);
    let mut child = start(ChildFds { report: child_report.as_fd(), data: writer.as_fd() }, &writer)?;
    drop(writer);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(child.wait().unwrap().code(), 0);
    Ok(text)
}

/// Where the child finds a file of the container.
fn at(root: &ContainerRoot, path: &str) -> PathBuf {
    format!("/proc/self/fd/{}/{path}", root.directory().as_raw_fd()).into()
}

fn say(out: &OwnedFd, text: &str) {
    let mut out = fs::File::from(out.try_clone().unwrap());
    out.write_all(text.as_bytes()).unwrap();
}

fn in_root(cage: &Cage, etc: bool, job: impl Fn(&ContainerRoot) -> String) -> Result<String, LaunchError> {
    told(|fds, out| {
        cage.with_root(etc, fds, |root| match root {
            Ok(root) => say(out, &job(&root)),
            Err(error) => say(out, &chain(&error)),
        })
    })
}

fn read(root: &ContainerRoot, path: &str) -> String {
    fs::read_to_string(at(root, path)).unwrap_or_else(|error| format!("{error}"))
}

fn listing(root: &ContainerRoot, path: &str) -> String {
    let names = fs::read_dir(at(root, path)).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names.join(" ")
}

fn of_a_running_container() {
    let sandbox = Sandbox::new();
    let running = ready(&sandbox, "echo mine > /tmp/file; echo hidden > /dev/shm/hidden");
    let cage = &running.cage;
    let seen = in_root(cage, true, |root| {
        let kernel = [listing(root, "proc"), listing(root, "dev"), listing(root, "sys")].join("|");
        format!("{}{}{kernel}", read(root, "tmp/file"), read(root, "etc/hosts"))
    });
    assert_eq!(seen.unwrap(), "mine\n127.0.0.1\tlocalhost\n||");
    // Only where they are asked for.
    assert_eq!(in_root(cage, false, |root| read(root, "etc/hosts")).unwrap(), "");
    in_root(cage, true, |root| {
        fs::write(at(root, "tmp/answer"), "from outside").unwrap();
        String::new()
    })
    .unwrap();
    assert_eq!(running.exec(&process(&["cat", "/tmp/answer"])).unwrap().ok(), "from outside");
    running.end();
}

fn of_a_held_root() {
    let sandbox = Sandbox::new();
    let cage = &sandbox.cage(container(&["true"]));
    cage.hold_root().unwrap();
    let error = cage.start().unwrap_err();
    assert_eq!(
        (error.class(), chain(&error).as_str()),
        (ErrorClass::Conflict, "the container has been started before")
    );
    in_root(cage, true, |root| {
        fs::write(at(root, "tmp/new"), "written").unwrap();
        String::new()
    })
    .unwrap();
    let seen = in_root(cage, true, |root| format!("{} {}", read(root, "tmp/new"), read(root, "etc/hostname")));
    assert_eq!(seen.unwrap(), "written box\n");
    cage.destroy().unwrap();
    assert_eq!(fs::read_to_string(sandbox.dir.path().join("upper/tmp/new")).unwrap(), "written");
    // And then it can be started, by another.
    assert_eq!(sandbox.sh("cat /tmp/new").ok(), "written");
}

/// In none of the container's namespaces and control groups: the container does
/// not see it, and what it uses is not the container's.
fn a_child_stands_outside() {
    let sandbox = Sandbox::new();
    let running = ready(&sandbox, "");
    let cage = &running.cage;
    let state = |pid: &str| {
        let link = |name| fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap();
        let spaces = ["pid", "net", "uts", "ipc", "cgroup", "user"].map(link);
        format!("{spaces:?} {}", fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap())
    };
    let inside = in_root(cage, true, |_| {
        let descriptors = fs::read_dir("/proc/self/fd").unwrap().count();
        // The standard streams, two pipes, the root, the way there and back, and the
        // listing's own.
        assert!(descriptors <= 10, "{descriptors} descriptors");
        let mounted = fs::read_link("/proc/self/ns/mnt").unwrap();
        format!("{}\n{mounted:?}", state("self"))
    });
    let expected = state("self");
    let inside = inside.unwrap();
    let (rest, mounts) = inside.rsplit_once('\n').unwrap();
    assert_eq!(rest, expected);
    for other in ["self".to_owned(), running.init.pid().to_string()] {
        let other = format!("{:?}", fs::read_link(format!("/proc/{other}/ns/mnt")).unwrap());
        assert_ne!(mounts, other);
    }
    running.end();
}

fn read_only_roots_stay_so() {
    let sandbox = Sandbox::new();
    let mut read_only = container(&READY);
    read_only.read_only = true;
    let running = Running::start(&sandbox, read_only);
    read_until(&running.stdout, "ready");
    let cage = &running.cage;
    assert!(cage.container().read_only);
    for path in ["tmp/new", "etc/hosts"] {
        let written = in_root(cage, true, |root| format!("{:?}", fs::write(at(root, path), "x").unwrap_err().kind()));
        assert_eq!(written.unwrap(), "ReadOnlyFilesystem", "{path}");
    }
    running.end();
}

fn changes_are_the_containers_own() {
    let mut sandbox = Sandbox::new();
    // A second layer, in which `/etc` leads elsewhere and `/sys` is not.
    let layer = sandbox.layer();
    let top = sandbox.dir.path().join("top");
    fs::create_dir_all(top.join("usr")).unwrap();
    fs::rename(layer.join("etc"), top.join("usr/etc")).unwrap();
    std::os::unix::fs::symlink("/usr/etc", top.join("etc")).unwrap();
    fs::remove_dir(layer.join("sys")).unwrap();
    sandbox.lowers = vec![top, layer];
    let running = ready(&sandbox, "rm /etc/group; echo x > /root/new; chmod 700 /srv");
    let changes = told(|fds, out| {
        running.cage.with_layers(fds, |layers| {
            list_changes(&layers.unwrap(), |kind, path| {
                let letter = match kind {
                    ChangeKind::Modified => "C",
                    ChangeKind::Added => "A",
                    ChangeKind::Deleted => "D",
                };
                say(out, &format!("{letter} {}\n", String::from_utf8_lossy(path)));
                Ok(())
            })
            .unwrap();
        })
    });
    assert_eq!(changes.unwrap(), "C /root\nA /root/new\nC /srv\nC /usr\nC /usr/etc\nD /usr/etc/group\n");
    running.end();
}

fn no_root_without_a_container() {
    let sandbox = Sandbox::new();
    let cage = sandbox.cage(container(&["true"]));
    let refused = |cage: &Cage| in_root(cage, true, |_| String::new()).unwrap_err().class();
    assert_eq!(refused(&cage), ErrorClass::Conflict);
    let mut child = cage.start().unwrap().finish().unwrap();
    child.wait().unwrap();
    assert_eq!(refused(&cage), ErrorClass::Conflict);
    assert_eq!(cage.hold_root().unwrap_err().class(), ErrorClass::Conflict);
    cage.destroy().unwrap();

    let mut place = sandbox.place();
    place.lowers.push("/nonexistent".into());
    let cage = Cage::create(container(&["true"]), place).unwrap();
    let error = cage.hold_root().unwrap_err();
    assert_eq!(chain(&error), "cannot open layer /nonexistent: no such file or directory");
    cage.destroy().unwrap();
}
