//! Published ports: from what was asked for to ports of the host that are free.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::ops::RangeInclusive;

use casemate_model::{ContainerId, Protocol, Publication};
use casemate_record::{BindingRecord, NetworkingRecord};

use super::error::{ConnectError, PublishError};
use super::{End, Networks};
use crate::container::Container;

/// Where ports are taken from that nobody chose, if the kernel does not say.
const EPHEMERAL: RangeInclusive<u16> = 32768..=60999;

/// A container's port, as `80/tcp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ContainerPort {
    pub number: u16,
    pub protocol: Protocol,
}

impl std::str::FromStr for ContainerPort {
    type Err = PublishError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || PublishError::Invalid(text.to_owned());
        let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let number = number.parse().ok().filter(|number| *number > 0).ok_or_else(invalid)?;
        Ok(Self { number, protocol: protocol.parse().map_err(|_| invalid())? })
    }
}

/// Whether it says what it should; it is read again when the container starts.
pub(crate) fn check(networking: &NetworkingRecord) -> Result<(), PublishError> {
    for port in networking.exposed.iter().chain(networking.published.keys()) {
        port.parse::<ContainerPort>()?;
    }
    for binding in networking.published.values().flatten() {
        range(&binding.port)?;
        address(&binding.ip)?;
    }
    Ok(())
}

/// Whether this is a container's port, with its protocol.
pub(crate) fn is_port(text: &str) -> bool {
    text.contains('/') && text.parse::<ContainerPort>().is_ok()
}

impl Networks {
    /// Those of a container with these ends. None where it has no way out, as with
    /// Docker.
    pub(super) fn publish(&self, container: &Container, ends: &[End]) -> Result<Vec<Publication>, ConnectError> {
        let NetworkingRecord { exposed, published, publish_all, .. } = &container.record.networking;
        let mut wanted: Vec<(ContainerPort, BindingRecord)> = Vec::new();
        for (port, bindings) in published {
            let port = port.parse()?;
            wanted.extend(bindings.iter().map(|binding| (port, binding.clone())));
        }
        if *publish_all {
            let unbound = exposed.iter().filter(|port| published.get(*port).is_none_or(Vec::is_empty));
            for port in unbound {
                wanted.push((port.parse()?, BindingRecord::default()));
            }
        }
        let v4 = self.way_out(ends, true).and_then(|end| end.endpoint.v4.map(|address| (end, IpAddr::V4(address))));
        let v6 = self.way_out(ends, false).and_then(|end| end.endpoint.v6.map(|address| (end, IpAddr::V6(address))));
        let Some((main, _)) = v4.or(v6) else { return Ok(Vec::new()) };
        let default = self.known.get(&main.network).and_then(|known| known.network.as_ref());
        let default = default.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |network| network.options.host_binding);

        let had = self.attached.get(&container.id).map_or(&[][..], |attachment| &attachment.publications);
        let mut picker = Picker { networks: self, container: &container.id, had, picked: Vec::new() };
        for (port, binding) in wanted {
            let hosts = match address(&binding.ip)? {
                Some(address) => vec![address],
                None if default != IpAddr::V4(Ipv4Addr::UNSPECIFIED) => vec![default],
                None if has_ipv6() => vec![default, IpAddr::V6(Ipv6Addr::UNSPECIFIED)],
                None => vec![default],
            };
            // Who has no address of that family is reached by the other.
            let hosts = hosts.into_iter().filter_map(|host| {
                let (same, other) = if host.is_ipv4() { (v4, v6) } else { (v6, v4) };
                same.or(other).map(|(_, to)| (host, SocketAddr::new(to, port.number)))
            });
            picker.pick(port.protocol, &hosts.collect::<Vec<_>>(), range(&binding.port)?)?;
        }
        Ok(picker.picked)
    }
}

struct Picker<'n> {
    networks: &'n Networks,
    container: &'n ContainerId,
    /// What it has already stays the same port.
    had: &'n [Publication],
    picked: Vec<Publication>,
}

impl Picker<'_> {
    /// The same port of all these addresses of the host.
    fn pick(
        &mut self,
        protocol: Protocol,
        hosts: &[(IpAddr, SocketAddr)],
        range: Option<RangeInclusive<u16>>,
    ) -> Result<(), PublishError> {
        let chosen = range.as_ref().filter(|range| range.start() == range.end()).map(|range| *range.start());
        let candidates = range.unwrap_or_else(ephemeral);
        let said = format!("{}-{}", candidates.start(), candidates.end());
        let had = self.had(protocol, hosts).filter(|port| candidates.contains(port));
        if let Some(port) = had {
            self.take(protocol, hosts, port);
            return Ok(());
        }
        for port in candidates {
            let at = |ip: IpAddr| SocketAddr::new(ip, port);
            let taken = hosts.iter().find_map(|(ip, _)| self.holder(protocol, at(*ip)).map(|holder| (at(*ip), holder)));
            match (taken, chosen) {
                (Some((host, holder)), Some(_)) => return Err(PublishError::Taken { host, holder }),
                (Some(_), None) => continue,
                // Whether somebody else has it is told when it is held.
                (None, Some(_)) => {}
                (None, None) if !hosts.iter().all(|(ip, _)| is_free(protocol, at(*ip))) => continue,
                (None, None) => {}
            }
            self.take(protocol, hosts, port);
            return Ok(());
        }
        Err(PublishError::Exhausted { protocol, range: said })
    }

    fn take(&mut self, protocol: Protocol, hosts: &[(IpAddr, SocketAddr)], port: u16) {
        let publication =
            |(ip, to): &(IpAddr, SocketAddr)| Publication { protocol, host: SocketAddr::new(*ip, port), to: *to };
        self.picked.extend(hosts.iter().map(publication));
    }

    /// The port that leads to the same of the container, at all these addresses.
    fn had(&self, protocol: Protocol, hosts: &[(IpAddr, SocketAddr)]) -> Option<u16> {
        let at = |port: u16, ip: IpAddr, to: u16| {
            let is_it = |of: &&Publication| {
                of.protocol == protocol && of.host == SocketAddr::new(ip, port) && of.to.port() == to
            };
            self.had.iter().any(|of| is_it(&of)) && !self.picked.iter().any(|of| is_it(&of))
        };
        let ports = self.had.iter().map(|of| of.host.port());
        ports.into_iter().find(|port| !hosts.is_empty() && hosts.iter().all(|(ip, to)| at(*port, *ip, to.port())))
    }

    /// Which container has it.
    fn holder(&self, protocol: Protocol, host: SocketAddr) -> Option<String> {
        let conflicts = |other: &Publication| {
            let (a, b) = (other.host.ip(), host.ip());
            other.protocol == protocol
                && other.host.port() == host.port()
                && a.is_ipv4() == b.is_ipv4()
                && (a == b || a.is_unspecified() || b.is_unspecified())
        };
        let others = self.networks.attached.iter().filter(|(id, _)| *id != self.container);
        let other = others.into_iter().find(|(_, of)| of.publications.iter().any(conflicts));
        match other {
            Some((_, of)) => Some(of.name.to_string()),
            None => self.picked.iter().any(conflicts).then(|| "itself".to_owned()),
        }
    }
}

/// Whether nobody else on the host has it; what is not known is found out later.
fn is_free(protocol: Protocol, host: SocketAddr) -> bool {
    match protocol {
        Protocol::Tcp => TcpListener::bind(host).is_ok(),
        Protocol::Udp => UdpSocket::bind(host).is_ok(),
        Protocol::Sctp => true,
    }
}

fn has_ipv6() -> bool {
    std::fs::read_to_string("/proc/thread-self/net/if_inet6").is_ok_and(|addresses| !addresses.is_empty())
}

fn ephemeral() -> RangeInclusive<u16> {
    let read = || {
        let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
        let mut numbers = text.split_whitespace().map(str::parse);
        Some(numbers.next()?.ok()?..=numbers.next()?.ok()?)
    };
    read().unwrap_or(EPHEMERAL)
}

/// None: any.
fn range(text: &str) -> Result<Option<RangeInclusive<u16>>, PublishError> {
    let invalid = || PublishError::Invalid(text.to_owned());
    if text.is_empty() || text == "0" {
        return Ok(None);
    }
    let (start, end) = text.split_once('-').unwrap_or((text, text));
    let (start, end): (u16, u16) = (start.parse().map_err(|_| invalid())?, end.parse().map_err(|_| invalid())?);
    if start == 0 || end < start { Err(invalid()) } else { Ok(Some(start..=end)) }
}

/// None: any.
fn address(text: &str) -> Result<Option<IpAddr>, PublishError> {
    match text {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| PublishError::Invalid(text.to_owned())),
    }
}
