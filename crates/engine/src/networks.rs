//! Networks, and which containers have an end of them: what there is to be, as
//! data. What the kernel has of it is [`crate::daemon`]'s.
//!
//! ```text
//!   create ──▶ known ──(a container starts, or connects)──▶ attached ──▶ wiring, for its keeper
//!                │                                             └──────▶ policy, for the firewall
//!                └──remove
//! ```

mod attach;
mod builtin;
mod create;
mod error;
mod etc;
mod explain;
mod ports;
mod record;
mod wiring;

use std::collections::BTreeMap;

use casemate_model::{ContainerId, ContainerName, Isolation, Publication};
use casemate_net::{AddressPool, Endpoint, Network, Policy};
use casemate_record::{Layout, NetworkRecord, WantedEndpointRecord, file};
use ipnet::IpNet;

pub(crate) use attach::Mode;
pub use casemate_net::{Egress, Explained, ParseAddressPoolError};
pub use create::{CreateNetworkRequest, SubnetRequest};
pub use error::{ConnectError, NetworkError, PublishError};
pub use etc::RESOLVER;
pub use explain::{ContainerRules, HostReach, NetworkRules, Outside, Way};
pub(crate) use ports::{check as check_ports, is_port};
pub use wiring::Wiring;

/// How networks are made that are not asked for in detail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkSettings {
    /// Address of the `bridge` network's bridge.
    pub bip: Option<IpNet>,
    pub pools: Vec<AddressPool>,
    /// Of containers that name none.
    pub process: String,
    pub hyperv: String,
}

impl Default for NetworkSettings {
    fn default() -> Self {
        Self {
            bip: None,
            pools: casemate_net::default_pools(),
            process: builtin::BRIDGE.to_owned(),
            hyperv: builtin::SEALED.to_owned(),
        }
    }
}

impl NetworkSettings {
    pub fn default_of(&self, isolation: Isolation) -> &str {
        match isolation {
            Isolation::Process => &self.process,
            Isolation::Hyperv => &self.hyperv,
        }
    }
}

/// All of them.
#[derive(Debug)]
pub struct Networks {
    layout: Layout,
    settings: NetworkSettings,
    known: BTreeMap<String, KnownNetwork>,
    attached: BTreeMap<ContainerId, Attachment>,
}

#[derive(Clone, Debug)]
pub struct KnownNetwork {
    pub record: NetworkRecord,
    /// Unless it is `host` or `none`, which have no links of their own.
    pub network: Option<Network>,
}

/// What a container that runs has of networks.
#[derive(Clone, Debug)]
pub struct Attachment {
    pub name: ContainerName,
    pub ends: Vec<End>,
    pub publications: Vec<Publication>,
}

#[derive(Clone, Debug)]
pub struct End {
    /// The network's id.
    pub network: String,
    pub endpoint: Endpoint,
    /// Name of the link inside.
    pub interface: String,
    pub wanted: WantedEndpointRecord,
    /// By which others on its network find it.
    pub names: Vec<String>,
}

impl Networks {
    /// Reads the records, and makes the networks that are always there. `in_use` is
    /// what the host has routes to.
    pub fn open(layout: Layout, settings: NetworkSettings, in_use: &[IpNet]) -> Result<Self, NetworkError> {
        let mut networks = Self { layout, settings, known: BTreeMap::new(), attached: BTreeMap::new() };
        networks.read()?;
        networks.make_builtin(in_use)?;
        for isolation in [Isolation::Process, Isolation::Hyperv] {
            let name = networks.settings.default_of(isolation).to_owned();
            networks.find(&name)?;
        }
        Ok(networks)
    }

    fn read(&mut self) -> Result<(), NetworkError> {
        let dir = self.layout.networks();
        let failed = |source| NetworkError::Dir { path: dir.clone(), source };
        for entry in std::fs::read_dir(&dir).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let read: Result<NetworkRecord, _> = file::read(&path);
            match read.map_err(NetworkError::Record).and_then(KnownNetwork::of) {
                Ok(known) => drop(self.known.insert(known.record.id.clone(), known)),
                Err(error) => {
                    let (path, error) = (path.display(), casemate_model::chain(&error));
                    tracing::warn!(%path, error, "network left out");
                }
            }
        }
        Ok(())
    }

    pub fn settings(&self) -> &NetworkSettings {
        &self.settings
    }

    pub fn all(&self) -> impl Iterator<Item = &KnownNetwork> {
        self.known.values()
    }

    /// By its id, its name, or the unambiguous beginning of its id, as Docker looks
    /// for it.
    pub fn find(&self, text: &str) -> Result<&KnownNetwork, NetworkError> {
        let not_found = || NetworkError::NotFound { name: text.to_owned() };
        if let Some(known) = self.known.get(text).or_else(|| self.named(text)) {
            return Ok(known);
        }
        if text.is_empty() {
            return Err(not_found());
        }
        let mut matching = self.known.values().filter(|known| known.record.id.starts_with(text));
        match (matching.next(), matching.next()) {
            (Some(known), None) => Ok(known),
            (Some(_), Some(_)) => Err(NetworkError::Ambiguous { name: text.to_owned() }),
            _ => Err(not_found()),
        }
    }

    fn named(&self, name: &str) -> Option<&KnownNetwork> {
        self.known.values().find(|known| known.record.name == name)
    }

    /// What the container has, if it runs.
    pub fn attachment(&self, container: &ContainerId) -> Option<&Attachment> {
        self.attached.get(container)
    }

    /// The container's end of a network, by the network's name or id.
    pub fn end_of(&self, container: &ContainerId, network: &str) -> Option<&End> {
        let id = &self.find(network).ok()?.record.id;
        self.attachment(container)?.ends.iter().find(|end| end.network == *id)
    }

    /// Ids of those that somebody has an end of.
    pub(crate) fn in_use(&self) -> impl Iterator<Item = String> {
        let used: std::collections::BTreeSet<_> =
            self.attached.values().flat_map(|attachment| &attachment.ends).map(|end| end.network.clone()).collect();
        used.into_iter()
    }

    /// Those who have an end of this network.
    pub fn members(&self, network: &str) -> impl Iterator<Item = (&ContainerId, &Attachment, &End)> {
        self.attached.iter().flat_map(move |(id, attachment)| {
            attachment.ends.iter().filter(move |end| end.network == network).map(move |end| (id, attachment, end))
        })
    }

    fn endpoints(&self, network: &str) -> Vec<Endpoint> {
        self.members(network).map(|(_, _, end)| end.endpoint.clone()).collect()
    }

    /// Takes a network's record away; nobody may have an end of it.
    pub fn remove(&mut self, text: &str) -> Result<NetworkRecord, NetworkError> {
        let known = self.find(text)?;
        let record = known.record.clone();
        if known.is_builtin() {
            return Err(NetworkError::Predefined { name: record.name });
        }
        let members: Vec<String> =
            self.members(&record.id).map(|(id, of, _)| format!("name:\"{}\" id:\"{}\"", of.name, id.short())).collect();
        if !members.is_empty() {
            let (name, id) = (record.name, record.id);
            return Err(NetworkError::InUse { name, id, members: members.join(", ") });
        }
        let path = self.path(&record.id);
        std::fs::remove_file(&path).map_err(|source| NetworkError::Dir { path, source })?;
        self.known.remove(&record.id);
        Ok(record)
    }

    fn path(&self, id: &str) -> std::path::PathBuf {
        self.layout.networks().join(format!("{id}.json"))
    }

    /// What the firewall is to let pass: all that containers have, and nothing else.
    pub fn policy(&self) -> Policy {
        let mut policy = Policy::default();
        for known in self.known.values() {
            let Some(network) = &known.network else { continue };
            policy.networks.push(network.policy());
            let ends = self.members(&known.record.id);
            policy.ports.extend(ends.map(|(_, _, end)| end.port(network)));
        }
        policy.publications = self.attached.values().flat_map(|attachment| attachment.publications.clone()).collect();
        policy
    }
}

#[cfg(test)]
mod tests;
