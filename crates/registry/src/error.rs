//! How a registry can fail to give what it is asked for. What people search the
//! web for is in the words that the `docker` CLI shows.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use casemate_model::{Classify, ErrorClass};
use tokio_rustls::rustls;

/// `method` is `Get`, `Head` or `Post`, as Go's errors have it.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// There was no answer, or its body broke off.
    #[error("{method} {url:?}")]
    Transport { method: &'static str, url: String, source: TransportError },
    /// The registry, or its token server, says no.
    #[error("{refusal}")]
    Refused { refusal: Refusal },
    /// The token server does not let these credentials in.
    #[error("{method} {url:?}")]
    NotLetIn { method: &'static str, url: String, source: Refusal },
    #[error("received unexpected HTTP status: {status}")]
    Status { status: String },
    #[error("error parsing HTTP {status} response body: {problem}: {body:?}")]
    Body { status: u16, problem: String, body: String },
    #[error("{method} {url:?}: no basic auth credentials")]
    NoCredentials { method: &'static str, url: String },
    #[error("the registry asks for a token and {problem}")]
    Challenge { problem: String },
    #[error("unable to decode token response")]
    TokenJson(#[source] serde_json::Error),
    #[error("authorization server did not include a token in the response")]
    NoToken,
    #[error("cannot use the certificates in {path:?}: {problem}")]
    Certificates { path: PathBuf, problem: String },
    #[error("{url:?} is no address that can be asked")]
    Url { url: String },
}

#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    #[error(transparent)]
    Connect(Arc<ConnectError>),
    #[error("the connection broke")]
    Http(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("net/http: request canceled (Client.Timeout exceeded while awaiting headers)")]
    NoAnswer,
    #[error("no data for {seconds} seconds")]
    Stalled { seconds: u64 },
    #[error("the answer is larger than {limit} bytes")]
    TooLarge { limit: usize },
    #[error("stopped after {limit} redirects")]
    TooManyRedirects { limit: usize },
    #[error("a redirect without a usable Location")]
    Location,
    #[error("the registry redirects from https to {url:?}, which is not")]
    Downgrade { url: String },
    #[error("a token server redirects to another host, {url:?}, which is to see no secrets")]
    Elsewhere { url: String },
}

#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("dial tcp: lookup {host}: no such host")]
    NoSuchHost { host: String },
    #[error("dial tcp: lookup {host}")]
    Lookup { host: String, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("{host} is at {address}, which belongs to this host: a registry elsewhere may not send anyone there")]
    Local { host: String, address: IpAddr },
    #[error("dial tcp {address}: connect")]
    Dial { address: SocketAddr, source: io::Error },
    #[error("dial tcp {address}: i/o timeout")]
    DialTimeout { address: SocketAddr },
    #[error("net/http: TLS handshake timeout")]
    HandshakeTimeout,
    #[error("http: server gave HTTP response to HTTPS client")]
    PlainHttp,
    #[error("tls: failed to verify certificate: x509: certificate signed by unknown authority")]
    UnknownAuthority,
    #[error("tls: failed to verify certificate: x509")]
    Certificate(#[source] rustls::Error),
    #[error("tls")]
    Tls(#[source] io::Error),
}

/// An answer of the protocol's own: `denied: requested access to the resource is
/// denied`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Refusal {
    pub code: ErrorCode,
    /// Printable, and cut at a limit.
    pub message: String,
}

/// The codes of the distribution protocol that a client acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    Unauthorized,
    Denied,
    NameUnknown,
    NameInvalid,
    ManifestUnknown,
    ManifestInvalid,
    BlobUnknown,
    TooManyRequests,
    Unsupported,
    Unavailable,
    Unknown,
}

impl ErrorCode {
    const ALL: [Self; 11] = [
        Self::Unauthorized,
        Self::Denied,
        Self::NameUnknown,
        Self::NameInvalid,
        Self::ManifestUnknown,
        Self::ManifestInvalid,
        Self::BlobUnknown,
        Self::TooManyRequests,
        Self::Unsupported,
        Self::Unavailable,
        Self::Unknown,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Unauthorized => "UNAUTHORIZED",
            Self::Denied => "DENIED",
            Self::NameUnknown => "NAME_UNKNOWN",
            Self::NameInvalid => "NAME_INVALID",
            Self::ManifestUnknown => "MANIFEST_UNKNOWN",
            Self::ManifestInvalid => "MANIFEST_INVALID",
            Self::BlobUnknown => "BLOB_UNKNOWN",
            Self::TooManyRequests => "TOOMANYREQUESTS",
            Self::Unsupported => "UNSUPPORTED",
            Self::Unavailable => "UNAVAILABLE",
            Self::Unknown => "UNKNOWN",
        }
    }

    pub(crate) fn from_name(name: &str) -> Self {
        Self::ALL.into_iter().find(|code| code.name() == name).unwrap_or(Self::Unknown)
    }

    /// What the protocol's specification says of the code.
    pub(crate) fn message(self) -> &'static str {
        match self {
            Self::Unauthorized => "authentication required",
            Self::Denied => "requested access to the resource is denied",
            Self::NameUnknown => "repository name not known to registry",
            Self::NameInvalid => "invalid repository name",
            Self::ManifestUnknown => "manifest unknown",
            Self::ManifestInvalid => "manifest invalid",
            Self::BlobUnknown => "blob unknown to registry",
            Self::TooManyRequests => "too many requests",
            Self::Unsupported => "The operation is unsupported.",
            Self::Unavailable => "service unavailable",
            Self::Unknown => "unknown error",
        }
    }
}

/// `manifest unknown`.
impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name().to_ascii_lowercase().replace('_', " "))
    }
}

impl RegistryError {
    /// Whether asking again may help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Transport { source, .. } => match source {
                TransportError::Http(_) | TransportError::NoAnswer | TransportError::Stalled { .. } => true,
                TransportError::Connect(source) => source.is_transient(),
                TransportError::TooLarge { .. }
                | TransportError::TooManyRedirects { .. }
                | TransportError::Location
                | TransportError::Downgrade { .. }
                | TransportError::Elsewhere { .. } => false,
            },
            Self::Status { .. } => true,
            Self::Refused { refusal } | Self::NotLetIn { source: refusal, .. } => {
                matches!(refusal.code, ErrorCode::Unavailable | ErrorCode::Unknown)
            }
            Self::Body { .. }
            | Self::NoCredentials { .. }
            | Self::Challenge { .. }
            | Self::TokenJson(_)
            | Self::NoToken
            | Self::Certificates { .. }
            | Self::Url { .. } => false,
        }
    }

    /// Whether there was any answer at all: then there is no point in asking the
    /// same host in another way.
    pub fn is_answer(&self) -> bool {
        !matches!(self, Self::Transport { .. } | Self::Certificates { .. } | Self::Url { .. })
    }
}

impl ConnectError {
    fn is_transient(&self) -> bool {
        match self {
            Self::Lookup { .. }
            | Self::Dial { .. }
            | Self::DialTimeout { .. }
            | Self::HandshakeTimeout
            | Self::Tls(_) => true,
            Self::NoSuchHost { .. }
            | Self::Local { .. }
            | Self::PlainHttp
            | Self::UnknownAuthority
            | Self::Certificate(_) => false,
        }
    }
}

impl Classify for RegistryError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Transport { source, .. } => match source {
                TransportError::Connect(_) | TransportError::Http(_) => ErrorClass::Unavailable,
                TransportError::NoAnswer | TransportError::Stalled { .. } => ErrorClass::Timeout,
                TransportError::TooLarge { .. }
                | TransportError::TooManyRedirects { .. }
                | TransportError::Location
                | TransportError::Downgrade { .. }
                | TransportError::Elsewhere { .. } => ErrorClass::Protocol,
            },
            Self::Refused { refusal } | Self::NotLetIn { source: refusal, .. } => match refusal.code {
                ErrorCode::Unauthorized => ErrorClass::Unauthorized,
                ErrorCode::Denied | ErrorCode::NameUnknown | ErrorCode::ManifestUnknown => ErrorClass::NotFound,
                ErrorCode::NameInvalid
                | ErrorCode::ManifestInvalid
                | ErrorCode::BlobUnknown
                | ErrorCode::TooManyRequests
                | ErrorCode::Unsupported
                | ErrorCode::Unavailable
                | ErrorCode::Unknown => ErrorClass::Unavailable,
            },
            Self::Status { .. } => ErrorClass::Unavailable,
            Self::Body { .. } | Self::Challenge { .. } | Self::TokenJson(_) | Self::NoToken => ErrorClass::Protocol,
            // Docker does not tell these from other failures.
            Self::NoCredentials { .. } => ErrorClass::Internal,
            Self::Certificates { .. } | Self::Url { .. } => ErrorClass::InvalidArgument,
        }
    }
}

/// What a registry says, fit for a terminal: no control characters, and not
/// more than a few lines of it.
pub(crate) fn printable(text: &str) -> String {
    const LIMIT: usize = 512;
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LIMIT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_read_as_docker_shows_them() {
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_name(code.name()), code);
        }
        assert_eq!(ErrorCode::from_name("SOMETHING_ELSE"), ErrorCode::Unknown);
        let refusal = Refusal { code: ErrorCode::ManifestUnknown, message: "manifest unknown".into() };
        assert_eq!(refusal.to_string(), "manifest unknown: manifest unknown");
        assert_eq!(ErrorCode::TooManyRequests.to_string(), "toomanyrequests");
    }

    #[test]
    fn what_a_registry_says_is_made_printable() {
        assert_eq!(printable("a\x1b[31m\n\u{9b}b"), "a [31m  b");
        assert_eq!(printable(&"é".repeat(1000)).chars().count(), 512);
    }
}
