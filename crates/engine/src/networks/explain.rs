//! Why the firewall is as it is: what a container may reach, what may reach it, and
//! which rules are there because of it.

use std::net::IpAddr;

use casemate_model::{ContainerId, Publication};
use casemate_net::{Egress, Explained, Network, Policy, Reach, explain};

use super::{Attachment, End, KnownNetwork, Networks};

/// What there is because of a container that runs. Of one that has no network of
/// its own, or does not run, there is nothing.
#[derive(Clone, Debug, Default)]
pub struct ContainerRules {
    pub ways: Vec<Way>,
    pub publications: Vec<Publication>,
    pub rules: Vec<Explained>,
}

/// An end of a network, and what it makes of its container.
#[derive(Clone, Debug)]
pub struct Way {
    /// The network's id and name, and its driver.
    pub id: String,
    pub network: String,
    pub driver: String,
    /// The host's links for it.
    pub bridge: String,
    pub link: String,
    /// Name of the link inside.
    pub interface: String,
    pub addresses: Vec<IpAddr>,
    pub host: HostReach,
    /// Whether it and others on the network reach each other.
    pub with_others: bool,
    /// Names of those who are there now.
    pub others: Vec<String>,
    pub outside: Outside,
    /// Whether the host reaches it by its addresses. By published ports it does.
    pub from_host: bool,
}

/// What a container reaches of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostReach {
    All,
    Gateway,
    Nothing,
}

/// What it reaches beyond host and network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outside {
    All,
    Nothing,
    Some(Egress),
}

/// What there is because of a network, whoever is on it.
#[derive(Clone, Debug)]
pub struct NetworkRules {
    pub id: String,
    pub name: String,
    pub driver: String,
    pub bridge: String,
    pub rules: Vec<Explained>,
}

impl Networks {
    pub fn rules_of(&self, container: &ContainerId) -> ContainerRules {
        let Some(attachment) = self.attachment(container) else { return ContainerRules::default() };
        let Attachment { name: _, ends, publications } = attachment;
        let whole = self.policy();
        let mut without = whole.clone();
        without.ports.retain(|port| !ends.iter().any(|end| end.endpoint.link() == port.link));
        without.publications.retain(|publication| !publications.contains(publication));
        ContainerRules {
            ways: ends.iter().filter_map(|end| self.way(container, end)).collect(),
            publications: publications.clone(),
            rules: explain(&whole, &without),
        }
    }

    /// Of each network that has a bridge, by name.
    pub fn rules_of_networks(&self) -> Vec<NetworkRules> {
        let whole = Policy { ports: Vec::new(), publications: Vec::new(), ..self.policy() };
        let one = |known: &KnownNetwork| {
            let bridge = known.network.as_ref()?.bridge();
            let mut without = whole.clone();
            without.networks.retain(|network| network.bridge != bridge);
            let record = &known.record;
            Some(NetworkRules {
                id: record.id.clone(),
                name: record.name.clone(),
                driver: record.driver.clone(),
                rules: explain(&whole, &without),
                bridge,
            })
        };
        let mut rules: Vec<NetworkRules> = self.all().filter_map(one).collect();
        rules.sort_by(|one, other| one.name.cmp(&other.name));
        rules
    }

    fn way(&self, container: &ContainerId, end: &End) -> Option<Way> {
        let known = self.find(&end.network).ok()?;
        let network = known.network.as_ref()?;
        let with_others = !network.policy().is_isolated();
        let members = self.members(&known.record.id).filter(|(id, _, _)| *id != container);
        Some(Way {
            id: known.record.id.clone(),
            network: known.record.name.clone(),
            driver: known.record.driver.clone(),
            bridge: network.bridge(),
            link: end.endpoint.link(),
            interface: end.interface.clone(),
            addresses: end.endpoint.addresses().collect(),
            host: match network.reach {
                Reach::Host => HostReach::All,
                Reach::Outside | Reach::Internal => HostReach::Gateway,
                Reach::Sealed => HostReach::Nothing,
            },
            with_others,
            others: members.filter(|_| with_others).map(|(_, of, _)| of.name.to_string()).collect(),
            outside: outside(network, end),
            from_host: network.reach != Reach::Sealed,
        })
    }
}

fn outside(network: &Network, end: &End) -> Outside {
    match network.reach {
        Reach::Host | Reach::Outside => Outside::All,
        Reach::Internal => Outside::Nothing,
        Reach::Sealed => match end.port(network).egress {
            egress if egress.is_none() => Outside::Nothing,
            egress => Outside::Some(egress),
        },
    }
}
