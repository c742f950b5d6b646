//! A daemon that can be reached.

use crate::host::Host;
use crate::tls::TlsFiles;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub host: Host,
    /// Over TCP only; none: not encrypted.
    pub tls: Option<TlsFiles>,
    /// Nobody named a daemon: it is this host's own.
    pub is_default: bool,
}
