//! Between a network's record and what it means.

use std::net::IpAddr;

use casemate_net::{DriverOptions, Network, Reach, Subnet};
use casemate_record::{NetworkRecord, SubnetRecord};
use ipnet::IpNet;

use super::error::NetworkError;
use super::{KnownNetwork, builtin};

/// What a network's containers may reach, by the network's driver.
pub(super) const DRIVER_BRIDGE: &str = "bridge";
pub(super) const DRIVER_SEALED: &str = "sealed";
pub(super) const DRIVER_HOST: &str = "host";
pub(super) const DRIVER_NULL: &str = "null";

impl KnownNetwork {
    pub(super) fn of(record: NetworkRecord) -> Result<Self, NetworkError> {
        let reach = match record.driver.as_str() {
            DRIVER_HOST | DRIVER_NULL => return Ok(Self { record, network: None }),
            DRIVER_SEALED => Reach::Sealed,
            _ if record.internal => Reach::Internal,
            _ if record.name == builtin::BRIDGE => Reach::Host,
            _ => Reach::Outside,
        };
        let subnets = record.subnets.iter().map(|subnet| read_subnet(&record.id, subnet)).collect::<Result<_, _>>()?;
        let options = DriverOptions::of(&record.options)?;
        let network = Network { id: record.id.clone(), reach, subnets, options };
        Ok(Self { record, network: Some(network) })
    }

    /// Whether it is always there.
    pub fn is_builtin(&self) -> bool {
        builtin::is_builtin(&self.record.name)
    }

    /// Length of the prefix of the subnet that an address is in.
    pub fn prefix_of(&self, address: IpAddr) -> Option<u8> {
        self.subnet_of(address).map(|subnet| subnet.net().prefix_len())
    }

    /// The way out from there, unless the network has none.
    pub fn gateway_of(&self, address: IpAddr) -> Option<IpAddr> {
        self.subnet_of(address).filter(|_| !self.record.internal).map(Subnet::gateway)
    }

    fn subnet_of(&self, address: IpAddr) -> Option<&Subnet> {
        self.network.as_ref()?.subnets.iter().find(|subnet| subnet.net().contains(&address))
    }

    /// Whether its containers find each other by name.
    pub fn has_names(&self) -> bool {
        self.network.is_some() && !self.is_builtin()
    }

    pub fn is_sealed(&self) -> bool {
        self.network.as_ref().is_some_and(|network| network.reach == Reach::Sealed)
    }

    /// Whether addresses in it can be asked for: who did not choose its subnet does
    /// not know what they mean.
    pub(super) fn takes_addresses(&self) -> bool {
        self.has_names()
    }

    /// Addresses that are set aside for something else than containers.
    pub(super) fn auxiliary(&self) -> impl Iterator<Item = IpAddr> {
        self.record.subnets.iter().flat_map(|subnet| subnet.auxiliary.values().copied())
    }
}

fn read_subnet(id: &str, record: &SubnetRecord) -> Result<Subnet, NetworkError> {
    let damaged = |field, value: &str| NetworkError::Damaged { id: id.to_owned(), field, value: value.to_owned() };
    let net: IpNet = record.subnet.parse().map_err(|_| damaged("subnet", &record.subnet))?;
    let range = record.ip_range.as_ref().map(|range| range.parse().map_err(|_| damaged("ip-range", range)));
    Subnet::new(net, range.transpose()?, Some(record.gateway)).map_err(NetworkError::Subnet)
}
