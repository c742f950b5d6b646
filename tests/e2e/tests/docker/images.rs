//! Images: from a registry, from archives, and what becomes of them.

use std::fs;

use casemate_e2e::archive::Image;
use casemate_e2e::registry::{PASSWORD, Registry, USER};
use casemate_e2e::tree::{LongNames, Node, tar};
use casemate_e2e::{Docker, both_modes};
use serde_json::{Value, json};

/// The built-in image with a file that says who it is.
fn image(docker: &Docker, text: &str) -> Image {
    let layer = tar(&[Node::file("who", format!("{text}\n").into_bytes())], LongNames::Pax);
    let mut image = Image::on_busybox(&docker.engine().prefix, "app:1", [layer]);
    image.config["Cmd"] = json!(["cat", "/who"]);
    image
}

fn push(docker: &Docker, registry: &Registry, text: &str, name: &str, options: &[&str]) {
    registry.push(&image(docker, text).docker_save(), name, options);
}

fn inspect(docker: &Docker, name: &str) -> Value {
    let out = docker.cli(&["image", "inspect", name]).ok().out();
    serde_json::from_str::<Value>(&out).expect("JSON")[0].clone()
}

fn names(docker: &Docker, options: &[&str]) -> Vec<String> {
    let all = [&["images", "--format", "{{.Repository}}:{{.Tag}}"], options].concat();
    docker.cli(&all).ok().out().lines().map(str::to_owned).collect()
}

both_modes! {
    /// By tag, by digest, and by `run` itself.
    fn are_pulled(docker: &Docker) {
        let registry = Registry::start(&docker.engine().scratch());
        push(docker, &registry, "one", "app:1", &["--format", "v2s2"]);
        push(docker, &registry, "two", "team/app:latest", &["--format", "oci", "--dest-compress-format", "zstd", "--dest-compress"]);
        let one = registry.name("app:1");
        let told = docker.cli(&["pull", &one]).ok().out();
        for line in ["1: Pulling from app", "Pull complete", "Digest: sha256:", &format!("Status: Downloaded newer image for {one}")] {
            assert!(told.contains(line), "{line:?} is not in {told}");
        }
        assert!(told.ends_with(&format!("\n{one}\n")), "{told}");
        docker.run(&["--rm", &one]).ok().prints("one\n");
        let again = docker.cli(&["pull", &one]).ok().out();
        assert!(again.contains(&format!("Status: Image is up to date for {one}")), "{again}");
        docker.cli(&["pull", "-q", &one]).ok().prints(&format!("{one}\n"));

        let digest = inspect(docker, &one)["RepoDigests"][0].as_str().expect("a digest").to_owned();
        docker.cli(&["rmi", &one]).ok();
        docker.run(&["--rm", "--pull", "never", &one]).exits(125).complains("No such image");
        docker.cli(&["pull", &digest]).ok();
        docker.run(&["--rm", &digest]).ok().prints("one\n");

        // The client pulls what the daemon has not.
        let two = registry.name("team/app");
        let run = docker.run(&["--rm", &two]).ok();
        assert_eq!(run.out(), "two\n");
        assert!(run.err().contains(&format!("Unable to find image '{two}:latest' locally")), "{run:?}");
        docker.run(&["--rm", &two]).ok().prints("two\n");
        push(docker, &registry, "three", "team/app:latest", &[]);
        docker.run(&["--rm", &two]).ok().prints("two\n");
        docker.run(&["--rm", "--quiet", "--pull", "always", &two]).ok().prints("three\n");
        registry.stop();
    }

    fn that_cannot_be_pulled_are_told_why(docker: &Docker) {
        let registry = Registry::start(&docker.engine().scratch());
        push(docker, &registry, "one", "app:1", &[]);
        let missing = registry.name("app:2");
        docker.cli(&["pull", &missing]).exits(1).complains(&format!("manifest for {missing} not found"));
        docker.run(&["--rm", &missing]).exits(125).complains("not found");
        docker.cli(&["pull", &registry.name("nothing")]).exits(1);
        docker.cli(&["pull", "UPPER"]).exits(1).complains("repository name (library/UPPER) must be lowercase");
        docker.cli(&["pull", "--platform", "linux/s390x", "-q", &registry.name("app:1")]).ok();
        docker.cli(&["rmi", &registry.name("app:1")]).ok();
        // A blob that is not what its name says.
        let image = image(docker, "spoilt");
        registry.push(&image.docker_save(), "spoilt:1", &["--format", "v2s2"]);
        let name = registry.name("spoilt:1");
        let manifest = String::from_utf8(fs::read(registry.blob(&manifest_digest(docker, &name))).expect("a manifest")).expect("text");
        let manifest: Value = serde_json::from_str(&manifest).expect("JSON");
        let layers = manifest["layers"].as_array().expect("layers");
        let blob = registry.blob(layers.last().expect("a layer")["digest"].as_str().expect("a digest"));
        let mut bytes = fs::read(&blob).expect("a blob");
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
        fs::write(&blob, bytes).expect("a blob");
        docker.cli(&["rmi", &name]).ok();
        docker.cli(&["pull", &name]).exits(1).complains("verification failed for digest");
        assert!(!names(docker, &[]).iter().any(|known| known.contains("spoilt")));
        let address = registry.address.clone();
        registry.stop();
        docker.cli(&["pull", &format!("{address}/app:1")]).exits(1).complains("refused");
    }

    fn of_a_closed_registry_need_a_login(docker: &Docker) {
        let registry = Registry::start_closed(&docker.engine().scratch());
        let credentials = format!("--dest-creds={USER}:{PASSWORD}");
        push(docker, &registry, "mine", "app:1", &[&credentials]);
        let name = registry.name("app:1");
        docker.cli(&["pull", &name]).exits(1);
        let login = |password: &str| docker.cli(&["login", "-u", USER, "-p", password, &registry.address]);
        let refused = login("wrong");
        assert_eq!(refused.code, 1);
        assert!(!refused.err().contains("Login Succeeded"), "{refused:?}");
        assert!(login(PASSWORD).ok().out().contains("Login Succeeded"));
        docker.run(&["--rm", "-q", &name]).ok().prints("mine\n");
        registry.stop();
    }

    /// There and back: into an archive, away, and in again.
    fn are_saved_and_loaded(docker: &Docker) {
        let scratch = docker.engine().scratch();
        let archive = scratch.join("load.tar");
        fs::write(&archive, image(docker, "saved").docker_save()).expect("a file");
        docker.cli(&["load", "-i", archive.to_str().expect("text")]).ok().prints("Loaded image: app:1\n");
        docker.cli(&["tag", "app:1", "other/name"]).ok();
        let before = inspect(docker, "app:1");
        assert_eq!(before["RepoTags"], json!(["app:1", "other/name:latest"]));
        let saved = scratch.join("saved.tar");
        docker.cli(&["save", "-o", saved.to_str().expect("text"), "app:1", "other/name"]).ok();
        docker.cli(&["rmi", "app:1", "other/name"]).ok();
        docker.cli(&["image", "inspect", "app:1"]).exits(1).complains("No such image: app:1");
        docker.cli(&["load", "-q", "-i", saved.to_str().expect("text")]).ok();
        let after = inspect(docker, "other/name");
        for field in ["Id", "Created", "Config", "Architecture", "Size", "RootFS", "RepoTags"] {
            assert_eq!(after[field], before[field], "{field}");
        }
        docker.run(&["--rm", "other/name"]).ok().prints("saved\n");
        docker.cli(&["save", "nothing"]).exits(1).complains("nothing");
    }

    fn are_made_of_a_tree(docker: &Docker) {
        docker.create(&["--name", "box", "busybox"]);
        let tree = docker.engine().scratch().join("tree.tar");
        let tree = tree.to_str().expect("text");
        docker.cli(&["export", "-o", tree, "box"]).ok();
        let import = ["import", "-m", "from a tree", "-c", "ENV WORD=there", "-c", "CMD [\"sh\", \"-c\", \"echo $WORD\"]", tree, "made:1"];
        let id = docker.cli(&import).ok().out();
        assert!(id.starts_with("sha256:"), "{id}");
        let inspected = inspect(docker, "made:1");
        assert_eq!((&inspected["Id"], &inspected["Comment"]), (&json!(id.trim()), &json!("from a tree")));
        docker.run(&["--rm", "made:1"]).ok().prints("there\n");
        let history = docker.cli(&["history", "--format", "{{.Comment}}|{{.Size}}", "made:1"]).ok().out();
        assert!(history.starts_with("from a tree|"), "{history}");
        docker.cli(&["import", "-c", "NONSENSE x", tree]).exits(1).complains("nonsense is not a valid change command");
    }

    /// Of what a container has written, whether it runs or not.
    fn are_made_of_a_container(docker: &Docker) {
        docker.start("box", &["-e", "COLOUR=red", "-l", "tier=wall", "-w", "/srv"]);
        docker.cli(&["exec", "box", "sh", "-c", "echo written > /srv/file; rm /bin/vi; mkdir -p /deep/er; ln -s /srv/file /deep/er/link"]).ok();
        let commit = ["commit", "-m", "why", "-a", "me", "-c", "CMD [\"sh\", \"-c\", \"cat /deep/er/link; echo $COLOUR; pwd; ls /bin/vi\"]", "box", "made:1"];
        let id = docker.cli(&commit).ok().out();
        assert_eq!(docker.state("box")["Status"], json!("running"));
        let made = inspect(docker, "made:1");
        assert_eq!((&made["Id"], &made["Author"], &made["Comment"]), (&json!(id.trim()), &json!("me"), &json!("why")));
        assert_eq!(made["Config"]["Labels"], json!({ "tier": "wall" }));
        let base = inspect(docker, "busybox");
        assert_eq!(made["Parent"], base["Id"]);
        let layers = |image: &Value| image["RootFS"]["Layers"].as_array().expect("layers").len();
        assert_eq!(layers(&made), layers(&base) + 1);
        let run = docker.run(&["--rm", "made:1"]);
        assert_eq!((run.out().as_str(), run.code), ("written\nred\n/srv\n", 1));
        // At rest, and without a name.
        docker.run(&["--name", "done", "made:1", "sh", "-c", "echo more >> /srv/file"]).ok();
        let id = docker.cli(&["commit", "done"]).ok().word();
        docker.run(&["--rm", &id, "cat", "/srv/file"]).ok().prints("written\nmore\n");
        let history = docker.cli(&["history", "--format", "{{.CreatedBy}}", "--no-trunc", &id]).ok().out();
        assert!(history.starts_with("sh -c echo more >> /srv/file\n"), "{history}");
        docker.cli(&["commit", "nobody"]).exits(1).complains("No such container: nobody");
        docker.cli(&["commit", "-c", "NONSENSE", "box"]).exits(1).complains("nonsense is not a valid change command");
        assert_eq!(docker.state("box")["Status"], json!("running"));
        // What it stands on cannot be taken from under it.
        docker.cli(&["rmi", "made:1"]).exits(1).complains("is using its referenced image");
    }

    fn are_listed_and_pruned(docker: &Docker) {
        for (text, name) in [("a", "app:1"), ("b", "app:2"), ("c", "lib:1")] {
            let mut image = image(docker, text);
            image.name = name.to_owned();
            image.config["Labels"] = json!({ "letter": text });
            let archive = docker.engine().scratch().join("image.tar");
            fs::write(&archive, image.docker_save()).expect("a file");
            docker.cli(&["load", "-q", "-i", archive.to_str().expect("text")]).ok();
        }
        assert_eq!(names(docker, &["--filter", "reference=app:*"]).len(), 2);
        assert_eq!(names(docker, &["--filter", "label=letter=c"]), ["lib:1"]);
        docker.cli(&["images", "--filter", "colour=red"]).exits(1).complains("invalid filter 'colour'");
        // The one without a name goes first, then those that nobody uses.
        docker.cli(&["tag", "app:2", "app:1"]).ok();
        assert_eq!(docker.cli(&["images", "-q", "--filter", "dangling=true"]).ok().out().lines().count(), 1);
        let pruned = docker.cli(&["image", "prune", "-f"]).ok().out();
        assert!(pruned.contains("deleted: sha256:") && pruned.contains("Total reclaimed space"), "{pruned}");
        docker.create(&["--name", "user", "lib:1"]);
        docker.cli(&["image", "prune", "-a", "-f"]).ok();
        let left = names(docker, &[]);
        assert!(left.contains(&"lib:1".to_owned()) && !left.iter().any(|name| name.starts_with("app")), "{left:?}");
        let used = docker.cli(&["system", "df", "--format", "{{.Type}} {{.TotalCount}} {{.Active}}"]).ok().out();
        assert!(used.starts_with("Images 1 1\nContainers 1 0\n"), "{used}");
        docker.cli(&["rm", "user"]).ok();
        docker.cli(&["system", "prune", "-a", "-f"]).ok();
        assert!(!names(docker, &[]).iter().any(|name| name.starts_with("lib")));
    }

    /// What an image asks for is what its containers have, unless told otherwise.
    fn give_their_containers_defaults(docker: &Docker) {
        let mut image = image(docker, "defaults");
        image.config = json!({
            "Env": ["PATH=/bin", "COLOUR=red"], "Cmd": ["sleep", "1000"], "WorkingDir": "/tmp", "StopSignal": "SIGKILL",
            "Labels": { "of": "image" },
            "Healthcheck": { "Test": ["CMD", "cat", "/who"], "Interval": 100_000_000, "Retries": 2 },
        });
        let archive = docker.engine().scratch().join("image.tar");
        fs::write(&archive, image.docker_save()).expect("a file");
        docker.cli(&["load", "-q", "-i", archive.to_str().expect("text")]).ok();
        docker.run(&["-d", "--name", "box", "-l", "own=yes", "app:1"]).ok();
        docker.until("box", "it is healthy", |inspected| inspected["State"]["Health"]["Status"] == json!("healthy"));
        let config = docker.inspect("box")["Config"].clone();
        assert_eq!(config["Labels"], json!({ "of": "image", "own": "yes" }));
        assert_eq!(config["Healthcheck"]["Test"], json!(["CMD", "cat", "/who"]));
        assert_eq!((&config["StopSignal"], &config["WorkingDir"]), (&json!("SIGKILL"), &json!("/tmp")));
        docker.run(&["-d", "--name", "deaf", "--no-healthcheck", "app:1"]).ok();
        assert!(docker.state("deaf")["Health"].is_null());
    }
}

/// Of what the registry has under the name: pulled, and read of the image.
fn manifest_digest(docker: &Docker, name: &str) -> String {
    docker.cli(&["pull", "-q", name]).ok();
    let digest = inspect(docker, name)["RepoDigests"][0].as_str().expect("a digest").to_owned();
    digest.split_once('@').expect("a digest").1.to_owned()
}
