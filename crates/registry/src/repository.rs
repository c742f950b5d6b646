//! A repository of a registry that answers, and what it holds.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use casemate_model::Digest;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderValue, LINK, RANGE};
use hyper::{Method, StatusCode};
use serde::Deserialize;
use tokio::time::Instant;
use url::Url;

use crate::blob::Blob;
use crate::challenge::{Challenge, challenges};
use crate::credentials::{Credentials, Secret};
use crate::endpoint::Endpoint;
use crate::error::{ErrorCode, RegistryError, TransportError};
use crate::response::succeeded;
use crate::token::{self, Scope, Token};
use crate::transport::{Answer, Ask, Asked, Transport};

/// What is asked for a manifest, in the order of preference.
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, \
    application/json;q=0.5";
const CONTENT_DIGEST: &str = "docker-content-digest";
/// Bytes of one page of tags, and pages.
const MAX_TAGS: usize = 4 << 20;
const MAX_PAGES: usize = 100;

/// Cheap to clone; clones share connections and tokens.
#[derive(Clone)]
pub struct Repository(Arc<Shared>);

struct Shared {
    transport: Transport,
    endpoint: Endpoint,
    path: String,
    credentials: Credentials,
    /// What the registry wanted to see last.
    challenges: Mutex<Vec<Challenge>>,
    token: tokio::sync::Mutex<Option<Token>>,
}

/// As the registry sent it: nothing of it is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    pub media_type: String,
    pub bytes: Bytes,
}

#[derive(Deserialize)]
struct Tags {
    #[serde(default)]
    tags: Option<Vec<String>>,
}

impl std::fmt::Debug for Repository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Repository").field("url", &self.0.endpoint.url.as_str()).field("path", &self.0.path).finish()
    }
}

impl Repository {
    pub(crate) fn new(
        transport: Transport,
        endpoint: Endpoint,
        path: &str,
        credentials: &Credentials,
        challenges: Vec<Challenge>,
    ) -> Self {
        Self(Arc::new(Shared {
            transport,
            endpoint,
            path: path.to_owned(),
            credentials: credentials.clone(),
            challenges: Mutex::new(challenges),
            token: tokio::sync::Mutex::new(None),
        }))
    }

    /// Of a copy of the registry that was meant: what it lacks, that may have.
    pub fn is_mirror(&self) -> bool {
        self.0.endpoint.is_mirror
    }

    /// The digest that the registry says a tag has, if it says so without being
    /// asked for the manifest.
    pub async fn digest(&self, tag: &str) -> Option<Digest> {
        let answer = self.ask(Method::HEAD, self.url(&format!("manifests/{tag}")).ok()?, accept()).await.ok()?;
        answer.head.headers.get(CONTENT_DIGEST)?.to_str().ok()?.parse().ok()
    }

    /// The manifest or index by a tag or a digest; at most `limit` bytes.
    pub async fn manifest(&self, reference: &str, limit: usize) -> Result<Manifest, RegistryError> {
        let answer = self.ask(Method::GET, self.url(&format!("manifests/{reference}"))?, accept()).await?;
        let media_type = answer.head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media_type = media_type.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_owned();
        Ok(Manifest { media_type, bytes: answer.body.all(limit).await? })
    }

    /// The blob, without its first `offset` bytes if the registry can leave
    /// them out: [`Blob::offset`] says where it begins.
    pub async fn blob(&self, digest: &Digest, offset: u64) -> Result<Blob, RegistryError> {
        let url = self.url(&format!("blobs/{digest}"))?;
        let mut headers = HeaderMap::new();
        if offset > 0 {
            headers.extend(HeaderValue::from_str(&format!("bytes={offset}-")).map(|value| (RANGE, value)));
        }
        let answer = match self.ask(Method::GET, url.clone(), headers).await {
            // There is no such range, or it is not understood.
            Err(RegistryError::Refused { refusal }) if offset > 0 && refusal.code == ErrorCode::Unknown => {
                self.ask(Method::GET, url, HeaderMap::new()).await?
            }
            answer => answer?,
        };
        let begins = match answer.head.status {
            StatusCode::PARTIAL_CONTENT => first_of_range(&answer.head.headers).unwrap_or(u64::MAX),
            _ => 0,
        };
        match begins == offset || begins == 0 {
            true => Ok(Blob::new(begins, answer.body)),
            false => Err(answer.body.asked.failed(TransportError::Http("another range than was asked for".into()))),
        }
    }

    /// All tags of the repository.
    pub async fn tags(&self) -> Result<Vec<String>, RegistryError> {
        let mut url = self.url("tags/list")?;
        let mut found = Vec::new();
        for _ in 0..MAX_PAGES {
            let answer = self.ask(Method::GET, url.clone(), HeaderMap::new()).await?;
            let next = next_page(&url, &answer.head.headers);
            let status = answer.head.status.as_u16();
            let body = answer.body.all(MAX_TAGS).await?;
            let page: Tags = serde_json::from_slice(&body).map_err(|error| RegistryError::Body {
                status,
                problem: error.to_string(),
                body: String::new(),
            })?;
            found.extend(page.tags.into_iter().flatten());
            match next {
                Some(next) => url = next,
                None => break,
            }
        }
        Ok(found)
    }

    fn url(&self, rest: &str) -> Result<Url, RegistryError> {
        let text = format!("{}v2/{}/{rest}", self.0.endpoint.url, self.0.path);
        text.parse().map_err(|_| RegistryError::Url { url: text })
    }

    /// Asks with what the registry wants to see. One answer that says it is not
    /// enough is followed: tokens end, and some registries only say what they
    /// want when they are asked for something.
    async fn ask(&self, method: Method, url: Url, headers: HeaderMap) -> Result<Answer, RegistryError> {
        let mut is_first = true;
        loop {
            let mut ask = Ask::new(method.clone(), url.clone());
            ask.headers = headers.clone();
            let authorization = self.authorization(&Asked::new(&method, &url)).await?;
            ask.headers.extend(authorization.map(|value| (AUTHORIZATION, value)));
            let answer = self.0.transport.send(ask).await?;
            let wanted = challenges(&answer.head.headers);
            if answer.head.status != StatusCode::UNAUTHORIZED || !is_first || wanted.is_empty() {
                return succeeded(answer).await;
            }
            is_first = false;
            *self.0.challenges.lock().unwrap_or_else(PoisonError::into_inner) = wanted;
            *self.0.token.lock().await = None;
        }
    }

    async fn authorization(&self, asked: &Asked) -> Result<Option<HeaderValue>, RegistryError> {
        let wanted = |scheme: &str| {
            let challenges = self.0.challenges.lock().unwrap_or_else(PoisonError::into_inner);
            challenges.iter().find(|challenge| challenge.scheme == scheme).cloned()
        };
        if let Some(challenge) = wanted("bearer") {
            let token = match &self.0.credentials {
                Credentials::RegistryToken(token) => token.clone(),
                _ => self.token(&challenge).await?,
            };
            return Ok(token::bearer(&token));
        }
        match (wanted("basic"), &self.0.credentials) {
            (None, _) => Ok(None),
            (Some(_), Credentials::Password { username, password }) => Ok(token::basic(username, password)),
            (Some(_), _) => Err(RegistryError::NoCredentials { method: asked.method, url: asked.url.clone() }),
        }
    }

    /// The token, fetched once and again when its time is over. Who asks at the
    /// same time waits for it.
    async fn token(&self, challenge: &Challenge) -> Result<Secret, RegistryError> {
        let mut kept = self.0.token.lock().await;
        if let Some(token) = kept.as_ref().filter(|token| token.expires > Instant::now()) {
            return Ok(token.token.clone());
        }
        let scope = format!("repository:{}:pull", self.0.path);
        let scope = Scope { scope: Some(&scope), offline: false };
        let safe = self.0.endpoint.url.scheme() == "https" && !self.0.endpoint.is_insecure;
        let token = token::fetch(&self.0.transport, challenge, &self.0.credentials, &scope, safe).await?;
        Ok(kept.insert(token).token.clone())
    }
}

fn accept() -> HeaderMap {
    HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(MANIFESTS))])
}

/// `Content-Range: bytes 5-9/10`: 5.
fn first_of_range(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes ")?;
    range.split_once('-')?.0.trim().parse().ok()
}

/// `Link: </v2/x/tags/list?last=b&n=2>; rel="next"`; within the same registry.
fn next_page(url: &Url, headers: &HeaderMap) -> Option<Url> {
    let link = headers.get(LINK)?.to_str().ok()?;
    let (target, rest) = link.strip_prefix('<')?.split_once('>')?;
    let next = url.join(target).ok()?;
    (rest.contains("rel=\"next\"") && next.origin() == url.origin()).then_some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_within_the_registry() {
        let url: Url = "https://r.example/v2/x/tags/list".parse().unwrap();
        let next = |link: &'static str| {
            let headers = HeaderMap::from_iter([(LINK, HeaderValue::from_static(link))]);
            next_page(&url, &headers).map(|url| url.to_string())
        };
        let expected = Some("https://r.example/v2/x/tags/list?last=b&n=2".to_owned());
        assert_eq!(next("</v2/x/tags/list?last=b&n=2>; rel=\"next\""), expected);
        for other in ["<http://127.0.0.1/>; rel=\"next\"", "</x>; rel=\"prev\"", "/x", ""] {
            assert_eq!(next(other), None, "{other}");
        }
    }

    #[test]
    fn ranges_are_read() {
        let first = |range: &'static str| {
            first_of_range(&HeaderMap::from_iter([(CONTENT_RANGE, HeaderValue::from_static(range))]))
        };
        assert_eq!(first("bytes 5-9/10"), Some(5));
        assert_eq!((first("bytes */10"), first("5-9"), first("")), (None, None, None));
    }
}
