//! What is around the host of a test: a second machine, and the Internet, as far
//! as the test asks for them.
//!
//! ```text
//! neighbour ── 192.0.2.0/24 ── host ── 5.6.7.0/24 ── internet
//!                                                    with public addresses of its own, and private ones
//! ```

use std::cell::OnceCell;
use std::fs;

use super::netlink::{End, remove, wire};
use super::node::Node;

/// Of the host, on the link to its neighbour. Addresses are an IPv4 one and an
/// IPv6 one if nothing else is said.
pub const HOST: [&str; 2] = ["192.0.2.1", "2001:db8::1"];
pub const NEIGHBOUR: [&str; 2] = ["192.0.2.2", "2001:db8::2"];

/// Of the host, on its way out: addresses of the Internet too.
pub const HOST_PUBLIC: [&str; 2] = ["5.6.7.8", "2606:5600::8"];
const ROUTER: [&str; 2] = ["5.6.7.1", "2606:5600::1"];

/// What only the way out leads to, and who answers there: all is one node. Servers
/// of the Internet,
pub const PUBLIC: [&str; 3] = ["1.1.1.1", "93.184.216.34", "2606:4700::1111"];
/// a cloud's metadata service,
pub const METADATA: [&str; 2] = ["169.254.169.254", "fd00:ec2::254"];
/// and machines of a private network.
pub const PRIVATE: [&str; 3] = ["10.99.0.1", "192.168.77.1", "fd99::1"];

const TO_NEIGHBOUR: &str = "lan";
const WAY_OUT: &str = "uplink";

/// The links that the host has by this.
pub(crate) const LINKS: [&str; 2] = [TO_NEIGHBOUR, WAY_OUT];

/// Dropped, it leaves the host without its links.
#[derive(Debug)]
pub struct World {
    host: Node,
    neighbour: OnceCell<Node>,
    internet: OnceCell<Node>,
}

impl World {
    /// Around the host that is this thread's network namespace, which has to be the
    /// test's own.
    pub fn new() -> Self {
        let namespace = |of: &str| fs::read_link(format!("/proc/{of}/ns/net")).expect("a network namespace");
        assert_ne!(namespace("thread-self"), namespace("self"), "this would change the network of the real host");
        Self { host: Node::here(), neighbour: OnceCell::new(), internet: OnceCell::new() }
    }

    pub fn host(&self) -> &Node {
        &self.host
    }

    /// Another machine on a link of the host's. It sends all that is elsewhere to
    /// the host, whether that passes it on or not.
    pub fn host_beside(&self) -> &Node {
        self.neighbour.get_or_init(|| {
            let neighbour = Node::new();
            let addresses = [HOST, NEIGHBOUR].map(|[v4, v6]| [format!("{v4}/24"), format!("{v6}/64")]);
            let [host, there] = addresses.each_ref().map(|pair| pair.each_ref().map(String::as_str));
            wire(
                End { node: &self.host, link: TO_NEIGHBOUR, addresses: &host, gateways: &[] },
                End { node: &neighbour, link: "eth0", addresses: &there, gateways: &HOST },
            );
            neighbour
        })
    }

    /// All that is elsewhere, from the host's view. It answers whomever it hears by
    /// way of the host, also those who are behind it.
    pub fn internet(&self) -> &Node {
        self.internet.get_or_init(|| {
            let internet = Node::new();
            let [host, router] = [HOST_PUBLIC, ROUTER].map(|[v4, v6]| [format!("{v4}/24"), format!("{v6}/64")]);
            let alone = [&PUBLIC[..], &METADATA, &PRIVATE].concat();
            let alone = alone.into_iter().map(|it| format!("{it}/{}", if it.contains(':') { 128 } else { 32 }));
            let there: Vec<String> = router.into_iter().chain(alone).collect();
            let there: Vec<&str> = there.iter().map(String::as_str).collect();
            wire(
                End {
                    node: &self.host,
                    link: WAY_OUT,
                    addresses: &host.each_ref().map(String::as_str),
                    gateways: &ROUTER,
                },
                End { node: &internet, link: "eth0", addresses: &there, gateways: &HOST_PUBLIC },
            );
            internet
        })
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for World {
    /// What a failed test leaves goes with its namespace.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let made = [(&self.neighbour, TO_NEIGHBOUR), (&self.internet, WAY_OUT)];
            let made = made.into_iter().filter(|(node, _)| node.get().is_some());
            remove(&self.host, &made.map(|(_, link)| link).collect::<Vec<_>>());
        }
    }
}
