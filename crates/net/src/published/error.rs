//! Why a port cannot be had.

use std::io;
use std::net::SocketAddr;

use casemate_model::{Classify, ErrorClass};
use rustix::io::Errno;

use super::holder::Holder;
use crate::{Protocol, Publication};

#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The holder is known if it has a process that can be seen from here.
    #[error("failed to bind host port {host}/{}: address already in use{}", protocol.name(), held_by(holder.as_ref()))]
    InUse { host: SocketAddr, protocol: Protocol, holder: Option<Holder> },
    #[error("failed to bind host port {host}/{}: cannot assign requested address", protocol.name())]
    NoSuchAddress { host: SocketAddr, protocol: Protocol },
    #[error("failed to bind host port {host}/sctp: the host's kernel has no SCTP")]
    NoSctp { host: SocketAddr },
    #[error("failed to bind host port {host}/{}", protocol.name())]
    Failed { host: SocketAddr, protocol: Protocol, source: io::Error },
}

impl BindError {
    pub(super) fn of(publication: &Publication, error: Errno) -> Self {
        let Publication { protocol, host, .. } = *publication;
        match error {
            Errno::ADDRINUSE => Self::InUse { host, protocol, holder: Holder::find(protocol, host) },
            Errno::ADDRNOTAVAIL => Self::NoSuchAddress { host, protocol },
            Errno::PROTONOSUPPORT if protocol == Protocol::Sctp => Self::NoSctp { host },
            error => Self::Failed { host, protocol, source: error.into() },
        }
    }
}

fn held_by(holder: Option<&Holder>) -> String {
    holder.map(|holder| format!(" (held by {holder})")).unwrap_or_default()
}

impl Classify for BindError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::InUse { .. } => ErrorClass::Conflict,
            Self::NoSuchAddress { .. } | Self::NoSctp { .. } => ErrorClass::Unavailable,
            Self::Failed { source, .. } => match Errno::from_io_error(source) {
                Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => ErrorClass::ResourceExhausted,
                // Without IPv6, for one.
                Some(Errno::AFNOSUPPORT) => ErrorClass::Unavailable,
                _ => ErrorClass::Internal,
            },
        }
    }
}
