//! `GET /casemate/ports?container=NAME`: what listens in a container, what of it is
//! published, and who is connected across the container's boundary.
//!
//! ```text
//! { "Containers": [{
//!     "Id", "Name", "Isolation", "NetworkMode",
//!     "Listening": [{ "Protocol", "Ip", "Port", "Pid", "Process" }],
//!     "Published": [{ "Protocol", "HostIp", "HostPort", "Ip", "Port", "Listening": BOOL }],
//!     "Connections": [{ "Protocol", "Direction": "in" | "out", "Ip", "Port", "PeerIp", "PeerPort", "Pid", "Process" }],
//!     "Truncated": BOOL,                                     there are more sockets
//!     "Error": TEXT | null }] }                              why the sockets are not told
//! ```
//!
//! The embedded resolver's own sockets are left out. `Pid` and `Process` are null where
//! no process of the container was found to have the socket. Sockets of the host's are not told of a container on its network; with
//! `container:ID` for a mode, they are those that the two share.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use casemate_engine::daemon::Entry;
use casemate_engine::networks::RESOLVER;
use casemate_model::{ContainerId, ErrorClass, Failure, Protocol, Publication};
use casemate_wire::{Socket, SocketOwner, Sockets};
use futures::future::join_all;
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::reply::{self, Reply};
use crate::request::Call;

/// One guest that does not answer keeps the others from being shown no longer.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) async fn ports(call: &Call) -> Reply {
    let entries = super::asked(call)?;
    if call.query.get("container").is_some() {
        let [entry] = &entries[..] else { unreachable!("one was asked for") };
        if !entry.status().is_up() {
            return Err(ApiError::conflict(format!("container {} is not running", entry.id)));
        }
        let sockets = sockets(entry).await?;
        return reply::json(&json!({ "Containers": [container(call, entry, Ok(sockets))] }));
    }
    let told = join_all(entries.iter().map(|entry| async move {
        let told = tokio::time::timeout(PATIENCE, sockets(entry)).await;
        told.unwrap_or_else(|_| Err(Failure::new(ErrorClass::Timeout, "no answer")))
    }));
    // Whoever has ended meanwhile is left out.
    let told = entries.iter().zip(told.await).filter(|(entry, _)| entry.status().is_up());
    let containers: Vec<Value> = told.map(|(entry, told)| container(call, entry, told)).collect();
    reply::json(&json!({ "Containers": containers }))
}

async fn sockets(entry: &Entry) -> Result<Sockets, Failure> {
    match entry.container().record.host.network_mode.as_str() {
        "host" => Ok(Sockets { sockets: Vec::new(), more: false }),
        _ => entry.sockets().await,
    }
}

fn container(call: &Call, entry: &Entry, told: Result<Sockets, Failure>) -> Value {
    let networks = call.daemon.networks();
    let of = entry.container();
    // Whose network it is.
    let joined = of.record.host.network_mode.strip_prefix("container:").and_then(|id| id.parse::<ContainerId>().ok());
    let attachment = networks.attachment(joined.as_ref().unwrap_or(&entry.id));
    let addresses: Vec<IpAddr> =
        attachment.iter().flat_map(|of| &of.ends).flat_map(|end| end.endpoint.addresses()).collect();
    let published: &[Publication] = match attachment {
        Some(attachment) if joined.is_none() => &attachment.publications,
        _ => &[],
    };
    let (sockets, error) = match told {
        Ok(sockets) => (sockets, None),
        Err(failure) => (Sockets { sockets: Vec::new(), more: false }, Some(failure.message)),
    };
    let mut container = super::head(entry);
    let seen = Seen::of(&sockets.sockets, &addresses);
    container["Listening"] = seen.listening.iter().map(|socket| listening(socket)).collect();
    let with_listener = |of: &Publication| {
        let mut published = publication(of);
        published["Listening"] = json!(seen.is_heard(of.protocol, of.to));
        published
    };
    container["Published"] = published.iter().map(with_listener).collect();
    container["Connections"] = seen.crossing.iter().map(|(socket, peer)| seen.connection(socket, *peer)).collect();
    container["Truncated"] = json!(sockets.more);
    container["Error"] = json!(error);
    container
}

/// Host's address and container's.
pub(super) fn publication(of: &Publication) -> Value {
    let Publication { protocol, host, to } = of;
    json!({
        "Protocol": protocol.name(), "HostIp": host.ip(), "HostPort": host.port(), "Ip": to.ip(), "Port": to.port(),
    })
}

/// A container's sockets, sorted, without what is between its own processes.
struct Seen<'s> {
    listening: Vec<&'s Socket>,
    crossing: Vec<(&'s Socket, SocketAddr)>,
}

impl<'s> Seen<'s> {
    /// `addresses` are the container's own.
    fn of(sockets: &'s [Socket], addresses: &[IpAddr]) -> Self {
        let ends: HashSet<(SocketAddr, SocketAddr)> =
            sockets.iter().filter_map(|socket| Some((socket.local, socket.peer?))).collect();
        let is_inside = |local: SocketAddr, peer: SocketAddr| {
            peer.ip().is_loopback() || addresses.contains(&peer.ip()) || ends.contains(&(peer, local))
        };
        let is_resolver = |socket: &&Socket| socket.owner.is_none() && socket.local.ip() == RESOLVER;
        let listening = sockets.iter().filter(|socket| socket.peer.is_none() && !is_resolver(socket));
        let mut listening: Vec<&Socket> = listening.collect();
        let mut crossing: Vec<(&Socket, SocketAddr)> = sockets
            .iter()
            .filter_map(|socket| Some((socket, socket.peer?)))
            .filter(|(socket, peer)| !is_inside(socket.local, *peer))
            .collect();
        let key = |socket: &Socket| (socket.protocol.name(), socket.local.port(), socket.local.ip());
        listening.sort_by_key(|socket| key(socket));
        crossing.sort_by_key(|(socket, peer)| (key(socket), *peer));
        Self { listening, crossing }
    }

    /// Whether somebody listens there. Who does on all addresses of IPv6 does on
    /// those of IPv4 too, as a rule.
    fn is_heard(&self, protocol: Protocol, at: SocketAddr) -> bool {
        self.listening.iter().any(|socket| {
            let ip = socket.local.ip();
            socket.protocol == protocol
                && socket.local.port() == at.port()
                && (ip == at.ip() || ip.is_unspecified() && (ip.is_ipv6() || at.is_ipv4()))
        })
    }

    fn connection(&self, socket: &Socket, peer: SocketAddr) -> Value {
        let Socket { protocol, local, peer: _, owner } = socket;
        // Who listens is who was called.
        let direction = if self.is_heard(*protocol, *local) { "in" } else { "out" };
        json!({
            "Protocol": protocol.name(),
            "Direction": direction,
            "Ip": local.ip(),
            "Port": local.port(),
            "PeerIp": peer.ip(),
            "PeerPort": peer.port(),
            "Pid": owner.as_ref().map(|owner| owner.pid),
            "Process": owner.as_ref().map(|owner| &owner.name),
        })
    }
}

fn listening(socket: &Socket) -> Value {
    let Socket { protocol, local, peer: _, owner } = socket;
    let (pid, process) = owner.as_ref().map(|SocketOwner { pid, name }| (pid, name)).unzip();
    json!({ "Protocol": protocol.name(), "Ip": local.ip(), "Port": local.port(), "Pid": pid, "Process": process })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(protocol: Protocol, local: &str, peer: Option<&str>) -> Socket {
        let peer = peer.map(|peer| peer.parse().unwrap());
        Socket { protocol, local: local.parse().unwrap(), peer, owner: None }
    }

    #[test]
    fn what_crosses_the_boundary_is_told_with_its_direction() {
        let (tcp, udp) = (Protocol::Tcp, Protocol::Udp);
        let sockets = [
            socket(tcp, "10.1.0.2:80", Some("10.1.0.1:50000")),
            socket(tcp, "10.1.0.2:40000", Some("1.1.1.1:443")),
            // With itself, by each kind of address, and where its own is not known.
            socket(tcp, "127.0.0.1:80", Some("127.0.0.1:40001")),
            socket(tcp, "10.1.0.2:40002", Some("10.1.0.2:80")),
            socket(tcp, "[fe80::2]:40003", Some("[fe80::2]:80")),
            socket(tcp, "[fe80::2]:80", Some("[fe80::2]:40003")),
            socket(udp, "10.1.0.2:40004", Some("127.0.0.11:53")),
            socket(udp, "10.1.0.2:80", Some("10.1.0.1:50000")),
            socket(tcp, "[::]:80", None),
            socket(tcp, "0.0.0.0:22", None),
            socket(udp, "127.0.0.11:40005", None),
        ];
        let addresses = ["10.1.0.2".parse().unwrap()];
        let seen = Seen::of(&sockets, &addresses);
        let listening: Vec<String> = seen.listening.iter().map(|socket| socket.local.to_string()).collect();
        assert_eq!(listening, ["0.0.0.0:22", "[::]:80"]);
        let crossing: Vec<String> = seen
            .crossing
            .iter()
            .map(|(socket, peer)| {
                let connection = seen.connection(socket, *peer);
                format!("{} {} {peer}", socket.protocol, connection["Direction"].as_str().unwrap())
            })
            .collect();
        assert_eq!(crossing, ["tcp in 10.1.0.1:50000", "tcp out 1.1.1.1:443", "udp out 10.1.0.1:50000"]);
        for (protocol, at, heard) in [
            (tcp, "10.1.0.2:80", true),
            (tcp, "[fd00::2]:80", true),
            (udp, "10.1.0.2:80", false),
            (tcp, "10.1.0.2:22", true),
            (tcp, "[fd00::2]:22", false),
            (tcp, "10.1.0.2:443", false),
        ] {
            assert_eq!(seen.is_heard(protocol, at.parse().unwrap()), heard, "{protocol} {at}");
        }
    }

    #[test]
    fn sockets_are_told_with_their_process() {
        let owner = Some(SocketOwner { pid: 7, name: "httpd".to_owned() });
        let owned = Socket { owner, ..socket(Protocol::Tcp, "[::]:80", None) };
        let expected = json!({ "Protocol": "tcp", "Ip": "::", "Port": 80, "Pid": 7, "Process": "httpd" });
        assert_eq!(listening(&owned), expected);
        let nobodys = listening(&socket(Protocol::Udp, "10.1.0.2:53", None));
        assert!(nobodys["Pid"].is_null() && nobodys["Process"].is_null(), "{nobodys}");
    }
}
