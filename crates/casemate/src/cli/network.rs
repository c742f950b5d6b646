//! The grammar of networks and ports.

use clap::Args;

use crate::attachment::{self, Attachment};
use crate::ports::{Exposed, Published};

/// Of a container that is made.
#[derive(Debug, Args)]
pub(crate) struct NetworkArgs {
    /// Connect the container to a network: NAME, or name=NAME with alias=NAME, ip=ADDRESS, ip6=ADDRESS,
    /// mac-address=ADDRESS, link-local-ip=ADDRESS, driver-opt=KEY=VALUE, gw-priority=NUMBER behind it, each after a comma
    #[arg(long, alias = "net", value_name = "NETWORK")]
    pub(crate) network: Vec<Attachment>,
    /// Add a network-scoped alias for the container
    #[arg(long, alias = "net-alias", value_name = "NAME")]
    pub(crate) network_alias: Vec<String>,
    /// IPv4 address (172.30.100.104)
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) ip: Option<String>,
    /// IPv6 address (2001:db8::33)
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) ip6: Option<String>,
    /// Container MAC address (92:d0:c6:0a:29:33)
    #[arg(long, value_name = "ADDRESS", value_parser = attachment::mac_address)]
    pub(crate) mac_address: Option<String>,
    /// Add a link to another container
    #[arg(long, value_name = "CONTAINER[:ALIAS]", value_parser = attachment::link)]
    pub(crate) link: Vec<String>,
    /// Container IPv4/IPv6 link-local address
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) link_local_ip: Vec<String>,
    /// Publish a container's port or range of ports to the host
    #[arg(short, long, value_name = "[[ADDRESS:]PORT:]PORT[/PROTOCOL]")]
    pub(crate) publish: Vec<Published>,
    /// Publish all exposed ports to random ports
    #[arg(short = 'P', long)]
    pub(crate) publish_all: bool,
    /// Expose a port or a range of ports
    #[arg(long, value_name = "PORT[/PROTOCOL]")]
    pub(crate) expose: Vec<Exposed>,
}
