//! What the firewall is to do, as plain data: all of it, whatever is in the kernel.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::{Egress, MacAddress, Publication};

/// Names of ports begin with this, and the rules know them by it.
pub const PORT_PREFIX: &str = "cm-";

/// Mark of the connections that serve a published port on the host's loopback
/// addresses, which sealed containers take.
pub const LOOPBACK_MARK: u32 = 0xca5e;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    pub networks: Vec<NetworkPolicy>,
    pub ports: Vec<PortPolicy>,
    /// Nothing leads from the host's loopback addresses: who serves those listens there, and hears the host only.
    pub publications: Vec<Publication>,
    /// Whether what is neither from nor to a container is not passed on, of either
    /// family: forwarding is on for containers' sake only.
    pub closed_v4: bool,
    pub closed_v6: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkPolicy {
    pub bridge: String,
    pub reach: Reach,
    pub subnets: Vec<SubnetPolicy>,
    /// Whether its containers may speak to one another, unless they are sealed.
    pub icc: bool,
    /// Whether what leaves has the host's address.
    pub masquerade: bool,
}

impl NetworkPolicy {
    /// Whether its ports have to be isolated, since its containers may not speak to
    /// one another.
    pub fn is_isolated(&self) -> bool {
        self.reach == Reach::Sealed || !self.icc
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubnetPolicy {
    pub net: IpNet,
    pub gateway: IpAddr,
}

/// What a network's containers reach beside one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Everything, the host included.
    Host,
    /// The outside, and of the host the gateway.
    Outside,
    /// The gateway.
    Internal,
    /// What each port's `egress` says. Nobody reaches them but by published ports.
    Sealed,
}

/// One container's end of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortPolicy {
    /// Name of the link on the host.
    pub link: String,
    pub bridge: String,
    pub mac: MacAddress,
    /// Those it may speak from, its link-local one included.
    pub addresses: Vec<IpAddr>,
    /// Of a sealed network's port.
    pub egress: Egress,
}
