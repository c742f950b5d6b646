//! Networks for tests: machines that are network namespaces, none with a way to
//! the real ones.
//!
//! The test's own is the host ([`Node::enter_new`], when its engine is made).
//! What else there is, the test asks a [`World`] for.

mod ask;
mod name_server;
mod netlink;
mod node;
mod server;
pub mod world;

use std::net::SocketAddr;

pub use self::name_server::NameServer;
pub use self::netlink::with_netlink;
pub use self::node::Node;
pub use self::server::{Heard, Protocol, Server};
pub use self::world::World;

/// A port of an address of either family.
pub fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap_or_else(|error| panic!("{address}: {error}")), port)
}
