//! What a container has of networks.

use std::path::PathBuf;
use std::str::FromStr;

use casemate_model::{Card, Egress, Interface, Publication};

use super::{InvalidMessage, no_nulls, text, texts};
use crate::message as written;
use crate::vocabulary::{Link, Network, NetworkNamespace, Reconfigured, Resolver, Rewired};

impl From<&Network> for written::Network {
    fn from(network: &Network) -> Self {
        let Network { namespace, links, publications, resolver } = network;
        Self {
            namespace: match namespace {
                NetworkNamespace::Own => written::NetworkNamespace::Own,
                NetworkNamespace::Host => written::NetworkNamespace::Host,
                NetworkNamespace::At(path) => written::NetworkNamespace::At(text(path)),
            },
            links: links.iter().map(Into::into).collect(),
            publications: publications.iter().map(Into::into).collect(),
            resolver: resolver.as_ref().map(Into::into),
        }
    }
}

impl TryFrom<written::Network> for Network {
    type Error = InvalidMessage;

    fn try_from(network: written::Network) -> Result<Self, InvalidMessage> {
        let written::Network { namespace, links, publications, resolver } = network;
        Ok(Self {
            namespace: match namespace {
                written::NetworkNamespace::Own => NetworkNamespace::Own,
                written::NetworkNamespace::Host => NetworkNamespace::Host,
                written::NetworkNamespace::At(path) => NetworkNamespace::At(path.into()),
            },
            links: all(links)?,
            publications: all(publications)?,
            resolver: resolver.map(TryInto::try_into).transpose()?,
        })
    }
}

impl From<&Link> for written::Link {
    fn from(link: &Link) -> Self {
        let Link { port, bridge, isolated, interface } = link;
        Self { port: port.clone(), bridge: bridge.clone(), isolated: *isolated, interface: interface.into() }
    }
}

impl TryFrom<written::Link> for Link {
    type Error = InvalidMessage;

    fn try_from(link: written::Link) -> Result<Self, InvalidMessage> {
        let written::Link { port, bridge, isolated, interface } = link;
        Ok(Self { port: link_name(port)?, bridge: link_name(bridge)?, isolated, interface: interface.try_into()? })
    }
}

impl From<&Interface> for written::Interface {
    fn from(interface: &Interface) -> Self {
        let Interface { name, mac, mtu, addresses, gateways } = interface;
        Self {
            name: name.clone(),
            mac: mac.to_string(),
            mtu: *mtu,
            addresses: strings(addresses),
            gateways: strings(gateways),
        }
    }
}

impl TryFrom<written::Interface> for Interface {
    type Error = InvalidMessage;

    fn try_from(interface: written::Interface) -> Result<Self, InvalidMessage> {
        let written::Interface { name, mac, mtu, addresses, gateways } = interface;
        Ok(Self {
            name: link_name(name)?,
            mac: mac.parse().map_err(InvalidMessage::Mac)?,
            mtu,
            addresses: parse_all(&addresses)?,
            gateways: parse_all(&gateways)?,
        })
    }
}

impl From<&Card> for written::Card {
    fn from(card: &Card) -> Self {
        let Card { mac, interface } = card;
        Self { mac: mac.to_string(), interface: interface.as_ref().map(Into::into) }
    }
}

impl TryFrom<written::Card> for Card {
    type Error = InvalidMessage;

    fn try_from(card: written::Card) -> Result<Self, InvalidMessage> {
        let written::Card { mac, interface } = card;
        let mac = mac.parse().map_err(InvalidMessage::Mac)?;
        Ok(Self { mac, interface: interface.map(TryInto::try_into).transpose()? })
    }
}

impl From<&Reconfigured> for written::Reconfigured {
    fn from(reconfigured: &Reconfigured) -> Self {
        let Reconfigured { cards, hosts, resolv_conf } = reconfigured;
        let cards = cards.iter().map(Into::into).collect();
        Self { cards, hosts: hosts.clone(), resolv_conf: resolv_conf.clone() }
    }
}

impl TryFrom<written::Reconfigured> for Reconfigured {
    type Error = InvalidMessage;

    fn try_from(reconfigured: written::Reconfigured) -> Result<Self, InvalidMessage> {
        let written::Reconfigured { cards, hosts, resolv_conf } = reconfigured;
        Ok(Self { cards: all(cards)?, hosts, resolv_conf })
    }
}

impl From<&Publication> for written::Publication {
    fn from(publication: &Publication) -> Self {
        let Publication { protocol, host, to } = publication;
        Self { protocol: protocol.name().to_owned(), host: host.to_string(), to: to.to_string() }
    }
}

impl TryFrom<written::Publication> for Publication {
    type Error = InvalidMessage;

    fn try_from(publication: written::Publication) -> Result<Self, InvalidMessage> {
        let written::Publication { protocol, host, to } = publication;
        let protocol = protocol.parse().map_err(InvalidMessage::Protocol)?;
        Ok(Self { protocol, host: parse(&host)?, to: parse(&to)? })
    }
}

impl From<&Resolver> for written::Resolver {
    fn from(resolver: &Resolver) -> Self {
        let Resolver { networks, links, upstreams, answers } = resolver;
        Self {
            networks: texts(networks),
            links: links.clone(),
            upstreams: strings(upstreams),
            answers: answers.as_ref().map(Into::into),
        }
    }
}

impl TryFrom<written::Resolver> for Resolver {
    type Error = InvalidMessage;

    fn try_from(resolver: written::Resolver) -> Result<Self, InvalidMessage> {
        let written::Resolver { networks, links, upstreams, answers } = resolver;
        Ok(Self {
            networks: no_nulls("a network's file", networks)?.into_iter().map(PathBuf::from).collect(),
            links,
            upstreams: parse_all(&upstreams)?,
            answers: answers.map(TryInto::try_into).transpose()?,
        })
    }
}

impl From<&Egress> for written::Egress {
    fn from(egress: &Egress) -> Self {
        let Egress { public, ranges } = egress;
        Self { public: *public, ranges: strings(ranges) }
    }
}

impl TryFrom<written::Egress> for Egress {
    type Error = InvalidMessage;

    fn try_from(egress: written::Egress) -> Result<Self, InvalidMessage> {
        let written::Egress { public, ranges } = egress;
        Ok(Self { public, ranges: parse_all(&ranges)? })
    }
}

impl From<&Rewired> for written::Rewired {
    fn from(rewired: &Rewired) -> Self {
        let Rewired { network, hosts, resolv_conf } = rewired;
        Self { network: network.into(), hosts: hosts.clone(), resolv_conf: resolv_conf.clone() }
    }
}

impl TryFrom<written::Rewired> for Rewired {
    type Error = InvalidMessage;

    fn try_from(rewired: written::Rewired) -> Result<Self, InvalidMessage> {
        let written::Rewired { network, hosts, resolv_conf } = rewired;
        Ok(Self { network: network.try_into()?, hosts, resolv_conf })
    }
}

fn all<W, T: TryFrom<W>>(written: Vec<W>) -> Result<Vec<T>, T::Error> {
    written.into_iter().map(TryInto::try_into).collect()
}

fn strings<T: ToString>(values: &[T]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}

fn parse_all<T: FromStr>(texts: &[String]) -> Result<Vec<T>, InvalidMessage> {
    texts.iter().map(|text| parse(text)).collect()
}

fn parse<T: FromStr>(text: &str) -> Result<T, InvalidMessage> {
    text.parse().map_err(|_| InvalidMessage::Address(text.to_owned()))
}

/// What the kernel takes as one, on either side.
fn link_name(name: String) -> Result<String, InvalidMessage> {
    const LONGEST: usize = 15;
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'/' && byte != b':';
    let is_name =
        !name.is_empty() && name.len() <= LONGEST && name.bytes().all(is_plain) && name != "." && name != "..";
    if is_name { Ok(name) } else { Err(InvalidMessage::LinkName(name)) }
}
