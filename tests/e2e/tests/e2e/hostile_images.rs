//! Archives that mean harm, or are broken: refused with a reason, and nothing
//! of them stays.

use std::fs;

use casemate_e2e::Isolation;
use casemate_e2e::archive::{Image, pack, sha256};
use casemate_e2e::tree::{LongNames, Node, tar};
use casemate_e2e::{Engine, host, modes};
use serde_json::json;

fn image(engine: &Engine, nodes: &[Node]) -> Image {
    Image::on_busybox(&engine.prefix, "hostile:1", [tar(nodes, LongNames::Gnu)])
}

/// Loads it and expects a refusal that names the trouble, and no trace.
#[track_caller]
fn refused(engine: &Engine, what: &str, archive: &[u8]) {
    let before = host::files_below(&engine.root().join("images"));
    let path = engine.scratch().join("hostile.tar");
    fs::write(&path, archive).unwrap();
    let finished = engine.cli(&["load", "-i", path.to_str().unwrap()]);
    assert_eq!(finished.code, 1, "{what}: {finished:?}");
    assert!(finished.err().starts_with("casemate: "), "{what}: {finished:?}");
    assert_eq!(finished.out(), "", "{what}");
    let after = host::files_below(&engine.root().join("images"));
    assert!(before == after, "{what} left {:?}", after.difference(&before).collect::<Vec<_>>());
}

#[test]
fn that_reach_out_of_their_root_are_refused() {
    modes::in_mode(Isolation::Process, |engine: &casemate_e2e::Engine| {
        engine.run(&["--rm", "busybox", "true"]).ok();
        let outside = engine.scratch().join("canary");
        fs::write(&outside, "untouched").unwrap();
        let up = "../".repeat(12) + outside.to_str().unwrap().trim_start_matches('/');
        let absolute = outside.to_str().unwrap();
        for (what, nodes) in [
            ("a path upwards", vec![Node::file(&up, "harm")]),
            ("a hard link upwards", vec![Node::hard_link("x", &up), Node::file("x", "harm")]),
            ("a hard link to an absolute path", vec![Node::hard_link("x", absolute)]),
            ("a whiteout of the parent", vec![Node::dir("d"), Node::file("d/.wh...", "")]),
            ("a whiteout of the root", vec![Node::file(".wh.", "")]),
        ] {
            refused(engine, what, &image(engine, &nodes).docker_save());
            refused(engine, what, &image(engine, &nodes).oci(&[casemate_e2e::archive::Compression::Gzip]));
            assert_eq!(fs::read_to_string(&outside).unwrap(), "untouched", "{what}");
        }
        // A link leads to where it leads within the root.
        for target in ["/".to_owned(), "../".repeat(12)] {
            let nodes = [Node::symlink("out", &target), Node::file(&format!("out{absolute}"), "harm")];
            fs::write(engine.scratch().join("link.tar"), image(engine, &nodes).docker_save()).unwrap();
            engine.cli(&["load", "-i", engine.scratch().join("link.tar").to_str().unwrap()]).ok();
            assert_eq!(fs::read_to_string(&outside).unwrap(), "untouched", "a link to {target}");
        }
        // An absolute path means one within the root.
        let inside = image(engine, &[Node::file("/within", "fine"), Node::symlink("link", "/etc/passwd")]);
        fs::write(engine.scratch().join("fine.tar"), inside.docker_save()).unwrap();
        engine.cli(&["load", "-i", engine.scratch().join("fine.tar").to_str().unwrap()]).ok();
        engine.run(&["--rm", "hostile:1", "cat", "/within"]).ok().prints("fine");
    });
}

#[test]
fn that_are_broken_are_refused() {
    modes::in_mode(Isolation::Process, |engine: &casemate_e2e::Engine| {
        engine.run(&["--rm", "busybox", "true"]).ok();
        let good = image(engine, &[Node::file("x", "x")]);
        let saved = good.docker_save();
        refused(engine, "nothing", b"");
        refused(engine, "noise", &[0x5a; 4096]);
        refused(engine, "an archive of something else", &pack(&[("readme".to_owned(), b"hello".to_vec())]));
        refused(engine, "half an archive", &saved[..saved.len() / 2]);
        refused(engine, "a manifest of another shape", &pack(&[("manifest.json".to_owned(), b"{\"a\": 1}".to_vec())]));
        let manifest = json!([{"Config": "../../etc/passwd", "RepoTags": ["x:1"], "Layers": []}]).to_string();
        refused(engine, "a configuration elsewhere", &pack(&[("manifest.json".to_owned(), manifest.into_bytes())]));

        // A layer that is not the one the configuration names.
        let other = tar(&[Node::file("x", "other")], LongNames::Gnu);
        let swapped = Image { layers: good.layers.iter().map(|_| other.clone()).collect(), ..good.clone() };
        let config = good.configuration();
        let config_name = format!("{}.json", sha256(&config));
        let layer_names: Vec<String> = (0..swapped.layers.len()).map(|number| format!("{number}.tar")).collect();
        let manifest = json!([{"Config": config_name, "RepoTags": ["x:1"], "Layers": layer_names}]).to_string();
        let mut files = vec![(config_name, config), ("manifest.json".to_owned(), manifest.into_bytes())];
        files.extend(layer_names.into_iter().zip(swapped.layers));
        refused(engine, "another layer", &pack(&files));

        // The blob's bytes are not those of its name.
        let oci = good.oci(&[casemate_e2e::archive::Compression::None]);
        let at = oci.windows(6).rposition(|window| window == b"ustar\0" || window == b"ustar ").unwrap();
        let mut damaged = oci.clone();
        damaged[at + 300] ^= 1;
        refused(engine, "a damaged blob", &damaged);
        engine.cli(&["load", "-i", "/no/such/file"]).exits(1).complains("/no/such/file");
    });
}

/// A small file that unpacks to more than it should costs no disk after.
#[test]
fn that_are_cut_off_in_the_middle_of_a_layer_leave_nothing() {
    modes::in_mode(Isolation::Process, |engine: &casemate_e2e::Engine| {
        engine.run(&["--rm", "busybox", "true"]).ok();
        let bulk: Vec<Node> = (0..2000).map(|number| Node::file(&format!("f{number}"), vec![b'x'; 600])).collect();
        let mut layer = tar(&bulk, LongNames::Gnu);
        layer.truncate(layer.len() / 2 + 100);
        let cut = Image::on_busybox(&engine.prefix, "hostile:1", [layer]);
        refused(engine, "a layer that ends early", &cut.docker_save());
        refused(engine, "a layer that ends early", &cut.oci(&[casemate_e2e::archive::Compression::Zstd]));
    });
}
