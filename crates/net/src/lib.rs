//! Networks: their addresses, links and firewall.

mod address_pool;
mod driver_options;
mod firewall;
mod inside;
mod links;
mod network;
mod published;
mod resolver_sockets;
mod special_use;
mod subnet;
mod tap;
#[cfg(test)]
mod testbed;

pub use casemate_model::{Card, Egress, Interface, MacAddress, Protocol, Publication};

pub use address_pool::{AddressPool, NoFreeSubnet, ParseAddressPoolError, default_pools, free_subnet};
pub use driver_options::{DriverOptions, EGRESS, InvalidDriverOption};
pub use firewall::{
    Explained, Firewall, LOOPBACK_MARK, NetworkPolicy, Nft, NftError, PORT_PREFIX, Policy, PortPolicy, Reach,
    SubnetPolicy, Watch, explain,
};
pub use inside::{ConfigureError, configure, configure_cards, lead_out, new_namespace};
pub use links::{LinkError, Links, Pair, Port};
pub use network::{Endpoint, Network, Wanted};
pub use published::{BindError, Held, Holder};
pub use resolver_sockets::{RESOLVER, ResolverSockets};
pub use special_use::is_public;
pub use subnet::{AddressError, Subnet, SubnetError};
pub use tap::TapError;
