//! A real registry, Debian's `docker-registry`, on a port of loopback, filled by
//! another program, `skopeo`.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::Spawned;

/// Who may ask a registry that asks who it is.
pub const USER: &str = "me";
pub const PASSWORD: &str = "secret";
/// The same, as `htpasswd` writes it.
const USERS: &str = "me:$2y$05$rnrNoFbiIWFKaP4ib4WwbebbZRic7ABsXoRj/bHfn1Ql4ir07B4iq\n";

/// Ended with this.
#[derive(Debug)]
pub struct Registry {
    process: Spawned,
    dir: PathBuf,
    /// `127.0.0.1:port`.
    pub address: String,
}

impl Registry {
    pub fn start(dir: &Path) -> Self {
        Self::serve(dir, json!({}))
    }

    /// One that [`USER`] must log in to.
    pub fn start_closed(dir: &Path) -> Self {
        let dir = dir.join("closed");
        std::fs::create_dir_all(&dir).expect("a directory");
        let users = dir.join("users");
        std::fs::write(&users, USERS).expect("a file");
        Self::serve(&dir, json!({ "htpasswd": { "realm": "closed", "path": users } }))
    }

    fn serve(dir: &Path, auth: serde_json::Value) -> Self {
        let dir = dir.join("registry");
        std::fs::create_dir_all(&dir).expect("a directory");
        let mut configuration = json!({
            "version": "0.1",
            "log": { "accesslog": { "disabled": true }, "level": "info" },
            "storage": { "filesystem": { "rootdirectory": dir.join("data") } },
            "http": { "addr": "127.0.0.1:0" },
        });
        if auth.as_object().is_some_and(|auth| !auth.is_empty()) {
            configuration["auth"] = auth;
        }
        // JSON is YAML too.
        let path = dir.join("config.yml");
        std::fs::write(&path, configuration.to_string()).expect("a file");
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&path);
        let process = Spawned::start(command);
        process.stderr.wait_for("listening on 127.0.0.1:");
        let said = String::from_utf8_lossy(&process.stderr.so_far()).into_owned();
        let (_, rest) = said.split_once("listening on 127.0.0.1:").expect("it was waited for");
        let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
        Self { process, dir, address: format!("127.0.0.1:{port}") }
    }

    /// How clients call what is there under this name.
    pub fn name(&self, rest: &str) -> String {
        format!("{}/{rest}", self.address)
    }

    /// Puts the image of an archive (`docker save`) there.
    pub fn push(&self, archive: &[u8], name: &str, options: &[&str]) {
        let path = self.dir.join("push.tar");
        std::fs::write(&path, archive).expect("a file");
        let mut command = Command::new("skopeo");
        command.args(["--insecure-policy", "copy", "--dest-tls-verify=false"]).args(options);
        command.arg(format!("docker-archive:{}", path.display())).arg(format!("docker://{}", self.name(name)));
        Spawned::start(command).wait().ok();
        std::fs::remove_file(&path).expect("it is there");
    }

    /// Where it keeps a blob, to spoil it.
    pub fn blob(&self, digest: &str) -> PathBuf {
        let hex = digest.trim_start_matches("sha256:");
        self.dir.join("data/docker/registry/v2/blobs/sha256").join(&hex[..2]).join(hex).join("data")
    }

    pub fn stop(self) {
        drop(self.process);
    }
}
