//! Networks: their addresses, links and firewall.

mod address_pool;
mod mac;
mod subnet;

pub use address_pool::{AddressPool, NoFreeSubnet, ParseAddressPoolError, default_pools, free_subnet};
pub use mac::{MacAddress, ParseMacError};
pub use subnet::{AddressError, Subnet, SubnetError};
