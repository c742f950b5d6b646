//! Images: what is in an archive is what a container sees, whichever form the
//! archive has and whichever wall is around the container.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use casemate_e2e::archive::{Compression, Image, program_layer};
use casemate_e2e::listing::{self, assert_same};
use casemate_e2e::tree::{LongNames, Node, laid_over, tar};
use casemate_e2e::{Engine, both_modes};
use serde_json::Value;

/// `cap_net_raw=ep` as the kernel keeps it (`struct vfs_cap_data`, revision 2).
const NET_RAW: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// As long as Linux lets a name be.
fn long_name() -> String {
    "long-".repeat(51)
}

/// Every kind of file, and what a file can carry.
fn first_layer() -> Vec<Node> {
    let deep = format!("data/{}/{}", "d".repeat(120), "e".repeat(140));
    vec![
        Node::dir("data").mode(0o751).owner(7, 8).mtime(1_234_567_890),
        Node::file("data/plain", "plain\n").mtime(1),
        Node::file("data/empty", "").mtime(4_000_000_000),
        Node::file("data/owned", "x").owner(1_234_567, 65_534).mode(0o4750),
        Node::file("data/owned-large", "x").owner(3_000_000_000, 2_147_483_647).mode(0o2711),
        Node::file("data/no-mode", "x").mode(0),
        Node::file("data/ - odd\\name*ü🦀", "odd").mtime(1_000_000_000),
        Node::file(&format!("data/{}", long_name()), "long"),
        Node::hard_link("data/linked-long", &format!("data/{}", long_name())),
        Node::dir(&deep[..5 + 120]),
        Node::dir(&deep),
        Node::file(&format!("{deep}/file"), "deep"),
        Node::symlink("data/link", "plain"),
        Node::symlink("data/link-long", &"/nowhere".repeat(40)).owner(5, 6),
        Node::symlink("data/link-out", "../../../../etc/passwd"),
        Node::hard_link("data/linked-one", "data/plain"),
        Node::hard_link("data/linked-two", "data/plain"),
        Node::char_device("data/null", 1, 3).owner(1, 2),
        Node::block_device("data/block", 259, 70_000),
        Node::fifo("data/fifo").mode(0o622),
        Node::dir("data/sticky").mode(0o1777),
        Node::dir("data/setgid").mode(0o2775).owner(0, 50),
        Node::file("data/with-xattrs", "x").xattr("user.text", b"value").xattr("user.binary", &[0, 255, 10, 61, 0]),
        Node::dir("data/dir-with-xattr").xattr("user.of-a-dir", b"yes"),
        Node::file("data/capable", "\x7fELF").mode(0o755).owner(10, 10).xattr("security.capability", &NET_RAW),
        Node::dir("data/hidden"),
        Node::file("data/hidden/file", "hidden"),
        Node::dir("data/opaque"),
        Node::file("data/opaque/below", "hidden"),
        Node::dir("data/opaque/dir-below"),
        Node::file("data/opaque/dir-below/file", "hidden"),
        Node::dir("data/merged").mode(0o700),
        Node::file("data/merged/stays", "first"),
        Node::file("data/merged/goes", "first"),
        Node::file("data/merged/changes", "first"),
        Node::file("data/becomes-dir", "file"),
        Node::dir("data/becomes-file"),
        Node::file("data/becomes-file/inside", "hidden"),
        Node::dir("data/becomes-link"),
        Node::file("data/becomes-link/inside", "hidden"),
        Node::dir("data/replaced"),
        Node::file("data/replaced/old", "hidden"),
        Node::dir("data/comes-back"),
        Node::file("data/comes-back/first", "hidden for good"),
    ]
}

fn second_layer() -> Vec<Node> {
    vec![
        Node::dir("data").mode(0o755).owner(70, 80).mtime(1_300_000_000),
        Node::whiteout("data/hidden"),
        Node::whiteout("data/comes-back"),
        Node::dir("data/opaque").mode(0o711),
        Node::opaque("data/opaque"),
        Node::file("data/opaque/above", "second"),
        Node::dir("data/merged").mode(0o750).mtime(1_300_000_001),
        Node::whiteout("data/merged/goes"),
        Node::file("data/merged/changes", "second, and longer").owner(9, 9),
        Node::file("data/merged/comes", "second"),
        Node::dir("data/becomes-dir"),
        Node::file("data/becomes-dir/inside", "second"),
        Node::file("data/becomes-file", "second"),
        Node::symlink("data/becomes-link", "merged"),
        // Hidden and made anew in one layer: nothing of the old one shows.
        Node::whiteout("data/replaced"),
        Node::dir("data/replaced"),
        Node::file("data/replaced/new", "second"),
        // One of three names of a file gets another content.
        Node::file("data/linked-two", "alone now"),
        Node::file("data/with-xattrs", "changed").xattr("user.text", b"other"),
        Node::whiteout("data/not-there"),
    ]
}

fn third_layer() -> Vec<Node> {
    vec![
        Node::dir("data").mode(0o755).owner(70, 80).mtime(1_400_000_000),
        Node::dir("data/comes-back").mode(0o705),
        Node::file("data/comes-back/third", "third"),
        Node::dir("data/opaque").mode(0o711),
        Node::file("data/opaque/below", "third, another"),
        Node::file("data/pair", "pair"),
        Node::hard_link("data/pair-too", "data/pair"),
        Node::whiteout("data/null"),
    ]
}

/// Bytes with holes, and the layer in which GNU tar leaves the holes out, in
/// this format.
fn sparse_layer(engine: &Engine, name: &str, format: [&str; 2]) -> (Vec<Node>, Vec<u8>) {
    const LENGTH: usize = 6 << 20;
    let mut bytes = vec![0; LENGTH];
    for (offset, text) in [(0, "begin"), (3 << 20, "middle"), (LENGTH - (1 << 20), "last, with a hole behind")] {
        bytes[offset..offset + text.len()].copy_from_slice(text.as_bytes());
    }
    let dir = engine.scratch().join(name);
    let path = format!("sparse/{name}");
    fs::create_dir_all(dir.join("sparse")).unwrap();
    let file = File::create(dir.join(&path)).unwrap();
    file.set_len(LENGTH as u64).unwrap();
    for (at, chunk) in bytes.chunks(4096).enumerate().filter(|(_, chunk)| chunk.iter().any(|byte| *byte != 0)) {
        file.write_all_at(chunk, at as u64 * 4096).unwrap();
    }
    drop(file);
    let mut command = Command::new("tar");
    command.args(["--create", "--no-recursion", "--mtime=@1600000000", "--mode=0755", "--owner=0", "--group=0"]);
    let output = command.args(format).arg("-C").arg(&dir).args(["sparse", &path]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout.len() < LENGTH / 4, "tar did not find the holes");
    (vec![Node::dir("sparse"), Node::file(&path, bytes).mode(0o755)], output.stdout)
}

fn load(engine: &Engine, name: &str, archive: &[u8]) -> String {
    let path = engine.scratch().join(format!("{name}.tar"));
    fs::write(&path, archive).unwrap();
    let loaded = engine.cli(&["load", "-i", path.to_str().unwrap()]).ok().out();
    fs::remove_file(&path).unwrap();
    loaded
}

both_modes! {
    /// Layers of every kind, from both forms of archive, with each way of
    /// packing layers.
    fn hold_what_was_put_in(engine: &Engine) {
        let (gnu, gnu_stream) = sparse_layer(engine, "gnu", ["--sparse", "--format=gnu"]);
        let (pax, pax_stream) = sparse_layer(engine, "pax", ["--sparse-version=1.0", "--format=pax"]);
        let nodes = [first_layer(), second_layer(), third_layer(), gnu, pax];
        let layers: Vec<&[Node]> = nodes.iter().map(Vec::as_slice).collect();
        let expected = [laid_over(&layers, "data"), laid_over(&layers, "sparse")];
        assert!(expected[0].len() > 40 && expected[0]["./linked-one"].links == ["./plain"]);

        // Names too long for a header are written in the one way and the other.
        let streams = |one, other| {
            let trees = [tar(&nodes[0], one), tar(&nodes[1], other), tar(&nodes[2], one)];
            let sparse = [gnu_stream.clone(), pax_stream.clone()];
            [program_layer("getfattr")].into_iter().chain(trees).chain(sparse)
        };
        let saved = Image::on_busybox(&engine.prefix, "tree:saved", streams(LongNames::Pax, LongNames::Gnu));
        assert_eq!(load(engine, "saved", &saved.docker_save()), "Loaded image: tree:saved\n");
        let oci = Image::on_busybox(&engine.prefix, "tree:oci", streams(LongNames::Gnu, LongNames::Pax));
        let compressions = [Compression::Gzip, Compression::Zstd, Compression::None];
        assert_eq!(load(engine, "oci", &oci.oci(&compressions)), "Loaded image: tree:oci\n");
        for (name, dir) in [("tree:saved", 0), ("tree:saved", 1), ("tree:oci", 0), ("tree:oci", 1)] {
            let script = listing::script(["/data", "/sparse"][dir]);
            let printed = engine.run(&["--rm", name, "sh", "-c", &script]).ok();
            assert_same(&listing::parse(&printed.out()), &expected[dir]);
        }
    }

    /// What the image brings can be changed like any file, and links hold.
    fn can_be_written_over(engine: &Engine) {
        let layers = [tar(&first_layer(), LongNames::Pax), tar(&second_layer(), LongNames::Gnu)];
        load(engine, "tree", &Image::on_busybox(&engine.prefix, "tree:1", layers).docker_save());
        let script = "set -e; cd /data; echo more >> plain; cat plain; mv merged moved; cat moved/changes; echo; rm -r opaque; \
                      mkdir opaque; ls opaque | wc -l; ln -sf x link; readlink link; chown 1:1 owned; stat -c %u:%g owned; rm -r /data; ls /data 2>&1 || true";
        let expected = "plain\nmore\nsecond, and longer\n0\nx\n1:1\nls: /data: No such file or directory\n";
        engine.run(&["--rm", "tree:1", "sh", "-c", script]).ok().prints(expected);
        engine.run(&["--rm", "tree:1", "cat", "/data/plain"]).ok().prints("plain\n");
    }

    /// As many as Docker has room for.
    fn may_have_a_hundred_layers(engine: &Engine) {
        let layer = |number: u32| {
            tar(&[Node::dir("n"), Node::file(&format!("n/{number}"), number.to_string()), Node::file("top", number.to_string())], LongNames::Gnu)
        };
        let image = Image::on_busybox(&engine.prefix, "high:1", (1..=100).map(layer));
        load(engine, "high", &image.docker_save());
        engine.run(&["--rm", "high:1", "sh", "-c", "ls /n | wc -l; cat /n/1 /n/100 /top; echo"]).ok().prints("100\n1100100\n");
    }

    fn are_listed_named_and_removed(engine: &Engine) {
        let layer = || [tar(&[Node::file("x", "x")], LongNames::Gnu)];
        let image = Image::on_busybox(&engine.prefix, "thing:1", layer());
        load(engine, "one", &image.docker_save());
        load(engine, "two", &Image { name: "thing:2".to_owned(), ..image.clone() }.docker_save());
        let lines = engine.cli(&["images", "--no-trunc", "--format", "json"]).ok().out();
        let images: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let tags: Vec<&str> = images.iter().filter(|i| i["Repository"] == "thing").map(|i| i["Tag"].as_str().unwrap()).collect();
        assert_eq!(tags.len(), 2, "{lines}");
        let id = format!("sha256:{}", casemate_e2e::archive::sha256(&image.configuration()));
        assert!(images.iter().all(|image| image["Repository"] != "thing" || image["ID"] == id), "{lines}");

        // By id, with two names: only by force. By name: the name goes first.
        engine.cli(&["rmi", &id]).exits(1).complains("must be forced");
        engine.cli(&["rmi", "thing:1"]).ok().prints("Untagged: thing:1\n");
        engine.run(&["--name", "user", "thing:2", "cat", "/x"]).ok().prints("x");
        let removed = engine.cli(&["rmi", "-f", "thing:2"]).ok().out();
        assert_eq!(removed, format!("Untagged: thing:2\nDeleted: {id}\n"));
        engine.run(&["--rm", "thing:2", "true"]).exits(125).complains("Unable to find image 'thing:2' locally");
        engine.cli(&["rmi", "thing:2"]).exits(1).complains("No such image: thing:2");
        engine.cli(&["rmi", "-f", "thing:2"]).ok().prints("").complains("No such image: thing:2");
        engine.cli(&["rm", "user"]).ok();
        // Nothing but the built-in image's layers stays on the disk.
        engine.cli(&["rmi", "-f", "busybox"]);
        let left = casemate_e2e::host::files_below(&engine.root().join("images"));
        let large: Vec<_> = left.iter().filter(|path| path.metadata().is_ok_and(|m| m.is_file() && m.len() > 100_000)).collect();
        assert!(large.is_empty(), "{large:?}");
    }

    /// Docker's rules and words (moby, `daemon/images/image_delete.go`).
    fn that_containers_use_are_kept(engine: &Engine) {
        let container = engine.start("user", &[]);
        let (inspected, id) = (container.inspect(), |value: &Value| value.as_str().unwrap().to_owned());
        let (image, container_id) = (id(&inspected["Image"]), id(&inspected["Id"])[..12].to_owned());
        let short = image.trim_start_matches("sha256:")[..12].to_owned();
        let reference = format!(
            "conflict: unable to remove repository reference \"busybox\" (must force) - \
             container {container_id} is using its referenced image {short}"
        );
        let in_use = |force, kind| {
            format!("conflict: unable to delete {short} ({force}) - image is being used by {kind} container {container_id}")
        };
        let refused = |args: &[&str], words: &str| {
            let refused = engine.cli(&[&["rmi"], args].concat()).exits(1).prints("");
            assert_eq!(refused.err(), format!("casemate: {words}\n"));
        };
        refused(&["busybox"], &reference);
        refused(&[&short], &in_use("cannot be forced", "running"));
        refused(&["-f", &image], &in_use("cannot be forced", "running"));
        // By force the name goes, not what a container runs on.
        engine.cli(&["rmi", "-f", "busybox"]).ok().prints("Untagged: busybox:latest\n");
        container.exec(&["echo", "alive"]).ok().prints("alive\n");
        assert_eq!(engine.cli(&["images", "-q"]).word(), short);
        engine.cli(&["kill", "user"]).ok();
        refused(&[&short], &in_use("must be forced", "stopped"));
        engine.cli(&["rmi", "-f", &short]).ok().prints(&format!("Deleted: {image}\n"));
        // Its layers stay until the container goes.
        let layers = engine.root().join("images/layers");
        assert!(!casemate_e2e::host::names(&layers).is_empty());
        engine.cli(&["rm", "user"]).ok();
        assert!(casemate_e2e::host::names(&layers).is_empty());
    }

    fn can_come_through_a_pipe(engine: &Engine) {
        let image = Image::on_busybox(&engine.prefix, "piped:1", [tar(&[Node::file("x", "piped")], LongNames::Gnu)]);
        let mut loading = engine.spawn(&["load"]);
        loading.feed(Compression::Gzip.apply(&image.docker_save()));
        loading.wait().ok().prints("Loaded image: piped:1\n");
        engine.run(&["--rm", "piped:1", "cat", "/x"]).ok().prints("piped");
    }

    /// The image's bytes on the host are the same before and after a
    /// container did its worst to them.
    fn are_not_changed_by_containers(engine: &Engine) {
        let image = Image::on_busybox(&engine.prefix, "still:1", [tar(&first_layer(), LongNames::Pax)]);
        load(engine, "still", &image.docker_save());
        engine.run(&["--rm", "still:1", "true"]).ok();
        let before = digests(&engine.root().join("images"));
        engine.run(&["--rm", "still:1", "sh", "-c", "rm -rf /data /bin/ls /etc; echo x > /bin/cat; chmod 0 /bin"]);
        assert!(before == digests(&engine.root().join("images")));
        engine.run(&["--rm", "still:1", "cat", "/data/plain"]).ok().prints("plain\n");
    }
}

fn digests(dir: &Path) -> Vec<(String, String)> {
    let files = casemate_e2e::host::files_below(dir)
        .into_iter()
        .filter(|path| path.symlink_metadata().is_ok_and(|m| m.is_file()));
    files.map(|path| (path.display().to_string(), casemate_e2e::archive::sha256(&fs::read(&path).unwrap()))).collect()
}
