//! Requests and their answers, through redirects, with limits to what comes
//! back and to how long it takes.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue, LOCATION, USER_AGENT, WWW_AUTHENTICATE};
use hyper::http::response::Parts;
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::timeout;
use url::Url;

use crate::connect::Connector;
use crate::endpoint::Endpoint;
use crate::error::{ConnectError, RegistryError, TransportError};
use crate::settings::Settings;

/// What Go's client, and so Docker, follows.
const MAX_REDIRECTS: usize = 10;
/// As dockerd; connections are for one pull.
const IDLE: Duration = Duration::from_secs(30);

/// Connections to an endpoint and to wherever it redirects.
pub(crate) struct Transport {
    client: Client<Connector, Full<Bytes>>,
    user_agent: HeaderValue,
    patience: Duration,
    /// From TLS to none.
    may_downgrade: bool,
}

/// A request as the protocol means it, before redirects.
pub(crate) struct Ask {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Ask {
    pub(crate) fn new(method: Method, url: Url) -> Self {
        Self { method, url, headers: HeaderMap::new(), body: Bytes::new() }
    }
}

pub(crate) struct Answer {
    pub(crate) head: Parts,
    pub(crate) body: Body,
}

/// The bytes of an answer as they come.
pub(crate) struct Body {
    incoming: Incoming,
    patience: Duration,
    pub(crate) asked: Asked,
}

/// What an error says it is about.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) method: &'static str,
    pub(crate) url: String,
}

impl Asked {
    pub(crate) fn new(method: &Method, url: &Url) -> Self {
        let method = match *method {
            Method::HEAD => "Head",
            Method::POST => "Post",
            _ => "Get",
        };
        Self { method, url: url.to_string() }
    }

    pub(crate) fn failed(&self, source: TransportError) -> RegistryError {
        RegistryError::Transport { method: self.method, url: self.url.clone(), source }
    }
}

impl Transport {
    pub(crate) fn new(settings: &Settings, endpoint: &Endpoint) -> Self {
        let connector = Connector { tls: endpoint.tls.clone(), may_be_local: endpoint.is_local };
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .build(connector);
        let user_agent = HeaderValue::from_str(&settings.user_agent);
        Self {
            client,
            user_agent: user_agent.unwrap_or(HeaderValue::from_static("casemate")),
            patience: settings.patience,
            may_downgrade: endpoint.is_insecure,
        }
    }

    /// The answer, whatever its status, that redirects end at.
    pub(crate) async fn send(&self, ask: Ask) -> Result<Answer, RegistryError> {
        let Ask { method, mut url, mut headers, body } = ask;
        let mut asked = Asked::new(&method, &url);
        headers.insert(USER_AGENT, self.user_agent.clone());
        let origin = url.origin();
        for _ in 0..=MAX_REDIRECTS {
            let head = self.send_once(&asked, &method, &url, &headers, &body).await?;
            let Some(next) = redirect(&asked, &method, &url, &head)? else {
                let (mut head, incoming) = head.into_parts();
                if url.origin() != origin {
                    // Who was only redirected to does not say whom to show a
                    // password.
                    head.headers.remove(WWW_AUTHENTICATE);
                }
                return Ok(Answer { head, body: Body { incoming, patience: self.patience, asked } });
            };
            let mut shown = next.clone();
            // Its query may be what lets the bearer in.
            shown.set_query(None);
            asked.url = shown.to_string();
            if url.scheme() == "https" && next.scheme() != "https" && !self.may_downgrade {
                return Err(asked.failed(TransportError::Downgrade { url: shown.to_string() }));
            }
            if next.origin() != url.origin() {
                headers.remove(AUTHORIZATION);
                if !body.is_empty() {
                    // What is sent in a body is a secret.
                    return Err(asked.failed(TransportError::Elsewhere { url: shown.to_string() }));
                }
            }
            url = next;
        }
        Err(asked.failed(TransportError::TooManyRedirects { limit: MAX_REDIRECTS }))
    }

    async fn send_once(
        &self,
        asked: &Asked,
        method: &Method,
        url: &Url,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<hyper::Response<Incoming>, RegistryError> {
        let is_web = matches!(url.scheme(), "http" | "https");
        let uri = url.as_str().parse::<Uri>().ok().filter(|_| is_web);
        let uri = uri.ok_or_else(|| RegistryError::Url { url: asked.url.clone() })?;
        let mut request = Request::new(Full::new(body.clone()));
        *request.method_mut() = method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = headers.clone();
        match timeout(self.patience, self.client.request(request)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(asked.failed(failure(error))),
            Err(_) => Err(asked.failed(TransportError::NoAnswer)),
        }
    }
}

/// Where the answer sends us, if anywhere.
fn redirect<T>(
    asked: &Asked,
    method: &Method,
    url: &Url,
    answer: &hyper::Response<T>,
) -> Result<Option<Url>, RegistryError> {
    let follows = match answer.status() {
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND | StatusCode::SEE_OTHER => *method != Method::POST,
        StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => true,
        _ => false,
    };
    if !follows {
        return Ok(None);
    }
    let location = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    match location.and_then(|location| url.join(location).ok()) {
        Some(next) => Ok(Some(next)),
        None => Err(asked.failed(TransportError::Location)),
    }
}

fn failure(error: hyper_util::client::legacy::Error) -> TransportError {
    let mut source: Option<&(dyn Error + 'static)> = error.source();
    while let Some(inner) = source {
        if let Some(connect) = inner.downcast_ref::<Arc<ConnectError>>() {
            return TransportError::Connect(connect.clone());
        }
        source = inner.source();
    }
    TransportError::Http(error.into())
}

impl Body {
    /// None at the end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, RegistryError> {
        loop {
            let frame = timeout(self.patience, self.incoming.frame()).await;
            let frame =
                frame.map_err(|_| self.asked.failed(TransportError::Stalled { seconds: self.patience.as_secs() }))?;
            match frame.transpose().map_err(|error| self.asked.failed(TransportError::Http(error.into())))? {
                None => return Ok(None),
                // Trailers are nobody's business here.
                Some(frame) => match frame.into_data() {
                    Ok(data) => return Ok(Some(data)),
                    Err(_) => continue,
                },
            }
        }
    }

    /// The whole of it, if it is within the limit.
    pub(crate) async fn all(mut self, limit: usize) -> Result<Bytes, RegistryError> {
        let mut bytes = BytesMut::new();
        while let Some(chunk) = self.chunk().await? {
            if bytes.len() + chunk.len() > limit {
                return Err(self.asked.failed(TransportError::TooLarge { limit }));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes.freeze())
    }
}
