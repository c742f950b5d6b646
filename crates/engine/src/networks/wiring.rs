//! What a container's keeper is told of its networks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use casemate_model::ContainerId;
use casemate_net::Egress;
use casemate_record::{NamedRecord, NamesRecord};
use casemate_wire::{Link, Network as Wired, NetworkNamespace, Resolver};

use super::attach::Mode;
use super::etc::{HostResolver, RESOLVER, hosts, resolv_conf};
use super::{Attachment, End, KnownNetwork, Networks};
use crate::container::Container;
use crate::options::ExtraHost;

/// All of it, with the files of `/etc` that speak of networks.
#[derive(Clone, Debug, Default)]
pub struct Wiring {
    pub network: Wired,
    pub hosts: String,
    pub resolv_conf: String,
}

impl Wiring {
    /// Of one that shares another's network namespace, whose wiring this is.
    pub(crate) fn joined(self, namespace: PathBuf) -> Self {
        Self { network: Wired { namespace: NetworkNamespace::At(namespace), ..Wired::default() }, ..self }
    }
}

impl Networks {
    /// Of a container that has what it is to have.
    pub(crate) fn wiring(&self, container: &Container, extra_hosts: &[(String, ExtraHost)]) -> Wiring {
        let host = &container.record.host;
        let nothing = Attachment { name: container.name.clone(), ends: Vec::new(), publications: Vec::new() };
        let attachment = self.attached.get(&container.id).unwrap_or(&nothing);
        let of_host = HostResolver::read();
        if Mode::of(&host.network_mode) == Mode::Host {
            let copy = |path| std::fs::read_to_string(path).unwrap_or_default();
            let given = !host.dns.is_empty() || !host.dns_search.is_empty() || !host.dns_options.is_empty();
            return Wiring {
                network: Wired { namespace: NetworkNamespace::Host, ..Wired::default() },
                hosts: copy("/etc/hosts") + &extra_lines(extra_hosts),
                resolv_conf: if given {
                    resolv_conf(host, &servers(&host.dns), &of_host)
                } else {
                    copy("/etc/resolv.conf")
                },
            };
        }
        let resolver = self.resolver(container, attachment, &of_host);
        let asked = match &resolver {
            Some(_) => vec![RESOLVER],
            None if !host.dns.is_empty() => servers(&host.dns),
            None if attachment.ends.is_empty() => Vec::new(),
            None => of_host.reachable(),
        };
        // Without a way out nobody is asked, and the host's domains are nobody's.
        let of_host = if attachment.ends.is_empty() { HostResolver::default() } else { of_host };
        let own: Vec<IpAddr> = attachment.ends.iter().flat_map(|end| end.endpoint.addresses()).collect();
        Wiring {
            hosts: hosts(
                (&container.record.hostname, &host.domainname),
                extra_hosts,
                self.gateway(attachment),
                &self.linked(container, attachment),
                &own,
            ),
            resolv_conf: resolv_conf(host, &asked, &of_host),
            network: Wired {
                namespace: NetworkNamespace::Own,
                links: attachment.ends.iter().filter_map(|end| self.link(end, attachment)).collect(),
                publications: attachment.publications.clone(),
                resolver,
            },
        }
    }

    fn link(&self, end: &End, attachment: &Attachment) -> Option<Link> {
        let network = self.known.get(&end.network)?.network.as_ref()?;
        let mut interface = network.interface(&end.endpoint, end.interface.clone());
        // One of them leads out.
        interface.gateways.retain(|gateway| {
            self.way_out(&attachment.ends, gateway.is_ipv4()).is_some_and(|way| way.endpoint.id == end.endpoint.id)
        });
        Some(Link {
            port: end.endpoint.link(),
            bridge: network.bridge(),
            isolated: network.policy().is_isolated(),
            interface,
        })
    }

    fn networks_of<'a>(&'a self, attachment: &'a Attachment) -> impl Iterator<Item = &'a KnownNetwork> {
        attachment.ends.iter().filter_map(|end| self.known.get(&end.network))
    }

    /// Where there are names, where the answers have to be looked at, and where the
    /// host's own servers mean nothing.
    fn resolver(&self, container: &Container, attachment: &Attachment, of_host: &HostResolver) -> Option<Resolver> {
        let given = servers(&container.record.host.dns);
        let mut networks = self.networks_of(attachment).peekable();
        networks.peek()?;
        let all: Vec<&KnownNetwork> = networks.collect();
        let is_sealed = all.iter().all(|known| known.is_sealed());
        let has_names = all.iter().any(|known| known.has_names());
        let unreachable = given.is_empty() && of_host.reachable().is_empty() && !of_host.servers.is_empty();
        let egress = is_sealed.then(|| self.egress(attachment));
        let mut upstreams = if given.is_empty() { of_host.servers.clone() } else { given };
        // What nobody may send outside is not asked there for them.
        let leads_out = match &egress {
            Some(egress) => !egress.is_none(),
            None => self.way_out(&attachment.ends, true).or(self.way_out(&attachment.ends, false)).is_some(),
        };
        if !leads_out {
            upstreams.retain(|server| all.iter().any(|known| known.prefix_of(*server).is_some()));
        }
        (is_sealed || has_names || unreachable).then(|| Resolver {
            networks: all
                .iter()
                .filter(|known| known.has_names())
                .map(|known| self.layout.network_names(&known.record.id))
                .collect(),
            links: self.links(container, attachment),
            upstreams,
            answers: egress,
        })
    }

    /// What a sealed container reaches, by any of its networks.
    fn egress(&self, attachment: &Attachment) -> Egress {
        let of_end = |end: &End| Some(end.port(self.known.get(&end.network)?.network.as_ref()?).egress);
        let of_ends = attachment.ends.iter().filter_map(of_end);
        of_ends.fold(Egress::default(), |mut all, one| {
            all.public |= one.public;
            all.ranges.extend(one.ranges);
            all
        })
    }

    /// The gateway, for `host-gateway`.
    fn gateway(&self, attachment: &Attachment) -> (Option<Ipv4Addr>, Option<Ipv6Addr>) {
        let of = |is_v4| {
            let end = self.way_out(&attachment.ends, is_v4)?;
            let network = self.known.get(&end.network)?.network.as_ref()?;
            network.subnets.iter().map(|subnet| subnet.gateway()).find(|gateway| gateway.is_ipv4() == is_v4)
        };
        let v4 = of(true).and_then(|address| if let IpAddr::V4(address) = address { Some(address) } else { None });
        let v6 = of(false).and_then(|address| if let IpAddr::V6(address) = address { Some(address) } else { None });
        (v4, v6)
    }

    /// Its links (`container:alias`), and the containers that run which they are to.
    fn link_targets<'a>(
        &'a self,
        container: &'a Container,
        attachment: &'a Attachment,
    ) -> impl Iterator<Item = (&'a str, &'a ContainerId, &'a Attachment)> {
        let of_ends = attachment.ends.iter().flat_map(|end| &end.wanted.links);
        container.record.networking.links.iter().chain(of_ends).filter_map(|link| {
            let (name, alias) = link.split_once(':').unwrap_or((link, link));
            let named = self.attached.iter().find(|(_, of)| of.name.as_str() == name);
            let target = named.or_else(|| {
                let mut by_id = self.attached.iter().filter(|(id, _)| id.as_str().starts_with(name));
                by_id.next().filter(|_| by_id.next().is_none())
            });
            target.map(|(id, of)| (alias, id, of))
        })
    }

    fn links(&self, container: &Container, attachment: &Attachment) -> Vec<(String, String)> {
        let targets = self.link_targets(container, attachment);
        targets.map(|(alias, id, _)| (alias.to_owned(), id.to_string())).collect()
    }

    /// On networks without names those are in `/etc/hosts`.
    fn linked(&self, container: &Container, attachment: &Attachment) -> Vec<(IpAddr, Vec<String>)> {
        if self.networks_of(attachment).any(KnownNetwork::has_names) {
            return Vec::new();
        }
        let address = |of: &Attachment| {
            let shared = |end: &&End| attachment.ends.iter().any(|own| own.network == end.network);
            of.ends.iter().find(shared).and_then(|end| end.endpoint.addresses().next())
        };
        let names = |alias: &str, id: &ContainerId, of: &Attachment| {
            let mut names = vec![alias.to_owned(), id.short().to_owned(), of.name.to_string()];
            names.dedup();
            names
        };
        let targets = self.link_targets(container, attachment);
        targets.filter_map(|(alias, id, of)| Some((address(of)?, names(alias, id, of)))).collect()
    }

    /// Who is on a network, for the resolvers of all who are.
    pub(crate) fn names(&self, network: &str) -> NamesRecord {
        let named = |(id, _, end): (&ContainerId, &Attachment, &End)| NamedRecord {
            id: id.to_string(),
            names: end.names.clone(),
            v4: end.endpoint.v4,
            v6: end.endpoint.v6,
        };
        NamesRecord {
            version: NamesRecord::VERSION,
            network: self.known.get(network).map_or_else(String::new, |known| known.record.name.clone()),
            containers: self.members(network).map(named).collect(),
        }
    }
}

/// Checked when the container was made.
fn servers(given: &[String]) -> Vec<IpAddr> {
    given.iter().filter_map(|server| server.parse().ok()).collect()
}

fn extra_lines(extra_hosts: &[(String, ExtraHost)]) -> String {
    let line = |(name, address): &(String, ExtraHost)| match address {
        ExtraHost::Address(address) => format!("{address}\t{name}\n"),
        ExtraHost::Gateway => format!("127.0.0.1\t{name}\n"),
    };
    extra_hosts.iter().map(line).collect()
}
