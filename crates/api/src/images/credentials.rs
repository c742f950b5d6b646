//! Who asks a registry: `X-Registry-Auth`, and `POST /auth` (`docker login`).

use casemate_registry::{Credentials, Secret};
use data_encoding::{BASE64, BASE64URL, BASE64URL_NOPAD};
use serde::Deserialize;
use serde_json::json;

use crate::error::ApiError;
use crate::reply::{self, Reply};
use crate::request::Call;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Auth {
    username: String,
    password: String,
    serveraddress: String,
    identitytoken: String,
    registrytoken: String,
}

impl Auth {
    fn credentials(self) -> Credentials {
        if !self.registrytoken.is_empty() {
            Credentials::RegistryToken(Secret::new(self.registrytoken))
        } else if !self.identitytoken.is_empty() {
            Credentials::IdentityToken(Secret::new(self.identitytoken))
        } else if !self.username.is_empty() || !self.password.is_empty() {
            Credentials::Password { username: self.username, password: Secret::new(self.password) }
        } else {
            Credentials::Anonymous
        }
    }
}

/// Those of a request; what cannot be read is nobody, as in dockerd.
pub(super) fn of(call: &Call) -> Credentials {
    let Some(header) = call.header("x-registry-auth").map(str::as_bytes) else {
        return Credentials::Anonymous;
    };
    let json = BASE64URL.decode(header).or_else(|_| BASE64URL_NOPAD.decode(header)).or_else(|_| BASE64.decode(header));
    let auth: Option<Auth> = json.ok().and_then(|json| serde_json::from_slice(&json).ok());
    auth.unwrap_or_default().credentials()
}

/// Docker Hub, by the name under which clients keep its password.
const HUB: &str = "https://index.docker.io/v1/";

pub(crate) async fn login(mut call: Call) -> Reply {
    let auth: Auth = call.json().await?;
    let address = if auth.serveraddress.is_empty() { HUB.to_owned() } else { auth.serveraddress.clone() };
    let registry = match address.as_str() {
        HUB => "docker.io",
        other => {
            let host = other.strip_prefix("https://").or_else(|| other.strip_prefix("http://")).unwrap_or(other);
            host.split('/').next().unwrap_or(host)
        }
    };
    let client = call.daemon.puller().client();
    let token = client.login(registry, &auth.credentials()).await.map_err(ApiError::from)?;
    let token = token.map(|token| token.into_text()).unwrap_or_default();
    reply::json(&json!({ "Status": "Login Succeeded", "IdentityToken": token }))
}
