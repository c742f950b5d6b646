//! What a container has of networks.

use std::path::PathBuf;
use std::str::FromStr;

use casemate_model::{Interface, Publication};

use super::{InvalidMessage, no_nulls, text, texts};
use crate::message as written;
use crate::vocabulary::{Link, Network, NetworkNamespace, Resolver};

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
            addresses: addresses.iter().map(ToString::to_string).collect(),
            gateways: gateways.iter().map(ToString::to_string).collect(),
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
            addresses: addresses.iter().map(|address| parse(address)).collect::<Result<_, _>>()?,
            gateways: gateways.iter().map(|gateway| parse(gateway)).collect::<Result<_, _>>()?,
        })
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
        let Resolver { networks, links, upstreams, public_only } = resolver;
        Self {
            networks: texts(networks),
            links: links.clone(),
            upstreams: upstreams.iter().map(ToString::to_string).collect(),
            public_only: *public_only,
        }
    }
}

impl TryFrom<written::Resolver> for Resolver {
    type Error = InvalidMessage;

    fn try_from(resolver: written::Resolver) -> Result<Self, InvalidMessage> {
        let written::Resolver { networks, links, upstreams, public_only } = resolver;
        Ok(Self {
            networks: no_nulls("a network's file", networks)?.into_iter().map(PathBuf::from).collect(),
            links,
            upstreams: upstreams.iter().map(|upstream| parse(upstream)).collect::<Result<_, _>>()?,
            public_only,
        })
    }
}

fn all<W, T: TryFrom<W>>(written: Vec<W>) -> Result<Vec<T>, T::Error> {
    written.into_iter().map(TryInto::try_into).collect()
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
