//! The Docker Engine API over HTTP: the only place that knows Docker's JSON.
//!
//! A connection is served by one task, a request by one handler: the route
//! ([`route`]) picks it by method and path, it turns the request into calls of
//! the engine, and the engine's answer into Docker's words. Statuses come from
//! an error's class ([`error`]), never from its text.
//!
//! Clients are not trusted: bodies have limits, what cannot be read is a 400
//! that says why, and a client that goes away gives its request up.

// `info` and `inspect` are long objects.
#![recursion_limit = "256"]

mod body;
mod containers;
mod error;
mod exec;
mod filters;
mod fuzz;
mod hangup;
mod hijack;
pub mod human;
mod images;
mod listener;
mod networks;
mod out_of_scope;
mod own;
mod query;
mod reply;
mod request;
mod route;
mod server;
mod system;
mod tls;
mod upload;
mod websocket;

pub use containers::casemate;
pub use fuzz::fuzz_body;
pub use listener::Listener;
pub use server::{HostFacts, Limits, Server};
pub use tls::{TlsError, TlsFiles, acceptor as tls_acceptor};

/// What this daemon speaks.
pub const API_VERSION: &str = "1.50";
/// The least it speaks, as dockerd 28.
pub const MIN_API_VERSION: &str = "1.24";
