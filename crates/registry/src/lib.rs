//! The client's half of the distribution protocol: finding a registry, proving
//! who asks, and fetching manifests and blobs from it.
//!
//! ```text
//! Client ── endpoints(registry) ─▶ Endpoint ── connect(path, credentials) ─▶ Repository
//!                                                                              ├─ manifest
//!                                                                              ├─ blob
//!                                                                              └─ tags
//! ```
//!
//! Names are resolved here and not by the C library: in a statically linked
//! program the latter cannot load what the system is configured to resolve with.
//!
//! A registry is not trusted. Everything that it sends and that is kept in
//! memory has a limit, every wait has an end, redirects are counted, secrets go
//! only to the registry itself and to the token server that it names over a
//! connection that is as safe as its own, and a registry elsewhere cannot send
//! the client to services of this host. What a blob contains is for the caller
//! to verify: it comes as a stream.

mod blob;
mod challenge;
mod client;
mod connect;
mod credentials;
mod endpoint;
mod error;
mod repository;
mod resolve;
mod response;
mod settings;
mod tls;
mod token;
mod transport;

pub use blob::Blob;
pub use client::Client;
pub use credentials::{Credentials, Secret};
pub use endpoint::Endpoint;
pub use error::{ConnectError, ErrorCode, Refusal, RegistryError, TransportError};
pub use repository::{Manifest, Repository};
pub use resolve::resolve;
pub use settings::{InsecureRegistries, Mirror, ParseSettingError, Settings};
