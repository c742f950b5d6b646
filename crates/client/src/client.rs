//! Requests and their answers.

use std::fmt::Display;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use casemate_registry::resolve;
use form_urlencoded::Serializer;
use futures::{Stream, StreamExt, TryStreamExt};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyDataStream, BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderName};
use hyper::http::response::Parts;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_util::io::StreamReader;

use crate::endpoint::Endpoint;
use crate::error::{ClientError, Refusal};
use crate::host::Host;

/// No document of the API is longer.
const LONGEST_DOCUMENT: usize = 64 << 20;

/// Of a stream of messages, one.
const LONGEST_MESSAGE: usize = 1 << 20;

type RequestBody = UnsyncBoxBody<Bytes, io::Error>;

trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// Each call has a connection of its own, so calls do not wait for each other.
#[derive(Clone)]
pub struct Client {
    endpoint: Arc<Endpoint>,
    tls: Option<TlsConnector>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// The path of these segments, whatever characters they have.
pub fn path(segments: &[&str]) -> String {
    /// What may stand in a segment as it is.
    const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':');
    segments.iter().map(|segment| format!("/{}", utf8_percent_encode(segment, ENCODED))).collect()
}

impl Client {
    pub fn new(endpoint: Endpoint) -> Result<Self, ClientError> {
        let tls = match (&endpoint.host, &endpoint.tls) {
            (Host::Tcp { .. }, Some(files)) => Some(files.connector()?),
            _ => None,
        };
        Ok(Self { endpoint: Arc::new(endpoint), tls })
    }

    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub fn get(&self, path: impl Into<String>) -> Call<'_> {
        Call::new(self, Method::GET, path.into())
    }

    pub fn post(&self, path: impl Into<String>) -> Call<'_> {
        Call::new(self, Method::POST, path.into())
    }

    pub fn delete(&self, path: impl Into<String>) -> Call<'_> {
        Call::new(self, Method::DELETE, path.into())
    }

    fn host(&self) -> String {
        self.endpoint.host.to_string()
    }

    async fn connect(&self) -> Result<Box<dyn Connection>, ClientError> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::PermissionDenied => ClientError::NotAllowed { host: self.host() },
            _ => ClientError::Connect { host: self.host(), source },
        };
        match &self.endpoint.host {
            Host::Unix(path) => Ok(Box::new(UnixStream::connect(path).await.map_err(failed)?)),
            Host::Tcp { name, port } => {
                let addresses = resolve(name).await;
                let addresses = addresses.map_err(|source| ClientError::Resolve { host: self.host(), source })?;
                let addresses: Vec<_> = addresses.into_iter().map(|ip| (ip, *port).into()).collect();
                let stream = first_of(&addresses).await.map_err(failed)?;
                stream.set_nodelay(true).map_err(failed)?;
                let Some(tls) = &self.tls else {
                    return Ok(Box::new(stream));
                };
                let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
                let server = ServerName::try_from(bare.to_owned()).map_err(|error| failed(io::Error::other(error)))?;
                Ok(Box::new(tls.connect(server, stream).await.map_err(failed)?))
            }
        }
    }

    async fn request(&self, request: Request<RequestBody>) -> Result<Response<Incoming>, ClientError> {
        let failed = |source| ClientError::Http { host: self.host(), source };
        let connection = TokioIo::new(self.connect().await?);
        let (mut sender, connection) = http1::handshake(connection).await.map_err(failed)?;
        // How it ends is told by the answer.
        tokio::spawn(connection.with_upgrades());
        sender.send_request(request).await.map_err(failed)
    }
}

async fn first_of(addresses: &[std::net::SocketAddr]) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// A request that is being put together.
#[must_use = "it has to be sent"]
pub struct Call<'a> {
    client: &'a Client,
    method: Method,
    path: String,
    query: Serializer<'static, String>,
    headers: Vec<(HeaderName, String)>,
    body: RequestBody,
}

impl std::fmt::Debug for Call<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call").field("method", &self.method).field("path", &self.path).finish_non_exhaustive()
    }
}

impl<'a> Call<'a> {
    fn new(client: &'a Client, method: Method, path: String) -> Self {
        let query = Serializer::new(String::new());
        Self { client, method, path, query, headers: Vec::new(), body: full(Bytes::new()) }
    }

    pub fn query(mut self, name: &str, value: impl Display) -> Self {
        self.query.append_pair(name, &value.to_string());
        self
    }

    /// Named in lower case.
    pub fn header(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((HeaderName::from_static(name), value));
        self
    }

    pub fn json(mut self, value: &Value) -> Self {
        self.body = full(value.to_string().into());
        self.header("content-type", "application/json".to_owned())
    }

    /// Sends an archive while it is read.
    pub fn archive(mut self, pieces: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Self {
        self.body = BodyExt::boxed_unsync(StreamBody::new(pieces.map_ok(Frame::data)));
        self.header("content-type", "application/x-tar".to_owned())
    }

    /// What is not done is a [`Refusal`].
    pub async fn send(self) -> Result<Answer, ClientError> {
        let client = self.client;
        let (head, body) = client.request(self.request()?).await?.into_parts();
        let answer = Answer { host: client.host(), head, body };
        if answer.head.status.is_success()
            || matches!(answer.head.status, StatusCode::NOT_MODIFIED | StatusCode::SWITCHING_PROTOCOLS)
        {
            return Ok(answer);
        }
        Err(answer.refusal().await)
    }

    /// Leaves HTTP behind: from the answer on, the connection is both sides'.
    pub async fn hijack(self) -> Result<Hijacked, ClientError> {
        let upgrade = self.header("connection", "Upgrade".to_owned()).header("upgrade", "tcp".to_owned());
        let Answer { host, head, body } = upgrade.send().await?;
        if head.status != StatusCode::SWITCHING_PROTOCOLS {
            return Err(ClientError::Answer { host, what: format!("{} instead of an upgrade", head.status) });
        }
        let upgraded = hyper::upgrade::on(Response::from_parts(head, body)).await;
        let upgraded = upgraded.map_err(|source| ClientError::Http { host, source })?;
        let (reader, writer) = tokio::io::split(TokioIo::new(upgraded));
        Ok(Hijacked { reader: Box::pin(reader), writer: Box::pin(writer) })
    }

    fn request(mut self) -> Result<Request<RequestBody>, ClientError> {
        let query = self.query.finish();
        let uri = if query.is_empty() { self.path } else { format!("{}?{query}", self.path) };
        // HTTP wants one; a socket has none.
        let host = match &self.client.endpoint.host {
            Host::Unix(_) => "docker".to_owned(),
            Host::Tcp { name, port } => format!("{name}:{port}"),
        };
        let mut request = Request::builder().method(self.method).uri(uri).header(HOST, host);
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        request.body(self.body).map_err(|error| ClientError::Answer {
            host: self.client.host(),
            what: format!("the request cannot be written: {error}"),
        })
    }
}

fn full(bytes: Bytes) -> RequestBody {
    BodyExt::boxed_unsync(Full::new(bytes).map_err(|never| match never {}))
}

/// An answer whose body is still to come.
#[derive(Debug)]
pub struct Answer {
    host: String,
    head: Parts,
    body: Incoming,
}

impl Answer {
    pub async fn json<T: DeserializeOwned>(self) -> Result<T, ClientError> {
        let host = self.host.clone();
        let bytes = self.all().await?;
        serde_json::from_slice(&bytes).map_err(|error| ClientError::Answer { host, what: error.to_string() })
    }

    /// A daemon that says no more than a status is taken by its status.
    async fn refusal(self) -> ClientError {
        let status = self.head.status;
        let text = match self.all().await {
            Ok(text) => text,
            Err(error) => return error,
        };
        let value: Option<Value> = serde_json::from_slice(&text).ok();
        let message = value.as_ref().and_then(|value| value["message"].as_str());
        let message = message.map(str::to_owned).unwrap_or_else(|| status.to_string());
        Refusal { status, message }.into()
    }

    async fn all(mut self) -> Result<Bytes, ClientError> {
        let mut bytes = BytesMut::new();
        while let Some(frame) = self.body.frame().await {
            let lost = |error| ClientError::Lost { host: self.host.clone(), source: io::Error::other(error) };
            let frame = frame.map_err(lost)?;
            if let Ok(data) = frame.into_data() {
                if bytes.len() + data.len() > LONGEST_DOCUMENT {
                    let what = format!("a document of more than {LONGEST_DOCUMENT} bytes");
                    return Err(ClientError::Answer { host: self.host, what });
                }
                bytes.extend_from_slice(&data);
            }
        }
        Ok(bytes.freeze())
    }

    /// Its bytes as they come.
    pub fn reader(self) -> impl AsyncRead + Unpin {
        StreamReader::new(BodyDataStream::new(self.body).map_err(io::Error::other))
    }

    /// Each JSON value that comes, in a line of its own.
    pub fn messages(self) -> impl Stream<Item = Result<Value, ClientError>> + Unpin {
        let host = self.host.clone();
        let lines = tokio_util::codec::FramedRead::new(
            self.reader(),
            tokio_util::codec::LinesCodec::new_with_max_length(LONGEST_MESSAGE),
        );
        let message = move |line: Result<String, tokio_util::codec::LinesCodecError>| {
            let invalid = |what: String| ClientError::Answer { host: host.clone(), what };
            match line {
                Ok(line) if line.trim().is_empty() => None,
                Ok(line) => Some(serde_json::from_str(&line).map_err(|error| invalid(error.to_string()))),
                Err(tokio_util::codec::LinesCodecError::Io(source)) => {
                    Some(Err(ClientError::Lost { host: host.clone(), source }))
                }
                Err(error) => Some(Err(invalid(error.to_string()))),
            }
        };
        Box::pin(lines.filter_map(move |line| std::future::ready(message(line))))
    }
}

/// A connection after HTTP.
pub struct Hijacked {
    pub reader: Pin<Box<dyn AsyncRead + Send>>,
    /// Shut down at the end of input.
    pub writer: Pin<Box<dyn AsyncWrite + Send>>,
}

impl std::fmt::Debug for Hijacked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hijacked").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_keep_their_characters() {
        assert_eq!(path(&["containers", "a/b c?", "json"]), "/containers/a%2Fb%20c%3F/json");
        assert_eq!(path(&["images", "127.0.0.1:5000", "box:1", "tag"]), "/images/127.0.0.1:5000/box:1/tag");
    }
}
