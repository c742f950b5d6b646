//! A client of the Docker Engine API, for programs that are on the user's side
//! of it.
//!
//! ```text
//! Choice ── resolve ─▶ Endpoint ── Client::new ─▶ Client ── get, post, delete ─▶ Call
//!  flags, environment,   host, TLS                                 ├─ send ───▶ Answer: a document, or messages
//!  contexts                                                        └─ hijack ─▶ Hijacked: both sides' bytes
//! ```
//!
//! Answers are JSON values and not types: what a daemon says beyond Docker's
//! API is for the caller to see. A daemon on another host is not trusted with
//! memory: documents have a limit.

mod client;
mod context;
mod endpoint;
mod error;
mod host;
mod outputs;
mod tls;

pub use client::{Answer, Call, Client, Hijacked, path};
pub use context::{Choice, Environment};
pub use endpoint::Endpoint;
pub use error::{ClientError, ContextError, HostError, Refusal, TlsError};
pub use host::Host;
pub use outputs::Outputs;
pub use tls::TlsFiles;
