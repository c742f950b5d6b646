//! The way from a registry's name to a repository of it.

use hyper::Method;
use hyper::StatusCode;
use hyper::header::AUTHORIZATION;

use crate::challenge::{Challenge, challenges};
use crate::credentials::{Credentials, Secret};
use crate::endpoint::{self, Endpoint};
use crate::error::RegistryError;
use crate::repository::Repository;
use crate::response::succeeded;
use crate::settings::Settings;
use crate::token::{self, Scope};
use crate::transport::{Answer, Ask, Transport};

#[derive(Clone, Debug, Default)]
pub struct Client {
    settings: Settings,
}

impl Client {
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// All ways to ask a registry, `host` or `host:port`, in the order to try.
    pub async fn endpoints(&self, registry: &str) -> Result<Vec<Endpoint>, RegistryError> {
        endpoint::endpoints(&self.settings, registry).await
    }

    /// Sees whether the registry is there, and opens one of its repositories by
    /// its path in it.
    pub async fn connect(
        &self,
        endpoint: &Endpoint,
        path: &str,
        credentials: &Credentials,
    ) -> Result<Repository, RegistryError> {
        let transport = Transport::new(&self.settings, endpoint);
        let wanted = ping(&transport, endpoint).await?;
        Ok(Repository::new(transport, endpoint.clone(), path, credentials, wanted))
    }

    /// Sees whether the registry lets these credentials in. What comes back is
    /// an identity token to use instead, if the registry gives such.
    pub async fn login(&self, registry: &str, credentials: &Credentials) -> Result<Option<Secret>, RegistryError> {
        let mut result = Err(RegistryError::Url { url: registry.to_owned() });
        for endpoint in self.endpoints(registry).await?.iter().filter(|endpoint| !endpoint.is_mirror) {
            result = self.login_to(endpoint, credentials).await;
            if !matches!(&result, Err(error) if !error.is_answer()) {
                break;
            }
        }
        result
    }

    async fn login_to(&self, endpoint: &Endpoint, credentials: &Credentials) -> Result<Option<Secret>, RegistryError> {
        let transport = Transport::new(&self.settings, endpoint);
        let wanted = ping(&transport, endpoint).await?;
        let wants = |scheme: &str| wanted.iter().find(|challenge| challenge.scheme == scheme);
        let mut ask = Ask::new(Method::GET, base(endpoint)?);
        let mut identity = None;
        if let Some(challenge) = wants("bearer") {
            let safe = endpoint.url.scheme() == "https" && !endpoint.is_insecure;
            let scope = Scope { scope: None, offline: true };
            let token = token::fetch(&transport, challenge, credentials, &scope, safe).await?;
            ask.headers.extend(token::bearer(&token.token).map(|value| (AUTHORIZATION, value)));
            identity = token.identity;
        } else if let (Some(_), Credentials::Password { username, password }) = (wants("basic"), credentials) {
            ask.headers.extend(token::basic(username, password).map(|value| (AUTHORIZATION, value)));
        }
        succeeded(transport.send(ask).await?).await?;
        Ok(identity)
    }
}

/// What the registry wants to see. Any answer but an error of the server's
/// will do.
async fn ping(transport: &Transport, endpoint: &Endpoint) -> Result<Vec<Challenge>, RegistryError> {
    let answer: Answer = transport.send(Ask::new(Method::GET, base(endpoint)?)).await?;
    let wanted = challenges(&answer.head.headers);
    match answer.head.status {
        StatusCode::UNAUTHORIZED => Ok(wanted),
        status if status.is_server_error() => Err(RegistryError::Status { status: status.to_string() }),
        _ => Ok(Vec::new()),
    }
}

fn base(endpoint: &Endpoint) -> Result<url::Url, RegistryError> {
    endpoint.url.join("v2/").map_err(|_| RegistryError::Url { url: endpoint.url.to_string() })
}
