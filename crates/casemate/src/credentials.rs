//! Who the user is to a registry: what `docker login` wrote down in
//! `config.json`, or a credential helper knows (docker/cli `cli/config`).

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;

use data_encoding::{BASE64, BASE64URL};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::connect::config_dir;
use crate::report::CliError;

/// Docker Hub's key among them.
const HUB: &str = "https://index.docker.io/v1/";

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ConfigFile {
    auths: BTreeMap<String, Auth>,
    creds_store: Option<String>,
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "lowercase")]
struct Auth {
    /// `USER:PASSWORD` in base64.
    auth: String,
    identitytoken: String,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum CredentialsError {
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} is damaged: the password for {registry} cannot be read")]
    Damaged { path: PathBuf, registry: String },
    #[error("cannot run {program}")]
    Helper { program: String, source: io::Error },
}

/// The value of `X-Registry-Auth`; none: nobody in particular.
pub(crate) async fn of(registry: &str) -> Result<Option<String>, CliError> {
    let key = if registry == "docker.io" { HUB } else { registry };
    let path = config_dir().join("config.json");
    let file: ConfigFile = match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map_err(|error| CredentialsError::Read { path: path.clone(), source: error.into() })?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => ConfigFile::default(),
        Err(source) => return Err(CredentialsError::Read { path, source }.into()),
    };
    let helper = file.cred_helpers.get(key).or(file.creds_store.as_ref()).filter(|name| !name.is_empty());
    let auth = match helper {
        Some(name) => ask(&format!("docker-credential-{name}"), key).await?,
        None => file.auths.get(key).map(|auth| written(auth, registry, path)).transpose()?,
    };
    Ok(auth.map(|auth| BASE64URL.encode(auth.to_string().as_bytes())))
}

fn written(auth: &Auth, registry: &str, path: PathBuf) -> Result<Value, CredentialsError> {
    if !auth.identitytoken.is_empty() {
        return Ok(json!({ "identitytoken": auth.identitytoken, "serveraddress": registry }));
    }
    let pair = BASE64.decode(auth.auth.as_bytes()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let Some((username, password)) = pair.as_ref().and_then(|pair| pair.split_once(':')) else {
        return Err(CredentialsError::Damaged { path, registry: registry.to_owned() });
    };
    Ok(json!({ "username": username, "password": password, "serveraddress": registry }))
}

/// A helper reads the registry and answers `{"Username", "Secret"}`; one that
/// knows nothing fails.
async fn ask(program: &str, registry: &str) -> Result<Option<Value>, CredentialsError> {
    let failed = |source| CredentialsError::Helper { program: program.to_owned(), source };
    let mut helper =
        Command::new(program).arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(failed)?;
    if let Some(mut stdin) = helper.stdin.take() {
        stdin.write_all(registry.as_bytes()).await.map_err(failed)?;
    }
    let output = helper.wait_with_output().await.map_err(failed)?;
    let answer: Option<Value> = serde_json::from_slice(&output.stdout).ok();
    let answer = answer.filter(|_| output.status.success());
    Ok(answer.map(|answer| match answer["Username"].as_str() {
        // By the protocol, of a token.
        Some("<token>") => json!({ "identitytoken": answer["Secret"], "serveraddress": registry }),
        _ => json!({ "username": answer["Username"], "password": answer["Secret"], "serveraddress": registry }),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_docker_login_writes_them() {
        let read = |text: &str| {
            let auth: Auth = serde_json::from_str(text).unwrap();
            written(&auth, "box:5000", "config.json".into())
        };
        let auth = read(r#"{"auth":"dXNlcjpwYTpzcw=="}"#).unwrap();
        assert_eq!(auth, json!({ "username": "user", "password": "pa:ss", "serveraddress": "box:5000" }));
        let auth = read(r#"{"auth":"dXNlcjo=","identitytoken":"t"}"#).unwrap();
        assert_eq!(auth, json!({ "identitytoken": "t", "serveraddress": "box:5000" }));
        assert!(read(r#"{"auth":"dXNlcg=="}"#).unwrap_err().to_string().contains("box:5000"));
    }
}
