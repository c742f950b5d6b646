//! What of the tables is there because of one container or network, in words and in
//! nft's syntax: what differs with it and without.

use super::elements::{Element, elements};
use super::policy::Policy;

/// One element of the tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    /// As `nft` takes it.
    pub syntax: String,
    pub words: String,
    pub why: &'static str,
}

/// What `whole` has and `without` has not.
pub fn explain(whole: &Policy, without: &Policy) -> Vec<Explained> {
    elements(whole).difference(&elements(without)).map(Element::explain).collect()
}

impl Element {
    fn explain(&self) -> Explained {
        let parts: Vec<&str> = self.key.split(" . ").map(|part| part.trim_matches('"')).collect();
        let (family, rest) = self.set.split_once(' ').unwrap_or_default();
        let name = rest.rsplit(' ').next().unwrap_or_default().trim_end_matches(['4', '6']);
        let value = self.value.as_deref().unwrap_or_default();
        let (words, why) = match family {
            "bridge" => of_port(name, &parts),
            _ => of_container(name, &parts, value).or_else(|| of_network(name, &parts, value)),
        }
        .unwrap_or_else(|| (format!("{} has {}", self.set, self.key), ""));
        Explained { syntax: self.add().trim_end().to_owned(), words, why }
    }
}

/// A sentence, and its reason.
type Reasoned = Option<(String, &'static str)>;

/// What a container's link may say.
fn of_port(name: &str, parts: &[&str]) -> Reasoned {
    const ITSELF: &str = "a container speaks as itself, not as another";
    const ALONE: &str = "its network is sealed";
    Some(match (name, parts) {
        ("macs", [link, mac]) => (format!("frames from {link} have the hardware address {mac}"), ITSELF),
        ("addresses", [link, address]) => (format!("packets from {link} come from {address}"), ITSELF),
        ("owners", [link, mac, address]) => (format!("{link} may say by ARP that {address} is at {mac}"), ITSELF),
        ("targets", [link, _]) => (format!("{link} may say where its IPv6 address is, and no other"), ITSELF),
        ("sealed", [link]) => (format!("{link} reaches no other container, and not the host"), ALONE),
        ("gateways", [link, gateway]) => {
            (format!("{link} may ask by ARP for its gateway {gateway}, and no other"), ALONE)
        }
        _ => return None,
    })
}

fn of_container(name: &str, parts: &[&str], value: &str) -> Reasoned {
    const EGRESS: &str = "its network is sealed, and this is its egress (io.casemate.egress)";
    const PUBLISHED: &str = "the port is published";
    let to = value.replace(" . ", " port ");
    Some(match (name, parts) {
        ("public", [address]) => (format!("{address} reaches public addresses"), EGRESS),
        ("egress", [address, range]) => (format!("{address} reaches {range}"), EGRESS),
        ("publish", [protocol, host, port]) => (format!("{protocol} port {port} of {host} leads to {to}"), PUBLISHED),
        ("publish_any", [protocol, port]) => {
            (format!("{protocol} port {port} of all the host's addresses leads to {to}"), PUBLISHED)
        }
        ("loopback", [protocol, host, port]) => (
            format!("{protocol} port {port} of {host} is for the host itself only"),
            "the port is published on a loopback address",
        ),
        _ => return None,
    })
}

/// What is there as long as its network is.
fn of_network(name: &str, parts: &[&str], value: &str) -> Reasoned {
    const INTERNAL: &str = "the network is internal";
    const SEALED: &str = "the network is sealed";
    Some(match (name, parts, value) {
        ("bridges", [bridge], _) => (format!("what passes {bridge} is judged here"), "it is the network's bridge"),
        ("icc", [bridge, _], _) => (
            format!("containers on {bridge} reach one another"),
            "the network lets them (com.docker.network.bridge.enable_icc)",
        ),
        ("from", [bridge], "jump from_internal") => (format!("what comes from {bridge} stays there"), INTERNAL),
        ("from", [bridge], _) => (format!("what comes from {bridge} goes where its container's egress says"), SEALED),
        ("to", [bridge], "goto to_sealed") => {
            (format!("containers on {bridge} are reached by published ports only"), SEALED)
        }
        ("to", [bridge], _) => (
            format!("containers on {bridge} are reached by published ports, and by one another where they may"),
            "nobody else is let in from other links",
        ),
        ("input", [bridge], "goto input_sealed") => {
            (format!("containers on {bridge} reach nothing of the host"), SEALED)
        }
        ("input", [bridge], _) => (
            format!("containers on {bridge} reach of the host their gateway only"),
            "they are to reach no more of the host",
        ),
        ("output", [bridge], _) => (format!("the host reaches containers on {bridge} by published ports only"), SEALED),
        ("gateways", [bridge, gateway], _) => {
            (format!("{gateway} is the host's on {bridge}"), "it is the network's gateway")
        }
        ("subnets", [bridge, net], _) => (
            format!("{net} is the subnet on {bridge}: who is in it reaches its published ports as the gateway"),
            "the answer has to come back by the host",
        ),
        ("masquerade", [net], _) => (
            format!("what leaves {net} comes from the host's address"),
            "the network masquerades (com.docker.network.bridge.enable_ip_masquerade)",
        ),
        ("special", [range], _) => {
            (format!("{range} is not public"), "sealed containers with public egress do not reach it")
        }
        ("others", [family], _) => (
            format!("{family} packets that are neither from nor to a container are not passed on"),
            "the host did not pass them on before there were containers",
        ),
        _ => return None,
    })
}
