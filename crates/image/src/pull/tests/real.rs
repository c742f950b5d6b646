//! Debian's registry, filled by another program: what other people's tools and
//! servers do.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use casemate_registry::{Credentials, InsecureRegistries, Secret, Settings};
use serde_json::json;

use super::{Home, missing};
use crate::fixture::{
    SampleImage, archive, directory, docker_files, file, gzip, manifest_descriptor, oci_archive, tar, zstd,
};
use crate::reference::Reference;
use crate::store::ListFilter;

const PROGRAMS: [&str; 3] = ["docker-registry", "skopeo", "openssl"];
/// Of the password "secret".
const HTPASSWD: &str = "me:$2y$05$rnrNoFbiIWFKaP4ib4WwbebbZRic7ABsXoRj/bHfn1Ql4ir07B4iq\n";

struct Registry {
    process: Child,
    address: String,
    scratch: tempfile::TempDir,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Registry {
    /// `more` is added to its configuration, whose files are in the directory
    /// that it is given.
    fn start(more: impl FnOnce(&Path) -> serde_json::Value) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let mut configuration = json!({
            "version": "0.1",
            "log": {"accesslog": {"disabled": true}, "level": "info"},
            "storage": {"filesystem": {"rootdirectory": scratch.path().join("data")}},
            "http": {"addr": "127.0.0.1:0"},
        });
        if let serde_json::Value::Object(more) = more(scratch.path()) {
            for (key, value) in more {
                match (&mut configuration[&key], value) {
                    (serde_json::Value::Object(known), serde_json::Value::Object(value)) => known.extend(value),
                    (known, value) => *known = value,
                }
            }
        }
        // JSON is YAML too.
        let path = scratch.path().join("config.yml");
        fs::write(&path, configuration.to_string()).unwrap();
        let mut process = Command::new("docker-registry")
            .arg("serve")
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap());
        let mut said = String::new();
        let address = loop {
            let mut line = String::new();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "the registry does not start: {said}");
            if let Some((_, rest)) = line.split_once("listening on 127.0.0.1:") {
                break format!("127.0.0.1:{}", rest.split(['"', ',']).next().unwrap());
            }
            said.push_str(&line);
        };
        // It must not stop at a full pipe.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Self { process, address, scratch }
    }

    fn plain() -> Self {
        Self::start(|_| json!({}))
    }

    fn name(&self, rest: &str) -> String {
        format!("{}/{rest}", self.address)
    }

    /// Puts the archive's image there; `source` is how skopeo calls its form.
    fn push(&self, source: &str, archive: &[u8], name: &str, options: &[&str]) {
        let path = self.scratch.path().join("push.tar");
        fs::write(&path, archive).unwrap();
        let (transport, inside) = source.split_once(':').unwrap_or((source, ""));
        let colon = if inside.is_empty() { "" } else { ":" };
        let from = format!("{transport}:{}{colon}{inside}", path.display());
        let to = format!("docker://{}", self.name(name));
        skopeo(&[&["copy", "--dest-tls-verify=false"], options, &[&from, &to]].concat());
    }
}

fn skopeo(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("skopeo").arg("--insecure-policy").args(arguments).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn sample(text: &str) -> SampleImage {
    let base = tar(&[directory("dir"), file("dir/base", b"base")]);
    SampleImage::new(&[base, tar(&[file("text", text.as_bytes())])], gzip)
}

fn docker(image: &SampleImage) -> Vec<u8> {
    archive(&docker_files(&[(image, &["app"])]))
}

fn read(home: &Home, name: &str, layer: usize, path: &str) -> String {
    let image = home.store.resolve(name).unwrap();
    fs::read_to_string(home.store.layer_dir(&image.layers[layer]).join(path)).unwrap()
}

#[test]
fn images_come_as_other_tools_put_them() {
    if missing(&PROGRAMS) {
        return;
    }
    let (registry, home) = (Registry::plain(), Home::new());
    let image = sample("one");
    let archive = docker(&image);
    registry.push("docker-archive", &archive, "app:docker", &["--format", "v2s2"]);
    registry.push("docker-archive", &archive, "team/app:oci", &["--format", "oci"]);
    let zstd_options = ["--format", "oci", "--dest-compress-format", "zstd", "--dest-compress"];
    registry.push("docker-archive", &archive, "app:zstd", &zstd_options);
    for name in ["app:docker", "team/app:oci", "app:zstd"] {
        let name = registry.name(name);
        let (pulled, told) = home.pull(&name);
        let pulled = pulled.unwrap();
        assert_eq!(told.last(), Some(&format!("Status: Downloaded newer image for {name}")));
        // In the other format the configuration is written anew.
        assert!(pulled.id == image.id() || !name.ends_with("docker"));
        assert_eq!(read(&home, &name, 1, "text"), "one");
    }
    let layers = |name: &str| home.store.resolve(&registry.name(name)).unwrap().layers;
    assert_eq!(layers("app:zstd"), layers("app:docker"));
    // What is zstd there comes as that where nothing of it is known.
    let elsewhere = Home::new();
    elsewhere.pull(&registry.name("app:zstd")).0.unwrap();
    assert_eq!(read(&elsewhere, &registry.name("app:zstd"), 1, "text"), "one");
    let repository: Reference = registry.name("app").parse().unwrap();
    let tags = home.block_on(home.puller().tags(&repository, &Credentials::Anonymous)).unwrap();
    let mut tags: Vec<_> = tags.iter().filter_map(Reference::tag).collect();
    tags.sort_unstable();
    assert_eq!(tags, ["docker", "zstd"]);
    let none = format!("manifest for {} not found: manifest unknown: manifest unknown", registry.name("app:none"));
    assert_eq!(home.refused(&registry.name("app:none")), none);
    // This registry does not tell repositories that it does not have.
    assert!(home.refused(&registry.name("none")).contains("not found"));
}

#[test]
fn one_of_several_platforms_comes() {
    if missing(&PROGRAMS) {
        return;
    }
    let (registry, home) = (Registry::plain(), Home::new());
    let layer = [tar(&[file("a", b"a")])];
    let image = |architecture| SampleImage::for_platform(&layer, gzip, architecture, "2024-01-02T03:04:05Z");
    let (amd64, arm64) = (image("amd64"), image("arm64"));
    let inner = crate::fixture::index(&[
        manifest_descriptor(&arm64, None, Some("arm64")),
        manifest_descriptor(&amd64, None, Some("amd64")),
    ]);
    let mut top = crate::fixture::descriptor("application/vnd.oci.image.index.v1+json", &inner);
    top["annotations"] = json!({"org.opencontainers.image.ref.name": "app"});
    let mut files = vec![(crate::fixture::blob_path(&inner), inner.clone())];
    files.push(("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()));
    files.push(("index.json".to_owned(), crate::fixture::index(&[top])));
    files.extend(amd64.blobs());
    files.extend(arm64.blobs());
    files.sort();
    files.dedup();
    registry.push("oci-archive:app", &archive(&files), "app:many", &["--all"]);
    let name = registry.name("app:many");
    let host = home.pull(&name).0.unwrap();
    assert_eq!(host.id, amd64.id());
    let request = crate::PullRequest { platform: Some("arm64".parse().unwrap()), ..home.request(&name) };
    assert_eq!(home.pull_request(&request).0.unwrap().id, arm64.id());
    let by_digest = format!("{}@{}", registry.name("app"), host.digest);
    assert_eq!(home.pull(&by_digest).0.unwrap().id, amd64.id());
    // Both were pulled by the digest of the index; the name is the last one's.
    let listed = home.store.list(&ListFilter::default()).unwrap();
    let names: Vec<usize> = listed.iter().map(|image| image.names.len()).collect();
    assert_eq!((listed.len(), names.iter().sum::<usize>()), (2, 1));
}

#[test]
fn a_tag_that_moves_is_followed() {
    if missing(&PROGRAMS) {
        return;
    }
    let (registry, home) = (Registry::plain(), Home::new());
    let name = registry.name("app");
    let (one, two) = (sample("one"), sample("two"));
    registry.push("docker-archive", &docker(&one), "app:latest", &[]);
    let first = home.pull(&name).0.unwrap();
    assert!(!home.pull(&name).0.unwrap().is_new);
    registry.push("docker-archive", &docker(&two), "app:latest", &[]);
    let (second, told) = home.pull(&name);
    assert_eq!((second.unwrap().id, read(&home, &name, 1, "text")), (two.id(), "two".to_owned()));
    assert_eq!(told.iter().filter(|line| line.ends_with("Already exists")).count(), 1, "{told:?}");
    let old = home.store.resolve(&format!("{name}@{}", first.digest)).unwrap();
    assert_eq!((old.id, old.names.len()), (one.id(), 0));
}

#[test]
fn passwords_are_asked_for_and_shown() {
    if missing(&PROGRAMS) {
        return;
    }
    let registry = Registry::start(|directory| {
        let path = directory.join("htpasswd");
        fs::write(&path, HTPASSWD).unwrap();
        json!({"auth": {"htpasswd": {"realm": "test", "path": path}}})
    });
    let mut home = Home::new();
    registry.push("docker-archive", &docker(&sample("x")), "app:latest", &["--dest-creds", "me:secret"]);
    let name = registry.name("app");
    let none = home.refused(&name);
    assert_eq!(none, format!("Get \"http://{}/v2/app/manifests/latest\": no basic auth credentials", registry.address));
    let with = |password: &str| Credentials::Password { username: "me".into(), password: Secret::new(password) };
    home.credentials = with("wrong");
    assert_eq!(home.refused(&name), "unauthorized: authentication required");
    home.credentials = with("secret");
    home.pull(&name).0.unwrap();
    let client = casemate_registry::Client::new(Settings::default());
    assert_eq!(home.block_on(client.login(&registry.address, &with("secret"))).unwrap(), None);
    assert!(home.block_on(client.login(&registry.address, &with("wrong"))).is_err());
}

fn openssl(directory: &Path, arguments: &str) {
    let output = Command::new("openssl")
        .current_dir(directory)
        .args(arguments.split_whitespace())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// An authority (`ca`), and what it signs: `server` for this host, and `client`.
fn certificates(directory: &Path) {
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    openssl(directory, &format!("req -x509 {key} -days 2 -subj /CN=authority -keyout ca.key -out ca.crt"));
    fs::write(directory.join("extensions"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    for name in ["server", "client"] {
        openssl(directory, &format!("req -new {key} -subj /CN={name} -keyout {name}.key -out {name}.csr"));
        let sign = "-CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile extensions";
        openssl(directory, &format!("x509 -req -in {name}.csr {sign} -out {name}.crt"));
    }
}

/// A registry with TLS, whose certificates are in its directory.
fn with_tls(client_authority: bool) -> Registry {
    Registry::start(|directory| {
        certificates(directory);
        let file = |name: &str| directory.join(name);
        let mut tls = json!({"certificate": file("server.crt"), "key": file("server.key")});
        if client_authority {
            tls["clientcas"] = json!([file("ca.crt")]);
        }
        json!({"http": {"tls": tls}})
    })
}

/// Who trusts no registry without a reason, and finds reasons in `directory`.
fn strict(directory: PathBuf) -> Home {
    let insecure = InsecureRegistries::none();
    Home::with(Settings { insecure, certificates: vec![directory], ..Settings::default() })
}

#[test]
fn certificates_count_unless_the_registry_is_insecure() {
    if missing(&PROGRAMS) {
        return;
    }
    let registry = with_tls(false);
    registry.push("docker-archive", &docker(&sample("x")), "app:latest", &[]);
    let (name, url) = (registry.name("app"), format!("https://{}/v2/", registry.address));
    let trusted = registry.scratch.path().join("trusted");
    let home = strict(trusted.clone());
    let unknown = "tls: failed to verify certificate: x509: certificate signed by unknown authority";
    assert_eq!(home.refused(&name), format!("Get \"{url}\": {unknown}"));
    let of_registry = trusted.join(&registry.address);
    fs::create_dir_all(&of_registry).unwrap();
    fs::copy(registry.scratch.path().join("ca.crt"), of_registry.join("ca.crt")).unwrap();
    home.pull(&name).0.unwrap();
    // Its certificate is for this address and no other.
    let localhost = registry.address.replace("127.0.0.1", "localhost");
    fs::create_dir_all(trusted.join(&localhost)).unwrap();
    fs::copy(of_registry.join("ca.crt"), trusted.join(&localhost).join("ca.crt")).unwrap();
    let error = home.refused(&format!("{localhost}/app"));
    assert!(error.contains("tls: failed to verify certificate: x509: "), "{error}");
    // On this host it may have any, as in Docker.
    Home::new().pull(&name).0.unwrap();
    Home::new().pull(&format!("{localhost}/app")).0.unwrap();
    // One that has no TLS is only spoken to if it may be insecure.
    let plain = Registry::plain();
    let error = home.refused(&plain.name("app"));
    assert_eq!(
        error,
        format!("Get \"https://{}/v2/\": http: server gave HTTP response to HTTPS client", plain.address)
    );
}

#[test]
fn a_registry_sees_who_comes_by_certificate() {
    if missing(&PROGRAMS) {
        return;
    }
    let registry = with_tls(true);
    let trusted = registry.scratch.path().join("trusted");
    let of_registry = trusted.join(&registry.address);
    fs::create_dir_all(&of_registry).unwrap();
    let copy = |from: &str, to: &str| {
        fs::copy(registry.scratch.path().join(from), of_registry.join(to)).unwrap();
    };
    copy("ca.crt", "ca.crt");
    copy("client.crt", "client.cert");
    let error = strict(trusted.clone()).refused(&registry.name("app"));
    assert!(error.contains("missing key client.key for client certificate client.cert"), "{error}");
    copy("client.key", "client.key");
    let certificates = of_registry.to_str().unwrap();
    registry.push("docker-archive", &docker(&sample("x")), "app:latest", &["--dest-cert-dir", certificates]);
    strict(trusted.clone()).pull(&registry.name("app")).0.unwrap();
    fs::remove_file(of_registry.join("client.key")).unwrap();
    fs::remove_file(of_registry.join("client.cert")).unwrap();
    let error = strict(trusted).refused(&registry.name("app"));
    assert!(error.starts_with("Get \"https://"), "{error}");
}

#[test]
fn what_is_saved_other_tools_read() {
    if missing(&PROGRAMS) {
        return;
    }
    let (registry, home) = (Registry::plain(), Home::new());
    for (n, options) in [["--format", "v2s2"], ["--format", "oci"]].iter().enumerate() {
        registry.push("docker-archive", &docker(&sample(&format!("{n}"))), &format!("app:{n}"), options);
        home.pull(&registry.name(&format!("app:{n}"))).0.unwrap();
    }
    home.store.load(docker(&sample("loaded")).as_slice(), &mut |_| {}).unwrap();
    let compressed = SampleImage::new(&[tar(&[file("a", b"z")])], zstd);
    let bytes = oci_archive(&[&compressed], &[manifest_descriptor(&compressed, Some("docker.io/library/z:1"), None)]);
    home.store.load(bytes.as_slice(), &mut |_| {}).unwrap();
    let names = [registry.name("app:0"), registry.name("app:1"), "app:latest".to_owned(), "z:1".to_owned()];
    let path = home.scratch.path().join("saved.tar");
    home.store.save(&names.each_ref().map(String::as_str), fs::File::create(&path).unwrap()).unwrap();
    for name in &names {
        let id = home.store.resolve(name).unwrap().id;
        let source = format!("docker-archive:{}:{name}", path.display());
        let config = skopeo(&["inspect", "--config", "--raw", &source]);
        assert_eq!(crate::hash::digest_of(config.trim_ascii_end()), id, "{source}");
        skopeo(&["copy", &source, &format!("dir:{}", home.scratch.path().join("copied").display())]);
    }
    // As an OCI layout too, one at a time.
    for (name, tag) in [(&names[3], "1"), (&names[1], "1")] {
        home.store.save(&[name.as_str()], fs::File::create(&path).unwrap()).unwrap();
        let source = format!("oci-archive:{}:{tag}", path.display());
        skopeo(&["copy", &source, &format!("dir:{}", home.scratch.path().join("oci").display())]);
    }
    let elsewhere = Home::new();
    home.store.save(&names.each_ref().map(String::as_str), fs::File::create(&path).unwrap()).unwrap();
    let loaded = elsewhere.store.load(fs::File::open(&path).unwrap(), &mut |_| {}).unwrap();
    assert_eq!(loaded.len(), 4);
    for name in &names {
        assert_eq!(elsewhere.store.resolve(name).unwrap().id, home.store.resolve(name).unwrap().id);
    }
}

/// The registry's own token authentication, with tokens that the test signs.
#[test]
fn a_registry_takes_the_tokens_that_its_token_server_signs() {
    if missing(&PROGRAMS) {
        return;
    }
    let keys = tempfile::tempdir().unwrap();
    certificates(keys.path());
    let keys_path = keys.path().to_owned();
    let home = Home::new();
    let tokens = home.block_on(super::server::Server::start(move |asked| {
        // With the password one may pull, without it nothing.
        let access = match asked.header("authorization") {
            Some("Basic bWU6c2VjcmV0") => json!([{"type": "repository", "name": "app", "actions": ["pull", "push"]}]),
            _ => json!([]),
        };
        Some(super::server::Reply::json(200, &json!({"token": sign(&keys_path, &access)})))
    }));
    let realm = tokens.url("/token");
    let registry = Registry::start(|_| {
        json!({"auth": {"token": {
            "realm": realm, "service": "registry", "issuer": "issuer", "rootcertbundle": keys.path().join("ca.crt"),
        }}})
    });
    let image = sample("x");
    // The tokens for it are given by this thread meanwhile.
    let registry = home.block_on(async {
        let pushed = tokio::task::spawn_blocking(move || {
            let archive = docker(&sample("x"));
            registry.push("docker-archive", &archive, "app:latest", &["--dest-creds", "me:secret"]);
            registry
        });
        pushed.await.unwrap()
    });
    let name = registry.name("app");
    let error = home.refused(&name);
    assert_eq!(
        error,
        format!(
            "pull access denied for {name}, repository does not exist or may require 'docker login': denied: \
             requested access to the resource is denied"
        )
    );
    let credentials = Credentials::Password { username: "me".into(), password: Secret::new("secret") };
    let request = crate::PullRequest { credentials, ..home.request(&name) };
    assert_eq!(home.pull_request(&request).0.unwrap().id, image.id());
}

/// A JSON web token, signed with the key `server`, whose certificate it carries.
fn sign(keys: &Path, access: &serde_json::Value) -> String {
    let pem = fs::read_to_string(keys.join("server.crt")).unwrap();
    let certificate: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let now = jiff::Timestamp::now().as_second();
    let header = json!({"typ": "JWT", "alg": "ES256", "x5c": [certificate]});
    let claims = json!({
        "iss": "issuer", "sub": "me", "aud": "registry", "jti": "1",
        "exp": now + 600, "nbf": now - 60, "iat": now - 60, "access": access,
    });
    let signed = format!("{}.{}", base64url(header.to_string().as_bytes()), base64url(claims.to_string().as_bytes()));
    let mut process = Command::new("openssl")
        .current_dir(keys)
        .args(["dgst", "-sha256", "-sign", "server.key"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    process.stdin.take().unwrap().write_all(signed.as_bytes()).unwrap();
    let der = process.wait_with_output().unwrap().stdout;
    format!("{signed}.{}", base64url(&raw_signature(&der)))
}

/// Of an ECDSA signature in DER, the two numbers in 32 bytes each.
fn raw_signature(der: &[u8]) -> Vec<u8> {
    let mut raw = Vec::new();
    let mut rest = &der[2..];
    for _ in 0..2 {
        let length = usize::from(rest[1]);
        let number = &rest[2..2 + length];
        let number = &number[number.len().saturating_sub(32)..];
        raw.extend(std::iter::repeat_n(0, 32 - number.len()));
        raw.extend_from_slice(number);
        rest = &rest[2 + length..];
    }
    raw
}

fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let digit = |value: u32| char::from(DIGITS[(value & 63) as usize]);
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let value = chunk.iter().fold(0, |value, byte| value << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            text.push(digit(value >> (18 - 6 * place)));
        }
    }
    text
}
