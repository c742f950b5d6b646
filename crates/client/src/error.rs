use std::io;
use std::path::PathBuf;

use casemate_registry::ConnectError;
use hyper::StatusCode;
use tokio_rustls::rustls;
use tokio_rustls::rustls::pki_types::pem;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    #[error("unable to parse docker host {0:?}: unix:///PATH and tcp://NAME:PORT are known")]
    Unreadable(String),
    #[error("unable to parse docker host {0:?}: protocol {1:?} is not supported")]
    Protocol(String, String),
    #[error("{0} is reached by ssh, which this program does not do: forward its socket (ssh -L SOCKET:SOCKET)")]
    Ssh(String),
}

#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    #[error("conflicting options: cannot specify both --host and --context")]
    HostAndContext,
    #[error(transparent)]
    Host(#[from] HostError),
    #[error("cannot read {path}")]
    Config { path: PathBuf, source: io::Error },
    #[error("context {name:?}: context not found: {path} is missing")]
    NoContext { name: String, path: PathBuf },
    #[error("context {name:?}: cannot read {path}")]
    Context { name: String, path: PathBuf, source: io::Error },
    #[error("context {name:?} has no Docker endpoint")]
    NoEndpoint { name: String },
    #[error("context {name:?} skips the verification of the daemon's certificate, which this program never does")]
    SkipsVerification { name: String },
}

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("could not read {path}")]
    Read { path: PathBuf, source: pem::Error },
    #[error("could not use the CA certificate {path}")]
    Authority { path: PathBuf, source: rustls::Error },
    #[error("could not load X509 key pair ({certificate}, {key})")]
    Pair { certificate: PathBuf, key: PathBuf, source: rustls::Error },
    #[error("cannot use TLS")]
    Provider(#[source] rustls::Error),
}

/// What a daemon says to what it does not do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    pub status: StatusCode,
    pub message: String,
}

impl Refusal {
    pub fn is_not_found(&self) -> bool {
        self.status == StatusCode::NOT_FOUND
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("permission denied while trying to connect to the daemon at {host}")]
    NotAllowed { host: String },
    #[error("cannot connect to the daemon at {host}")]
    Connect { host: String, source: io::Error },
    #[error("cannot connect to the daemon at {host}")]
    Resolve { host: String, source: ConnectError },
    #[error("the daemon at {host} cannot be spoken to")]
    Http { host: String, source: hyper::Error },
    #[error("the daemon at {host} does not answer as one: {what}")]
    Answer { host: String, what: String },
    #[error("the connection to the daemon at {host} broke off")]
    Lost { host: String, source: io::Error },
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl ClientError {
    /// What the daemon said, if it was asked.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }

    /// Nobody listens there.
    pub fn is_nobody(&self) -> bool {
        let kinds = [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused];
        matches!(self, Self::Connect { source, .. } if kinds.contains(&source.kind()))
    }
}
