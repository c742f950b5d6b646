//! ARCHITECTURE.md says where things are and what must not be true; these
//! tests hold it to that.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Each crate's name and the crates of this workspace that it depends on.
fn dependencies() -> BTreeMap<String, Vec<String>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(root().join("crates")).unwrap() {
        let path = entry.unwrap().path();
        let manifest = fs::read_to_string(path.join("Cargo.toml")).unwrap();
        let section = manifest.split("\n[dependencies]").nth(1).unwrap_or_default();
        let section = section.split("\n[").next().unwrap_or_default();
        let own = section.lines().filter_map(|line| line.strip_prefix("casemate-"));
        let own = own.filter_map(|line| line.split(['.', ' ', '=']).next()).map(str::to_owned).collect();
        found.insert(path.file_name().unwrap().to_str().unwrap().to_owned(), own);
    }
    found
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn every_path_that_is_named_exists() {
    for document in ["ARCHITECTURE.md", "README.md", "SECURITY.md"] {
        let text = fs::read_to_string(root().join(document)).unwrap();
        for quoted in text.split('`').skip(1).step_by(2) {
            let is_path = ["crates/", "tests/", "guest/", "scripts/", "fuzz", "packages/"]
                .iter()
                .any(|start| quoted.starts_with(start));
            if is_path && !quoted.contains([' ', '*', '<']) {
                assert!(root().join(quoted).exists(), "{document} names {quoted}, which is not there");
            }
        }
    }
}

#[test]
fn every_crate_is_in_the_code_map() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    for name in dependencies().keys() {
        assert!(text.contains(&format!("| `crates/{name}` |")), "crates/{name} is not in the code map");
    }
}

#[test]
fn crates_use_only_what_they_may() {
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("model", &[] as &[&str]),
        ("wire", &["model"]),
        ("tree", &["model"]),
        ("launch", &["model", "tree"]),
        ("seccomp", &["model"]),
        ("vm", &["model"]),
        ("registry", &["model"]),
        ("image", &["model", "registry", "tree"]),
        ("record", &["model"]),
        ("supervisor", &["launch", "model", "tree", "wire"]),
        ("keeper", &["launch", "model", "record", "supervisor", "tree", "vm", "wire"]),
        ("engine", &["image", "launch", "model", "record", "registry", "seccomp", "tree", "wire"]),
        ("api", &["engine", "image", "model", "record", "registry", "wire"]),
        ("client", &["model", "registry"]),
        ("net", &["model"]),
        ("dns", &[]),
        ("agent", &["launch", "model", "supervisor", "wire"]),
    ]);
    let found = dependencies();
    for (name, allowed) in allowed {
        for used in &found[name] {
            assert!(allowed.contains(&used.as_str()), "crates/{name} must not depend on crates/{used}");
        }
    }
}

/// Docker's JSON and HTTP are the API's and its client's, and HTTP the registry
/// client's.
#[test]
fn only_the_edges_know_http() {
    for entry in fs::read_dir(root().join("crates")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if ["api", "client", "registry"].contains(&name.as_str()) {
            continue;
        }
        let manifest = fs::read_to_string(path.join("Cargo.toml")).unwrap();
        assert!(!manifest.contains("hyper"), "crates/{name} speaks HTTP");
    }
}

#[test]
fn only_vm_knows_qemu() {
    let options = ["-machine", "virtio-blk-device", "microvm", "-blockdev", "-chardev"];
    let mut files = Vec::new();
    for entry in fs::read_dir(root().join("crates")).unwrap() {
        let path = entry.unwrap().path();
        // The benchmark starts a bare QEMU to compare with.
        if !path.ends_with("vm") && !path.ends_with("bench") {
            sources(&path, &mut files);
        }
    }
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for option in options {
            assert!(!text.contains(option), "{} names QEMU's {option}", file.display());
        }
    }
}

#[test]
fn the_model_does_no_io() {
    let mut files = Vec::new();
    sources(&root().join("crates/model/src"), &mut files);
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for forbidden in ["std::fs", "std::net", "std::process", "std::env", "tokio", "rustix"] {
            assert!(!text.contains(forbidden), "{} uses {forbidden}", file.display());
        }
    }
}
