//! TCP: who must show a certificate, and who is refused.

use std::fs;
use std::io::Read;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use casemate_e2e::modes::in_mode;
use casemate_e2e::{Engine, Isolation, PATIENCE, Spawned, both_modes};

use crate::daemon::{Service, docker, refused};

const CONFIG: &str = "\
[req]
distinguished_name = name
prompt = no
[name]
CN = test
[authority]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign
[server]
basicConstraints = critical, CA:false
extendedKeyUsage = serverAuth
subjectAltName = IP:127.0.0.1
[client]
basicConstraints = critical, CA:false
extendedKeyUsage = clientAuth
";

/// An authority and what it has signed.
struct Keys(PathBuf);

impl Keys {
    fn make(engine: &Engine, name: &str) -> Self {
        let dir = engine.scratch().join(name);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("openssl.cnf"), CONFIG).unwrap();
        let keys = Self(dir);
        keys.certify("ca", "authority", &[]);
        for kind in ["server", "client"] {
            keys.certify(kind, kind, &["-CA", &keys.cert("ca"), "-CAkey", &keys.key("ca")]);
        }
        keys
    }

    fn certify(&self, name: &str, kind: &str, signer: &[&str]) {
        let config = self.0.join("openssl.cnf").display().to_string();
        let mut command = Command::new("openssl");
        command
            .args(["req", "-x509", "-batch", "-nodes", "-days", "2", "-config", &config, "-extensions", kind])
            .args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-subj", &format!("/CN={name}")])
            .args(["-keyout", &self.key(name), "-out", &self.cert(name)])
            .args(signer);
        Spawned::start(command).wait().ok();
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    fn cert(&self, name: &str) -> String {
        self.path(&format!("{name}.pem"))
    }

    fn key(&self, name: &str) -> String {
        self.path(&format!("{name}-key.pem"))
    }

    /// What a daemon is told.
    fn server(&self) -> Vec<String> {
        let words =
            ["--tlscacert", &self.cert("ca"), "--tlscert", &self.cert("server"), "--tlskey", &self.key("server")];
        words.map(str::to_owned).to_vec()
    }

    /// Docker's client, with what this authority's client has.
    fn docker(&self, engine: &Engine, address: &str, trusted: &Keys, args: &[&str]) -> Command {
        let (ca, cert, key) = (trusted.cert("ca"), self.cert("client"), self.key("client"));
        let tls = ["--tlsverify", "--tlscacert", &ca, "--tlscert", &cert, "--tlskey", &key];
        docker(engine, &format!("tcp://{address}"), &[&tls, args].concat())
    }
}

fn serve<'a>(engine: &'a Engine, keys: &Keys, flags: &[&str]) -> Service<'a> {
    let files = keys.server();
    let flags: Vec<&str> = flags.iter().copied().chain(files.iter().map(String::as_str)).collect();
    Service::start(engine, &flags)
}

both_modes! {
    fn a_verified_client_runs_containers_over_tcp(engine: &Engine) {
        let keys = Keys::make(engine, "keys");
        let service = serve(engine, &keys, &["--tlsverify", "-H", "tcp://127.0.0.1:0"]);
        let address = service.tcp();
        let isolation = engine.isolation.as_str();
        let args = ["run", "--rm", "-i", "--isolation", isolation, "busybox", "sh", "-c", "cat; echo err >&2; exit 3"];
        let mut run = Spawned::start(keys.docker(engine, &address, &keys, &args));
        run.write(b"through TLS\n");
        // The end of the input goes through it too.
        let finished = run.wait().exits(3).prints("through TLS\n");
        assert_eq!(finished.err(), "err\n");
        service.stop();
    }
}

#[test]
fn strangers_are_refused_and_do_not_keep_others_waiting() {
    in_mode(Isolation::Process, |engine: &Engine| {
        let (keys, others) = (Keys::make(engine, "keys"), Keys::make(engine, "others"));
        let service = serve(engine, &keys, &["--tlsverify", "-H", "tcp://127.0.0.1:0"]);
        let address = service.tcp();
        let silent = TcpStream::connect(&address).unwrap();

        // Another authority's, none, and one who does not speak TLS.
        let stranger = others.docker(engine, &address, &keys, &["version"]);
        Spawned::start(stranger).wait().exits(1);
        let nobody =
            docker(engine, &format!("tcp://{address}"), &["--tlsverify", "--tlscacert", &keys.cert("ca"), "version"]);
        Spawned::start(nobody).wait().exits(1);
        let plain = Spawned::start(docker(engine, &format!("tcp://{address}"), &["version"])).wait();
        assert_ne!(plain.code, 0);
        // The client refuses a daemon that is not the one that it trusts.
        Spawned::start(keys.docker(engine, &address, &others, &["version"])).wait().exits(1);
        service.log_has("TLS handshake with 127.0.0.1:");
        Spawned::start(keys.docker(engine, &address, &keys, &["version"])).wait().ok();

        // Who says nothing is told nothing, and not for long.
        let mut silent = silent;
        silent.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut answer = Vec::new();
        let _ = silent.read_to_end(&mut answer);
        assert!(answer.is_empty());
        service.stop();
    });
}

#[test]
fn without_verification_only_this_host_is_served() {
    in_mode(Isolation::Process, |engine: &Engine| {
        let keys = Keys::make(engine, "keys");
        let files = keys.server();
        let flags: Vec<&str> =
            ["--tls", "-H", "tcp://0.0.0.0:0"].into_iter().chain(files.iter().map(String::as_str)).collect();
        refused(engine, &flags).complains("use --tlsverify");
        refused(engine, &["-H", "tcp://[::]:0"]).complains("use --tlsverify");

        let service = serve(engine, &keys, &["--tls", "-H", "tcp://127.0.0.1:0"]);
        service.log_has("WARNING: API is accessible on tcp://127.0.0.1:");
        let anyone = docker(
            engine,
            &format!("tcp://{}", service.tcp()),
            &["--tlsverify", "--tlscacert", &keys.cert("ca"), "version"],
        );
        Spawned::start(anyone).wait().ok();
        service.stop();

        let service = serve(engine, &keys, &["--tlsverify", "-H", "tcp://0.0.0.0:0"]);
        assert!(!service.log().contains("WARNING"), "{}", service.log());
        service.stop();
    });
}

#[test]
fn keys_that_cannot_be_used_are_named() {
    in_mode(Isolation::Process, |engine: &Engine| {
        let (keys, others) = (Keys::make(engine, "keys"), Keys::make(engine, "others"));
        let no_key = Path::new(&keys.path("openssl.cnf")).display().to_string();
        for (cert, key, complaint) in [
            (keys.cert("server"), others.key("server"), "could not load X509 key pair".to_owned()),
            (keys.cert("server"), no_key.clone(), format!("could not read private key {no_key:?}")),
            (no_key.clone(), keys.key("server"), format!("could not read certificate {no_key:?}")),
        ] {
            refused(engine, &["--tls", "--tlscert", &cert, "--tlskey", &key]).complains(&complaint);
        }
    });
}
