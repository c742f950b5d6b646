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

/// A network card of a VM, and what it is to be there; a spare one is nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// That it was made with, by which it is known: as an interface it may have
    /// another.
    pub mac: MacAddress,
    pub interface: Option<Interface>,
}
