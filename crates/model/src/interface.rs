//! A container's network interfaces.

use core::net::IpAddr;

use ipnet::IpNet;

use crate::MacAddress;

/// What a link of a container is to be, seen from inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// As `eth0`.
    pub name: String,
    pub mac: MacAddress,
    /// In bytes; the link's own if absent.
    pub mtu: Option<u32>,
    pub addresses: Vec<IpNet>,
    /// At most one of each family: where everything goes that no other route is for.
    pub gateways: Vec<IpAddr>,
}
