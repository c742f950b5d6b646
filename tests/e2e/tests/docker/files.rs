//! `cp`, `diff` and `export` of containers that run and that do not.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use casemate_e2e::archive::Compression;
use casemate_e2e::tree::{LongNames, Node, tar};
use casemate_e2e::{Docker, conforming, http};
use serde_json::json;

/// A directory with something of everything that a client's host may have.
fn luggage(docker: &Docker) -> PathBuf {
    let dir = docker.engine().scratch().join("luggage");
    fs::create_dir_all(dir.join("sub")).expect("a directory");
    fs::write(dir.join("tool"), "#!/bin/sh\necho it works\n").expect("a file");
    fs::set_permissions(dir.join("tool"), PermissionsExt::from_mode(0o755)).expect("a mode");
    fs::write(dir.join("sub/large"), vec![7; 3_000_001]).expect("a file");
    symlink("sub/large", dir.join("link")).expect("a link");
    dir
}

fn same(a: &Path, b: &Path) {
    let differ = std::process::Command::new("diff").args(["-r", "--no-dereference"]).args([a, b]).output();
    let differ = differ.expect("diff");
    assert!(differ.status.success(), "{}", String::from_utf8_lossy(&differ.stdout));
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path that is text")
}

conforming! {
    fn directories_go_there_and_back(docker: &Docker) {
        let luggage = luggage(docker);
        docker.start("box", &[]);
        docker.cli(&["cp", text(&luggage), "box:/srv"]).ok();
        docker.cli(&["exec", "box", "/srv/tool"]).ok().prints("it works\n");
        let back = docker.engine().scratch().join("back");
        docker.cli(&["cp", "box:/srv", text(&back)]).ok();
        same(&luggage, &back);
        // Into one that is there it goes as one more.
        docker.cli(&["cp", text(&luggage), "box:/srv"]).ok();
        docker.cli(&["exec", "box", "/srv/luggage/tool"]).ok().prints("it works\n");
        // Of a link itself, or of what it leads to.
        let followed = docker.engine().scratch().join("followed");
        docker.cli(&["cp", "-L", "box:/srv/link", text(&followed)]).ok();
        assert_eq!(fs::metadata(&followed).expect("a file").len(), 3_000_001);
        docker.cli(&["cp", "box:/srv/nothing", text(&back)]).exits(1).complains("Could not find the file /srv/nothing in container box");
        docker.cli(&["cp", text(&luggage), "box:/srv/tool"]).exits(1).complains("cannot copy directory");
    }

    fn containers_that_rest_have_files_too(docker: &Docker) {
        let luggage = luggage(docker);
        docker.create(&["--name", "box", "busybox", "sh", "-c", "/opt/tool; cat /new 2>/dev/null; exit 5"]);
        docker.cli(&["cp", text(&luggage), "box:/opt"]).ok();
        docker.cli(&["diff", "box"]).ok();
        assert_eq!(docker.state("box")["Status"], json!("created"));
        docker.cli(&["start", "-a", "box"]).exits(5).prints("it works\n");
        let state = docker.state("box");
        fs::write(luggage.join("new"), "new\n").expect("a file");
        docker.cli(&["cp", text(&luggage.join("new")), "box:/new"]).ok();
        let back = docker.engine().scratch().join("back");
        docker.cli(&["cp", "box:/opt", text(&back)]).ok();
        fs::remove_file(luggage.join("new")).expect("it is there");
        same(&luggage, &back);
        assert_eq!(docker.state("box"), state, "its end is what it was");
        docker.cli(&["start", "-a", "box"]).exits(5).prints("it works\nnew\n");
    }

    /// Made with `--rm`, filled, and run: as builds do.
    fn one_that_goes_with_its_end_keeps_what_it_was_given(docker: &Docker) {
        docker.create(&["--rm", "--name", "box", "busybox", "sh", "-c", "cat /given/word; cat /more"]);
        let given = docker.engine().scratch().join("given");
        fs::create_dir(&given).expect("a directory");
        fs::write(given.join("word"), "a word\n").expect("a file");
        docker.cli(&["cp", text(&given), "box:/given"]).ok();
        docker.cli(&["cp", text(&given.join("word")), "box:/more"]).ok();
        docker.cli(&["start", "-a", "box"]).ok().prints("a word\na word\n");
        docker.until_gone("box");
    }

    fn what_a_container_changed_is_listed_and_exported(docker: &Docker) {
        docker.start("box", &[]);
        docker.cli(&["diff", "box"]).ok().prints("");
        docker.cli(&["exec", "box", "sh", "-c", "rm /bin/vi; echo x > /root/new; chmod 700 /tmp"]).ok();
        let listed = docker.cli(&["diff", "box"]).ok().out();
        let mut listed: Vec<&str> = listed.lines().collect();
        listed.sort_unstable();
        assert_eq!(listed, ["A /root/new", "C /bin", "C /root", "C /tmp", "D /bin/vi"]);
        docker.cli(&["stop", "-t", "0", "box"]).ok();
        assert_eq!(docker.cli(&["diff", "box"]).ok().out().lines().count(), 5);
        let file = docker.engine().scratch().join("root.tar");
        docker.cli(&["export", "-o", text(&file), "box"]).ok();
        let names = std::process::Command::new("tar").arg("-tf").arg(&file).output().expect("tar");
        let names = String::from_utf8_lossy(&names.stdout).into_owned();
        let has = |name: &str| names.lines().any(|line| line == name);
        assert!(has("root/new") && has("bin/busybox") && !has("bin/vi") && has("proc/"));
        assert!(!names.lines().any(|line| line.starts_with("proc/") && line != "proc/"));
    }

    /// As `curl` or an SDK sends one.
    fn archives_may_be_compressed(docker: &Docker) {
        docker.start("box", &[]);
        let put = |path: &str, bytes: &[u8]| {
            let path = format!("/containers/box/archive?path={path}");
            http::request(&docker.socket(), "PUT", &path, Some(("application/x-tar", bytes)))
        };
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let name = format!("{compression:?}");
            let archive = tar(&[Node::file(&name, name.clone().into_bytes())], LongNames::Pax);
            put("/tmp", &compression.apply(&archive)).is(200);
            docker.cli(&["exec", "box", "cat", &format!("/tmp/{name}")]).ok().prints(&name);
        }
        let archive = tar(&[Node::file("cut", vec![1; 200_000])], LongNames::Pax);
        let compressed = Compression::Gzip.apply(&archive);
        let cut = put("/tmp", &compressed[..compressed.len() / 2]);
        assert!(cut.status >= 400, "half an archive was taken");
        put("/tmp", b"BZh91AY&SY and so on").is(400).says("bzip2");
        put("/tmp/None", &archive).is(400).says("extraction point is not a directory");
        put("/nowhere", &archive).is(404).says("Could not find the file /nowhere in container box");
        let stat = docker.get("/containers/box/archive?path=/tmp/None").is(200);
        assert!(stat.head.header("x-docker-container-path-stat").is_some_and(|header| header.ends_with('=') || header.len() > 100));
    }

    fn a_read_only_container_takes_nothing(docker: &Docker) {
        let luggage = luggage(docker);
        docker.start("box", &["--read-only"]);
        let refused = "container rootfs is marked read-only";
        docker.cli(&["cp", text(&luggage), "box:/srv"]).exits(1).complains(refused);
        docker.cli(&["cp", "box:/etc/hosts", "-"]).ok();
        docker.cli(&["stop", "-t", "0", "box"]).ok();
        docker.cli(&["cp", text(&luggage), "box:/srv"]).exits(1).complains(refused);
    }
}
