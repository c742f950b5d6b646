//! Networks: their addresses, links and firewall.

mod address_pool;
mod inside;
mod links;
mod mac;
mod subnet;

pub use address_pool::{AddressPool, NoFreeSubnet, ParseAddressPoolError, default_pools, free_subnet};
pub use inside::{ConfigureError, Interface, configure};
pub use links::{LinkError, Links, Pair};
pub use mac::{MacAddress, ParseMacError};
pub use subnet::{AddressError, Subnet, SubnetError};
