//! A policy as elements of the tables' sets and maps.

use std::collections::BTreeSet;
use std::fmt::{self, Display};
use std::net::IpAddr;

use ipnet::IpNet;

use super::policy::{NetworkPolicy, Policy, PortPolicy, Reach};
use crate::Publication;
use crate::special_use::special_use;

/// One element of a set, or of a map, which has a value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Element {
    /// With its table.
    pub(super) set: String,
    pub(super) key: String,
    pub(super) value: Option<String>,
}

impl Element {
    pub(super) fn add(&self) -> String {
        let Self { set, key, value } = self;
        match value {
            Some(value) => format!("add element {set} {{ {key} : {value} }}\n"),
            None => format!("add element {set} {{ {key} }}\n"),
        }
    }

    pub(super) fn delete(&self) -> String {
        format!("delete element {} {{ {} }}\n", self.set, self.key)
    }
}

impl Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.add().trim_end())
    }
}

#[derive(Default)]
struct Elements(BTreeSet<Element>);

/// Sorted, and each once. Of two with one key the first counts, as with ports that
/// are published twice; who made the policy has refused them before.
pub(super) fn elements(policy: &Policy) -> BTreeSet<Element> {
    let mut elements = Elements::default();
    for range in special_use() {
        elements.inet("special", range.addr(), range, None);
    }
    for (family, closed) in [("ipv4", policy.closed_v4), ("ipv6", policy.closed_v6)] {
        if closed {
            elements.add("inet casemate others", family, Some("drop".to_owned()));
        }
    }
    policy.networks.iter().for_each(|network| elements.network(network));
    for port in &policy.ports {
        if let Some(network) = policy.networks.iter().find(|network| network.bridge == port.bridge) {
            elements.port(port, network);
        }
    }
    policy.publications.iter().for_each(|publication| elements.publication(publication));
    let mut last: Option<(String, String)> = None;
    elements.0.retain(|element| {
        let key = Some((element.set.clone(), element.key.clone()));
        let is_new = last != key;
        last = key;
        is_new
    });
    elements.0
}

impl Elements {
    fn add(&mut self, set: impl Into<String>, key: impl Display, value: Option<String>) {
        self.0.insert(Element { set: set.into(), key: key.to_string(), value });
    }

    /// To the set of that family.
    fn inet(&mut self, set: &str, family: IpAddr, key: impl Display, value: Option<String>) {
        self.add(format!("inet casemate {set}{}", number(family)), key, value);
    }

    fn bridge(&mut self, set: &str, key: impl Display) {
        self.add(format!("bridge casemate {set}"), key, None);
    }

    fn network(&mut self, network: &NetworkPolicy) {
        let NetworkPolicy { bridge, reach, subnets, icc: _, masquerade } = network;
        let name = quoted(bridge);
        self.add("inet casemate bridges", &name, None);
        if !network.is_isolated() {
            self.add("inet casemate icc", format!("{name} . {name}"), None);
        }
        // Who may leave may not enter everywhere: from those chains there is a way back.
        let (from, to, input, output) = match reach {
            Reach::Host => (None, "goto to_open", None, None),
            Reach::Outside => (None, "goto to_open", Some("goto input_gateway"), None),
            Reach::Internal => (Some("jump from_internal"), "goto to_open", Some("goto input_gateway"), None),
            Reach::Sealed => {
                (Some("jump from_sealed"), "goto to_sealed", Some("goto input_sealed"), Some("goto output_sealed"))
            }
        };
        for (map, verdict) in [("from", from), ("to", Some(to)), ("input", input), ("output", output)] {
            if let Some(verdict) = verdict {
                self.add(format!("inet casemate {map}"), &name, Some(verdict.to_owned()));
            }
        }
        for subnet in subnets {
            let family = subnet.gateway;
            self.inet("subnets", family, format!("{name} . {}", subnet.net), None);
            self.inet("gateways", family, format!("{name} . {}", subnet.gateway), None);
            if *masquerade {
                self.inet("masquerade", family, subnet.net, None);
            }
        }
    }

    fn port(&mut self, port: &PortPolicy, network: &NetworkPolicy) {
        let PortPolicy { link, mac, addresses, egress, .. } = port;
        let link = quoted(link);
        let is_sealed = network.reach == Reach::Sealed;
        self.bridge("macs", format!("{link} . {mac}"));
        for address in addresses {
            self.bridge(&format!("addresses{}", number(*address)), format!("{link} . {address}"));
            match address {
                IpAddr::V4(address) => self.bridge("owners4", format!("{link} . {mac} . {address}")),
                IpAddr::V6(address) => self.bridge("targets6", format!("{link} . {:#034x}", address.to_bits())),
            }
        }
        if !is_sealed {
            return;
        }
        self.bridge("sealed", &link);
        for gateway in network.subnets.iter().map(|subnet| subnet.gateway).filter(IpAddr::is_ipv4) {
            self.bridge("gateways4", format!("{link} . {gateway}"));
        }
        let ranges = IpNet::aggregate(&egress.ranges);
        for address in addresses {
            if egress.public {
                self.inet("public", *address, address, None);
            }
            for range in ranges.iter().filter(|range| range.addr().is_ipv4() == address.is_ipv4()) {
                self.inet("egress", *address, format!("{address} . {range}"), None);
            }
        }
    }

    fn publication(&mut self, publication: &Publication) {
        let Publication { protocol, host, to } = publication;
        let (protocol, port) = (protocol.name(), host.port());
        let to_addr = Some(format!("{} . {}", to.ip(), to.port()));
        match host.ip() {
            ip if ip.is_loopback() && ip.is_ipv4() => {
                self.inet("loopback", ip, format!("{protocol} . {ip} . {port}"), None);
            }
            ip if ip.is_loopback() || ip.is_ipv4() != to.is_ipv4() => {}
            ip if ip.is_unspecified() => self.inet("publish_any", ip, format!("{protocol} . {port}"), to_addr),
            ip => self.inet("publish", ip, format!("{protocol} . {ip} . {port}"), to_addr),
        }
    }
}

fn number(family: IpAddr) -> u8 {
    if family.is_ipv4() { 4 } else { 6 }
}

/// Names of links are what the engine makes them, without quotes.
fn quoted(link: &str) -> String {
    format!("\"{link}\"")
}
