//! A container gets its ends of networks, and gives them back.

use std::collections::BTreeMap;
use std::net::IpAddr;

use casemate_model::{ContainerId, Isolation, MacAddress};
use casemate_net::{DriverOptions, EGRESS, Egress, Endpoint, Network, PortPolicy, Reach, Wanted};
use casemate_record::{AttachmentsRecord, EndpointRecord, NetworkingRecord, PublicationRecord, WantedEndpointRecord};

use super::create::new_id;
use super::error::{ConnectError, NetworkError};
use super::{Attachment, End, KnownNetwork, Networks, builtin};
use crate::container::Container;

/// `--network container:NAME`.
const CONTAINER: &str = "container:";

/// What a container's `--network` means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mode<'m> {
    /// By name or id.
    Network(&'m str),
    None,
    Host,
    Container(&'m str),
}

impl<'m> Mode<'m> {
    pub(crate) fn of(network_mode: &'m str) -> Self {
        match network_mode {
            builtin::NONE => Self::None,
            builtin::HOST => Self::Host,
            mode => mode.strip_prefix(CONTAINER).map_or(Self::Network(mode), Self::Container),
        }
    }

    /// Whether the container has a network namespace that others do not.
    pub(crate) fn is_own(&self) -> bool {
        matches!(self, Self::Network(_) | Self::None)
    }
}

impl End {
    /// What it reaches of a sealed network, if it has a say of its own in that.
    fn egress(&self) -> Option<Egress> {
        let option = self.wanted.driver_options.get_key_value(EGRESS)?;
        let option = BTreeMap::from([(option.0.clone(), option.1.clone())]);
        // Checked when it was asked for.
        DriverOptions::of(&option).ok().map(|options| options.egress)
    }

    /// What the firewall is to know of it.
    pub(super) fn port(&self, network: &Network) -> PortPolicy {
        network.port(&self.endpoint, self.egress())
    }
}

impl Networks {
    /// Whether a container may be made that asks for these.
    pub(crate) fn check(
        &self,
        isolation: Isolation,
        network_mode: &str,
        networking: &NetworkingRecord,
    ) -> Result<(), ConnectError> {
        let mode = Mode::of(network_mode);
        match mode {
            Mode::Host if isolation == Isolation::Hyperv => {
                let instead = "leave it out or use bridge, or use --isolation process";
                return Err(ConnectError::Hyperv { network: "--network host".to_owned(), instead });
            }
            Mode::Container(_) if isolation == Isolation::Hyperv => {
                let instead = "use a network that both are on, or --isolation process";
                return Err(ConnectError::Hyperv { network: format!("--network {network_mode}"), instead });
            }
            _ => {}
        }
        for (name, wanted) in &networking.endpoints {
            self.check_wanted(self.find(name)?, wanted)?;
        }
        if let Mode::Network(name) = mode {
            let known = self.find(name)?;
            if let (true, Some(link)) = (known.is_sealed(), networking.links.first()) {
                let other = link.split(':').next().unwrap_or_default();
                return Err(ConnectError::Invalid(format!(
                    "Cannot link to /{other}: containers on network {} do not reach each other; use --network bridge, \
                     or a network of your own",
                    known.record.name
                )));
            }
        }
        Ok(())
    }

    /// In Docker's words (moby `validateEndpointSettings`, `validateNetworkingConfig`).
    fn check_wanted(&self, known: &KnownNetwork, wanted: &WantedEndpointRecord) -> Result<(), ConnectError> {
        let WantedEndpointRecord { v4, v6, mac, driver_options, .. } = wanted;
        let addresses: Vec<IpAddr> = v4.map(IpAddr::V4).into_iter().chain(v6.map(IpAddr::V6)).collect();
        if !addresses.is_empty() && !known.takes_addresses() {
            return Err(ConnectError::Invalid(
                "invalid config for network bridge: invalid endpoint settings:\nuser specified IP address is \
                 supported on user defined networks only"
                    .replace("network bridge", &format!("network {}", known.record.name)),
            ));
        }
        for address in addresses {
            let subnets = known.network.iter().flat_map(|network| &network.subnets);
            if !subnets.into_iter().any(|subnet| subnet.net().contains(&address)) {
                return Err(ConnectError::Invalid(format!(
                    "invalid config for network {}: invalid endpoint settings:\nno configured subnet contains IP \
                     address {address}",
                    known.record.name
                )));
            }
        }
        if !mac.is_empty() {
            mac.parse::<MacAddress>().map_err(|error| ConnectError::Invalid(error.to_string()))?;
        }
        DriverOptions::of(driver_options).map_err(NetworkError::Option)?;
        Ok(())
    }

    /// Gives a container that is about to start its ends of all networks that it
    /// asks for. Nothing is given where one cannot be.
    pub fn attach(&mut self, container: &Container) -> Result<&Attachment, ConnectError> {
        let record = &container.record;
        let mut attachment = Attachment { name: container.name.clone(), ends: Vec::new(), publications: Vec::new() };
        let main = Mode::of(&record.host.network_mode);
        if main.is_own() {
            let mut names: Vec<&str> = Vec::new();
            let NetworkingRecord { endpoints, left_main, .. } = &record.networking;
            if let Mode::Network(name) = main
                && (!left_main || endpoints.is_empty())
            {
                names.push(self.find(name)?.record.name.as_str());
            }
            let main = names.first().copied();
            names.extend(record.networking.endpoints.keys().map(String::as_str).filter(|name| Some(*name) != main));
            for name in names {
                let wanted = record.networking.endpoints.get(name).cloned().unwrap_or_default();
                if let Some(end) = self.end(container, name, &wanted, &attachment.ends)? {
                    attachment.ends.push(end);
                }
            }
        }
        attachment.publications = self.publish(container, &attachment.ends)?;
        self.attached.insert(container.id.clone(), attachment);
        self.attached.get(&container.id).ok_or_else(|| unreachable!("it was put in"))
    }

    /// Another end for one that runs.
    pub fn connect(
        &mut self,
        container: &Container,
        network: &str,
        wanted: &WantedEndpointRecord,
    ) -> Result<(), ConnectError> {
        let Some(attachment) = self.attached.get(&container.id) else { return Ok(()) };
        if let Some(end) = self.end(container, network, wanted, &attachment.ends)? {
            let mut ends = attachment.ends.clone();
            ends.push(end);
            self.set_ends(container, ends)?;
        }
        Ok(())
    }

    /// Takes an end away from one that runs.
    pub fn disconnect(&mut self, container: &Container, network: &str) -> Result<(), ConnectError> {
        let id = self.find(network)?.record.id.clone();
        let Some(attachment) = self.attached.get(&container.id) else { return Ok(()) };
        let ends = attachment.ends.iter().filter(|end| end.network != id).cloned().collect();
        self.set_ends(container, ends)
    }

    fn set_ends(&mut self, container: &Container, ends: Vec<End>) -> Result<(), ConnectError> {
        // Its ports lead where its way out is, which may be another now.
        let publications = self.publish(container, &ends)?;
        if let Some(attachment) = self.attached.get_mut(&container.id) {
            attachment.ends = ends;
            attachment.publications = publications;
        }
        Ok(())
    }

    /// Takes over the container's name, as it is now. Returns what it has, if it runs.
    pub(crate) fn rename(&mut self, container: &Container) -> Option<&Attachment> {
        let attachment = self.attached.get_mut(&container.id)?;
        attachment.name = container.name.clone();
        for end in attachment.ends.iter_mut().filter(|end| !end.names.is_empty()) {
            end.names = names(container, &end.wanted);
        }
        Some(attachment)
    }

    /// One that has ended has nothing of networks. Returns what it had.
    pub fn detach(&mut self, container: &ContainerId) -> Option<Attachment> {
        self.attached.remove(container)
    }

    fn end(
        &self,
        container: &Container,
        name: &str,
        wanted: &WantedEndpointRecord,
        beside: &[End],
    ) -> Result<Option<End>, ConnectError> {
        let known = self.find(name)?;
        self.check_wanted(known, wanted)?;
        let Some(network) = &known.network else { return Ok(None) };
        let endpoint = self.endpoint(known, network, wanted)?;
        Ok(Some(End {
            network: known.record.id.clone(),
            endpoint,
            interface: free_interface(&network.options.interface_prefix, beside),
            wanted: wanted.clone(),
            names: if known.has_names() { names(container, wanted) } else { Vec::new() },
        }))
    }

    fn endpoint(
        &self,
        known: &KnownNetwork,
        network: &Network,
        wanted: &WantedEndpointRecord,
    ) -> Result<Endpoint, ConnectError> {
        let mut others = self.endpoints(&known.record.id);
        // Nobody's, and nobody's to be.
        others.extend(known.auxiliary().map(|address| Endpoint {
            id: String::new(),
            mac: MacAddress::of([0; 4].into()),
            v4: as_v4(address),
            v6: as_v6(address),
        }));
        let mac = wanted.mac.parse().ok();
        let asked = Wanted { v4: wanted.v4, v6: wanted.v6, mac };
        network.endpoint(&new_id(), asked, &others).map_err(|source| {
            let address = wanted.v4.map(IpAddr::V4).or(wanted.v6.map(IpAddr::V6));
            let address =
                address.map_or_else(|| format!("network {}", known.record.name), |address| address.to_string());
            ConnectError::Address { address, source }
        })
    }

    /// What a container was given by a daemon before this one.
    pub fn restore(&mut self, container: &Container, record: &AttachmentsRecord) {
        let end = |record: &EndpointRecord| {
            let known = self.known.get(&record.network)?;
            let wanted = container.record.networking.endpoints.get(&known.record.name).cloned().unwrap_or_default();
            Some(End {
                network: record.network.clone(),
                endpoint: Endpoint {
                    id: record.id.clone(),
                    mac: record.mac.parse().ok()?,
                    v4: record.v4,
                    v6: record.v6,
                },
                interface: record.interface.clone(),
                names: if known.has_names() { names(container, &wanted) } else { Vec::new() },
                wanted,
            })
        };
        let publication = |record: &PublicationRecord| {
            let PublicationRecord { protocol, host, to } = record;
            Some(casemate_model::Publication { protocol: protocol.parse().ok()?, host: *host, to: *to })
        };
        let attachment = Attachment {
            name: container.name.clone(),
            ends: record.endpoints.iter().filter_map(end).collect(),
            publications: record.publications.iter().filter_map(publication).collect(),
        };
        self.attached.insert(container.id.clone(), attachment);
    }

    /// Which of a container's ends leads out, for each family: the one with the
    /// highest priority, and of several the one whose network's name is the first
    /// (moby `libnetwork`, `endpoint.Less`).
    pub(super) fn way_out<'e>(&self, ends: &'e [End], is_v4: bool) -> Option<&'e End> {
        let rank = |end: &End| {
            let known = self.known.get(&end.network)?;
            let network = known.network.as_ref().filter(|network| network.reach != Reach::Internal)?;
            let has_family = network.subnets.iter().any(|subnet| subnet.net().addr().is_ipv4() == is_v4);
            has_family.then(|| (-end.wanted.gateway_priority, known.record.name.clone()))
        };
        ends.iter()
            .filter_map(|end| rank(end).map(|rank| (rank, end)))
            .min_by_key(|(rank, _)| rank.clone())
            .map(|(_, end)| end)
    }
}

impl Attachment {
    pub fn record(&self) -> AttachmentsRecord {
        let endpoint = |end: &End| EndpointRecord {
            network: end.network.clone(),
            id: end.endpoint.id.clone(),
            interface: end.interface.clone(),
            mac: end.endpoint.mac.to_string(),
            v4: end.endpoint.v4,
            v6: end.endpoint.v6,
        };
        let publication = |of: &casemate_model::Publication| PublicationRecord {
            protocol: of.protocol.name().to_owned(),
            host: of.host,
            to: of.to,
        };
        AttachmentsRecord {
            version: AttachmentsRecord::VERSION,
            endpoints: self.ends.iter().map(endpoint).collect(),
            publications: self.publications.iter().map(publication).collect(),
        }
    }
}

fn as_v4(address: IpAddr) -> Option<std::net::Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

fn as_v6(address: IpAddr) -> Option<std::net::Ipv6Addr> {
    match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => Some(address),
    }
}

fn free_interface(prefix: &str, beside: &[End]) -> String {
    let is_free = |name: &String| !beside.iter().any(|end| end.interface == *name);
    (0..).map(|number| format!("{prefix}{number}")).find(is_free).unwrap_or_default()
}

/// Without those that are said twice.
fn names(container: &Container, wanted: &WantedEndpointRecord) -> Vec<String> {
    let own = [container.name.as_str(), container.id.short(), &container.record.hostname];
    let mut names: Vec<String> = Vec::new();
    for name in own.into_iter().chain(wanted.aliases.iter().map(String::as_str)) {
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
}
