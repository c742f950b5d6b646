//! Networks: their addresses, links and firewall.

mod address_pool;
mod driver_options;
mod firewall;
mod inside;
mod links;
mod mac;
mod network;
mod published;
mod special_use;
mod subnet;
mod tap;
#[cfg(test)]
mod testbed;

pub use address_pool::{AddressPool, NoFreeSubnet, ParseAddressPoolError, default_pools, free_subnet};
pub use driver_options::{DriverOptions, EGRESS, InvalidDriverOption};
pub use firewall::{
    Egress, Firewall, LOOPBACK_MARK, NetworkPolicy, Nft, NftError, PORT_PREFIX, Policy, PortPolicy, Protocol,
    Publication, Reach, SubnetPolicy, Watch,
};
pub use inside::{ConfigureError, Interface, configure};
pub use links::{LinkError, Links, Pair, Port};
pub use mac::{MacAddress, ParseMacError};
pub use network::{Endpoint, Network, Wanted};
pub use published::{BindError, Held, Holder};
pub use special_use::is_public;
pub use subnet::{AddressError, Subnet, SubnetError};
pub use tap::TapError;
