//! The networks that are always there.

use std::collections::BTreeMap;

use casemate_net::Subnet;
use casemate_record::{NetworkRecord, SubnetRecord, file};
use ipnet::IpNet;

use super::create::new_id;
use super::error::NetworkError;
use super::record::{DRIVER_BRIDGE, DRIVER_HOST, DRIVER_NULL, DRIVER_SEALED};
use super::{KnownNetwork, Networks};

pub(super) const BRIDGE: &str = "bridge";
pub(super) const SEALED: &str = "sealed";
pub(super) const HOST: &str = "host";
pub(super) const NONE: &str = "none";

const BUILTIN: [(&str, &str); 4] =
    [(BRIDGE, DRIVER_BRIDGE), (SEALED, DRIVER_SEALED), (HOST, DRIVER_HOST), (NONE, DRIVER_NULL)];

/// What people look for on the host: Docker's is `docker0`.
const LINKS: [(&str, &str); 2] = [(BRIDGE, "casemate0"), (SEALED, "casemate1")];

const BRIDGE_NAME: &str = "com.docker.network.bridge.name";

impl Networks {
    pub(super) fn make_builtin(&mut self, in_use: &[IpNet]) -> Result<(), NetworkError> {
        for (name, driver) in BUILTIN {
            let present = self.named(name).map(|known| known.record.clone());
            let is_new = present.is_none();
            let mut record = present.unwrap_or_else(|| builtin(name, driver));
            let links = LINKS.iter().any(|(network, _)| *network == name);
            if let Some(bip) = self.settings.bip.filter(|_| name == BRIDGE) {
                record.subnets = vec![from_bip(bip)?];
            } else if links && record.subnets.is_empty() {
                let net = self.free_subnet(in_use, |net| net.addr().is_ipv4())?;
                record.subnets = vec![subnet(net)?];
            }
            let changed = self.named(name).is_none_or(|known| known.record != record);
            if is_new || changed {
                file::write(&self.path(&record.id), &record, file::Durability::Synced).map_err(NetworkError::Record)?;
            }
            self.known.insert(record.id.clone(), KnownNetwork::of(record)?);
        }
        Ok(())
    }
}

fn builtin(name: &str, driver: &str) -> NetworkRecord {
    let link = LINKS.iter().find(|(network, _)| *network == name);
    NetworkRecord {
        version: NetworkRecord::VERSION,
        id: new_id(),
        name: name.to_owned(),
        created: jiff::Timestamp::now().to_string(),
        driver: driver.to_owned(),
        internal: false,
        attachable: false,
        bridge_is_given: false,
        enable_ipv4: true,
        enable_ipv6: false,
        subnets: Vec::new(),
        ipam_options: BTreeMap::new(),
        options: link.map(|(_, link)| (BRIDGE_NAME.to_owned(), (*link).to_owned())).into_iter().collect(),
        labels: BTreeMap::new(),
    }
}

/// With the lowest address for the bridge.
pub(super) fn subnet(net: IpNet) -> Result<SubnetRecord, NetworkError> {
    let subnet = Subnet::new(net, None, None).map_err(NetworkError::Subnet)?;
    Ok(SubnetRecord { subnet: net.to_string(), ip_range: None, gateway: subnet.gateway(), auxiliary: BTreeMap::new() })
}

/// `--bip` is the bridge's own address, with the length of the prefix.
fn from_bip(bip: IpNet) -> Result<SubnetRecord, NetworkError> {
    let subnet = Subnet::new(bip.trunc(), None, Some(bip.addr())).map_err(NetworkError::Subnet)?;
    Ok(SubnetRecord {
        subnet: bip.trunc().to_string(),
        ip_range: None,
        gateway: subnet.gateway(),
        auxiliary: BTreeMap::new(),
    })
}

/// Whether this is one of them.
pub(crate) fn is_builtin(name: &str) -> bool {
    BUILTIN.iter().any(|(builtin, _)| *builtin == name)
}
