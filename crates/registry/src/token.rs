//! Tokens of a registry's token server, for one repository.

use std::time::Duration;

use data_encoding::BASE64;
use hyper::Method;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use serde::Deserialize;
use tokio::time::Instant;
use url::{Url, form_urlencoded};

use crate::challenge::Challenge;
use crate::credentials::{Credentials, Secret};
use crate::error::RegistryError;
use crate::response::succeeded;
use crate::transport::{Ask, Asked, Transport};

/// What token servers know the `docker` CLI as.
const CLIENT_ID: &str = "docker";
/// Tokens that claim less are kept this long all the same, as Docker does.
const LEAST_LIFETIME: Duration = Duration::from_secs(60);
/// A token is a few kilobytes.
const MAX_ANSWER: usize = 1 << 20;

pub(crate) struct Token {
    pub(crate) token: Secret,
    pub(crate) expires: Instant,
    /// What can be sent instead of the password from now on.
    pub(crate) identity: Option<Secret>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    refresh_token: Option<String>,
    expires_in: Option<u64>,
}

/// What is asked for.
pub(crate) struct Scope<'a> {
    /// `repository:library/busybox:pull`; none to prove who asks, and no more.
    pub(crate) scope: Option<&'a str>,
    /// An identity token too.
    pub(crate) offline: bool,
}

/// Asks the server that the challenge names. `safe` is whether the registry
/// itself is reached by TLS: then so must be who gets its password.
pub(crate) async fn fetch(
    transport: &Transport,
    challenge: &Challenge,
    credentials: &Credentials,
    scope: &Scope<'_>,
    safe: bool,
) -> Result<Token, RegistryError> {
    let problem = |problem: &str| RegistryError::Challenge { problem: problem.to_owned() };
    let realm = challenge.parameter("realm").ok_or_else(|| problem("does not say where"))?;
    let realm: Url = realm.parse().map_err(|_| problem("says where in no way that is understood"))?;
    if safe && realm.scheme() != "https" {
        return Err(problem(&format!("names {:?}, which is not https", realm.as_str())));
    }
    let service = challenge.parameter("service").unwrap_or_default();
    let ask = match credentials {
        Credentials::IdentityToken(token) => by_identity(realm, service, token, scope),
        Credentials::Password { username, password } => by_password(realm, service, scope, Some((username, password))),
        Credentials::Anonymous | Credentials::RegistryToken(_) => by_password(realm, service, scope, None),
    };
    let asked = Asked::new(&ask.method, &ask.url);
    let answer = succeeded(transport.send(ask).await?).await.map_err(|error| match error {
        RegistryError::Refused { refusal } => {
            RegistryError::NotLetIn { method: asked.method, url: asked.url.clone(), source: refusal }
        }
        error => error,
    })?;
    let body = answer.body.all(MAX_ANSWER).await?;
    let answer: TokenAnswer = serde_json::from_slice(&body).map_err(RegistryError::TokenJson)?;
    let set = |text: Option<String>| text.filter(|text| !text.is_empty());
    let token = set(answer.access_token).or(set(answer.token)).ok_or(RegistryError::NoToken)?;
    let lifetime = Duration::from_secs(answer.expires_in.unwrap_or_default()).max(LEAST_LIFETIME);
    // A lifetime beyond what a clock can hold is for ever.
    let now = Instant::now();
    let expires = now.checked_add(lifetime).unwrap_or(now + Duration::from_secs(u64::from(u32::MAX)));
    let identity = set(answer.refresh_token).map(Secret::new);
    Ok(Token { token: Secret::new(token), expires, identity })
}

fn by_password(mut url: Url, service: &str, scope: &Scope<'_>, login: Option<(&String, &Secret)>) -> Ask {
    {
        let mut query = url.query_pairs_mut();
        if !service.is_empty() {
            query.append_pair("service", service);
        }
        query.extend_pairs(scope.scope.map(|scope| ("scope", scope)));
        if scope.offline {
            query.append_pair("offline_token", "true").append_pair("client_id", CLIENT_ID);
        }
        query.extend_pairs(login.map(|(username, _)| ("account", username)));
    }
    let mut ask = Ask::new(Method::GET, url);
    if let Some((username, password)) = login {
        ask.headers.extend(basic(username, password).map(|value| (AUTHORIZATION, value)));
    }
    ask
}

fn by_identity(url: Url, service: &str, token: &Secret, scope: &Scope<'_>) -> Ask {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "refresh_token")
        .append_pair("refresh_token", token.expose())
        .append_pair("service", service)
        .append_pair("client_id", CLIENT_ID)
        .append_pair("scope", scope.scope.unwrap_or_default());
    let mut ask = Ask::new(Method::POST, url);
    ask.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    ask.body = form.finish().into();
    ask
}

/// None if the token cannot be in a header, and so is no token.
pub(crate) fn bearer(token: &Secret) -> Option<HeaderValue> {
    sensitive(&format!("Bearer {}", token.expose()))
}

pub(crate) fn basic(username: &str, password: &Secret) -> Option<HeaderValue> {
    sensitive(&format!("Basic {}", BASE64.encode(format!("{username}:{}", password.expose()).as_bytes())))
}

fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}
