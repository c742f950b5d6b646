//! Which daemon: by flags, by the environment, by a context, or this host's.
//!
//! In the order of docker/cli (`cli/command/cli.go`, `resolveContextName`), from
//! the files that `docker context` writes (`cli/context/store`).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

use crate::endpoint::Endpoint;
use crate::error::ContextError;
use crate::host::Host;
use crate::tls::TlsFiles;

/// The context that is none.
const DEFAULT: &str = "default";

/// What the environment says. Empty variables say nothing.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `DOCKER_HOST`
    pub host: Option<String>,
    /// `DOCKER_CONTEXT`
    pub context: Option<String>,
    /// `DOCKER_TLS_VERIFY`
    pub tls_verify: bool,
    /// `DOCKER_CERT_PATH`; the configuration's directory if absent.
    pub cert_path: Option<PathBuf>,
}

/// What is said of the daemon to speak to.
#[derive(Clone, Debug)]
pub struct Choice {
    /// `--host`
    pub host: Option<String>,
    /// `--context`
    pub context: Option<String>,
    pub environment: Environment,
    /// `DOCKER_CONFIG`, or `~/.docker`.
    pub config_dir: PathBuf,
    /// Of this host's own daemon.
    pub default_socket: PathBuf,
}

/// What is of interest here in `config.json`.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ConfigFile {
    current_context: String,
}

/// `meta.json` of a context.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Meta {
    #[serde(default)]
    endpoints: Endpoints,
}

#[derive(Default, Deserialize)]
struct Endpoints {
    docker: Option<DockerEndpoint>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerEndpoint {
    #[serde(default)]
    host: String,
    #[serde(default, rename = "SkipTLSVerify")]
    skip_tls_verify: bool,
}

impl Choice {
    pub fn resolve(&self) -> Result<Endpoint, ContextError> {
        let Environment { host, context, .. } = &self.environment;
        if self.host.is_some() && self.context.is_some() {
            return Err(ContextError::HostAndContext);
        }
        if let Some(name) = &self.context {
            return self.context(name);
        }
        if let Some(host) = self.host.as_ref().or(host.as_ref()) {
            return self.named(host);
        }
        match context {
            Some(name) => self.context(name),
            None => self.context(&self.current_context()?),
        }
    }

    fn named(&self, host: &str) -> Result<Endpoint, ContextError> {
        let Environment { tls_verify, cert_path, .. } = &self.environment;
        let dir = cert_path.as_deref().unwrap_or(&self.config_dir);
        let tls = tls_verify.then(|| TlsFiles::in_dir(dir));
        let host = Host::parse(host, &self.default_socket, tls.is_some())?;
        Ok(Endpoint { host, tls, is_default: false })
    }

    fn current_context(&self) -> Result<String, ContextError> {
        let path = self.config_dir.join("config.json");
        let file = read::<ConfigFile>(&path).map_err(|source| ContextError::Config { path, source })?;
        Ok(file.unwrap_or_default().current_context)
    }

    fn context(&self, name: &str) -> Result<Endpoint, ContextError> {
        if name.is_empty() || name == DEFAULT {
            let host = Host::Unix(self.default_socket.clone());
            return Ok(Endpoint { host, tls: None, is_default: true });
        }
        let id = HEXLOWER.encode(&Sha256::digest(name));
        let contexts = self.config_dir.join("contexts");
        let path = contexts.join("meta").join(&id).join("meta.json");
        let failed = |source| ContextError::Context { name: name.to_owned(), path: path.clone(), source };
        let meta = read::<Meta>(&path).map_err(failed)?;
        let meta = meta.ok_or_else(|| ContextError::NoContext { name: name.to_owned(), path: path.clone() })?;
        let endpoint = meta.endpoints.docker.filter(|endpoint| !endpoint.host.is_empty());
        let endpoint = endpoint.ok_or_else(|| ContextError::NoEndpoint { name: name.to_owned() })?;
        let dir = contexts.join("tls").join(id).join("docker");
        let tls = dir.exists().then(|| TlsFiles::in_dir(&dir));
        if endpoint.skip_tls_verify {
            return Err(ContextError::SkipsVerification { name: name.to_owned() });
        }
        let host = Host::parse(&endpoint.host, &self.default_socket, tls.is_some())?;
        Ok(Endpoint { host, tls, is_default: false })
    }
}

/// None if it is not there.
fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(config_dir: &Path) -> Choice {
        Choice {
            host: None,
            context: None,
            environment: Environment::default(),
            config_dir: config_dir.to_owned(),
            default_socket: "/run/casemate/docker.sock".into(),
        }
    }

    fn host(choice: &Choice) -> String {
        choice.resolve().unwrap().host.to_string()
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    /// As `docker context create box --docker host=tcp://box:1` leaves it.
    fn add_context(dir: &Path, name: &str, endpoint: &str) {
        let id = HEXLOWER.encode(&Sha256::digest(name));
        let meta = dir.join("contexts/meta").join(id);
        fs::create_dir_all(&meta).unwrap();
        let text = format!(r#"{{"Name":"{name}","Metadata":{{}},"Endpoints":{{"docker":{endpoint}}}}}"#);
        fs::write(meta.join("meta.json"), text).unwrap();
    }

    #[test]
    fn what_is_named_nearest_counts() {
        let dir = tempfile::tempdir().unwrap();
        let mut choice = choice(dir.path());
        assert!(choice.resolve().unwrap().is_default);
        fs::write(dir.path().join("config.json"), r#"{"auths":{},"currentContext":"current"}"#).unwrap();
        assert!(matches!(choice.resolve(), Err(ContextError::NoContext { .. })));
        for name in ["current", "of-environment", "of-flag"] {
            add_context(dir.path(), name, &format!(r#"{{"Host":"unix:///{name}","SkipTLSVerify":false}}"#));
        }
        assert_eq!(host(&choice), "unix:///current");
        choice.environment.context = some("of-environment");
        assert_eq!(host(&choice), "unix:///of-environment");
        choice.environment.host = some("unix:///host-of-environment");
        assert_eq!(host(&choice), "unix:///host-of-environment");
        choice.host = some("unix:///host-of-flag");
        assert_eq!(host(&choice), "unix:///host-of-flag");
        choice.context = some("of-flag");
        assert!(matches!(choice.resolve(), Err(ContextError::HostAndContext)));
        choice.host = None;
        assert_eq!(host(&choice), "unix:///of-flag");
        choice.context = some("default");
        assert!(choice.resolve().unwrap().is_default);
    }

    #[test]
    fn keys_are_the_contexts_or_the_environments() {
        let dir = tempfile::tempdir().unwrap();
        let mut choice = choice(dir.path());
        choice.environment = Environment { host: some("tcp://box"), tls_verify: true, ..Environment::default() };
        let endpoint = choice.resolve().unwrap();
        assert_eq!((host(&choice).as_str(), endpoint.tls), ("tcp://box:2376", Some(TlsFiles::in_dir(dir.path()))));
        add_context(dir.path(), "box", r#"{"Host":"tcp://box:1"}"#);
        let keys = dir.path().join("contexts/tls").join(HEXLOWER.encode(&Sha256::digest("box"))).join("docker");
        fs::create_dir_all(&keys).unwrap();
        choice.context = some("box");
        assert_eq!(choice.resolve().unwrap().tls, Some(TlsFiles::in_dir(&keys)));
        add_context(dir.path(), "box", r#"{"Host":"tcp://box:1","SkipTLSVerify":true}"#);
        assert!(matches!(choice.resolve(), Err(ContextError::SkipsVerification { .. })));
    }
}
