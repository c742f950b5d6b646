//! What of the tables is there because of one container, in words and in nft's
//! syntax: what differs with it and without.

use super::elements::{Element, elements};
use super::policy::Policy;

/// One element of the tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    /// As `nft add element` takes it.
    pub syntax: String,
    pub words: String,
}

/// What `whole` has and `without` has not.
pub fn explain(whole: &Policy, without: &Policy) -> Vec<Explained> {
    elements(whole).difference(&elements(without)).map(Element::explain).collect()
}

impl Element {
    fn explain(&self) -> Explained {
        let parts: Vec<&str> = self.key.split(" . ").map(|part| part.trim_matches('"')).collect();
        let name = self.set.rsplit(' ').next().unwrap_or(&self.set).trim_end_matches(['4', '6']);
        let to = self.value.as_deref().unwrap_or_default().replace(" . ", " port ");
        let words = match (name, parts.as_slice()) {
            ("macs", [link, mac]) => format!("frames from {link} have the hardware address {mac}"),
            ("addresses", [link, address]) => format!("packets from {link} come from {address}"),
            ("owners", [link, mac, address]) => format!("{link} may say by ARP that {address} is at {mac}"),
            ("targets", [link, _]) => format!("{link} may say where its IPv6 address is, and no other"),
            ("sealed", [link]) => format!("{link} reaches no other container, and not the host"),
            ("gateways", [link, address]) => format!("{link} may ask by ARP for its gateway {address}, and no other"),
            ("public", [address]) => format!("{address} reaches public addresses, and no others"),
            ("egress", [address, range]) => format!("{address} reaches {range}"),
            ("publish", [protocol, host, port]) => format!("{protocol} port {port} of {host} leads to {to}"),
            ("publish_any", [protocol, port]) => {
                format!("{protocol} port {port} of all the host's addresses leads to {to}")
            }
            ("loopback", [protocol, host, port]) => {
                format!("{protocol} port {port} of {host} is for the host itself only")
            }
            _ => format!("{} has {}", self.set, self.key),
        };
        Explained { syntax: self.add().trim_end().to_owned(), words }
    }
}
