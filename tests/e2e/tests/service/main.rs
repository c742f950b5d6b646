//! The daemon as a service of its host: where it listens and to whom, its
//! configuration, its beginning and its end, and its installation.
//!
//! What runs containers is tested in both isolations; what does not is tested
//! once.

mod activation;
mod configuration;
mod daemon;
mod installation;
mod reload;
mod sockets;
mod stop;
mod tls;
