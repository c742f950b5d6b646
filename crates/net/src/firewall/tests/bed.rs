//! The host with its bridges and containers, and a remote node, which has all that
//! is outside: a neighbour of the host's, the Internet, a private network behind it
//! and a cloud's metadata service.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use super::calls::{Call, Exchange, Heard, PORT, index};
use crate::Egress;
use crate::firewall::{Firewall, NetworkPolicy, Nft, Policy, PortPolicy, Reach, SubnetPolicy};
use crate::testbed::Node;
use crate::{Interface, Links, MacAddress, Pair, Port, Protocol, Publication, configure, lead_out};

/// Of the host, on the link to the remote node.
pub(super) const HOST: [&str; 2] = ["192.168.7.1", "fd07::1"];
pub(super) const HOST_TOO: [&str; 2] = ["192.168.7.9", "fd07::9"];
/// A public address of the host's own.
pub(super) const HOST_PUBLIC: [&str; 2] = ["5.6.7.8", "2606:5600::8"];

/// Of the remote node.
pub(super) const NEIGHBOUR: [&str; 2] = ["192.168.7.2", "fd07::2"];
pub(super) const PUBLIC: [&str; 2] = ["1.2.3.4", "2606:4700::1"];
pub(super) const PRIVATE: [&str; 2] = ["10.200.0.1", "fd99::1"];
pub(super) const METADATA: [&str; 2] = ["169.254.169.254", "fd00:ec2::254"];

#[derive(Debug)]
pub(super) struct Bed {
    pub(super) host: Node,
    pub(super) remote: Node,
    pub(super) exchange: Exchange,
    pub(super) policy: Policy,
    pub(super) firewall: Firewall,
}

#[derive(Debug)]
pub(super) struct Container {
    pub(super) name: String,
    pub(super) node: Node,
    pub(super) link: String,
    pub(super) mac: MacAddress,
    pub(super) v4: String,
    pub(super) v6: String,
}

/// Number N has bridge brN, 10.N.0.0/24 and fd0N::/64.
pub(super) fn network(number: u8, reach: Reach) -> NetworkPolicy {
    let subnet =
        |net: String, gateway: String| SubnetPolicy { net: net.parse().unwrap(), gateway: gateway.parse().unwrap() };
    let subnets = vec![
        subnet(format!("10.{number}.0.0/24"), format!("10.{number}.0.1")),
        subnet(format!("fd0{number}::/64"), format!("fd0{number}::1")),
    ];
    NetworkPolicy { bridge: format!("br{number}"), reach, subnets, icc: true, masquerade: true }
}

impl Bed {
    /// None without the rights to make one.
    pub(super) fn new(networks: &[NetworkPolicy]) -> Option<Self> {
        let (host, remote) = (Node::new()?, Node::new()?);
        host.set("ipv4/ip_forward", "1");
        host.set("ipv6/conf/all/forwarding", "1");
        let lan = bridge(&host, "lan", &[]);
        pair(&host, "lan-remote", lan, &remote, MacAddress::of([192, 168, 7, 2].into()), false);
        wire(&host, "lan", &lengths(&[&HOST, &HOST_TOO], [24, 64], &[&HOST_PUBLIC]), &NEIGHBOUR);
        wire(&remote, "eth0", &lengths(&[&NEIGHBOUR], [24, 64], &[&PUBLIC, &PRIVATE, &METADATA]), &HOST);
        forward(&host, "lan-remote", "lan");
        remote.settle("eth0");
        let exchange = Exchange::new();
        exchange.serve(&host, "host", &parsed(&[&HOST, &HOST_TOO, &HOST_PUBLIC]));
        exchange.serve(&remote, "remote", &parsed(&[&NEIGHBOUR, &PUBLIC, &PRIVATE, &METADATA]));
        for network in networks {
            let addresses: Vec<String> =
                network.subnets.iter().map(|s| format!("{}/{}", s.gateway, s.net.prefix_len())).collect();
            bridge(&host, &network.bridge, &addresses);
            let gateways: Vec<IpAddr> = network.subnets.iter().map(|subnet| subnet.gateway).collect();
            exchange.serve(&host, "host", &gateways);
        }
        let policy = Policy { networks: networks.to_vec(), ..Policy::default() };
        Some(Self { host, remote, exchange, policy, firewall: Firewall::new(Nft::default()) })
    }

    /// With the firewall as it should be.
    pub(super) fn container(&mut self, network: u8, number: u8, egress: Egress) -> Container {
        let mac = MacAddress::of(Ipv4Addr::new(10, network, 0, number));
        let (link, bridge) = (format!("cm-{network}-{number}"), format!("br{network}"));
        let port = PortPolicy { link, bridge, mac, addresses: addresses(network, number), egress };
        let container = self.port(&port);
        self.policy.ports.push(port);
        self.apply();
        container
    }

    /// A container of which the firewall does not know.
    pub(super) fn port(&self, port: &PortPolicy) -> Container {
        let PortPolicy { link, bridge, mac, addresses, .. } = port;
        let policy = self.policy.networks.iter().find(|network| network.bridge == *bridge).unwrap();
        let node = Node::new().unwrap();
        pair(&self.host, link, self::bridge(&self.host, bridge, &[]), &node, *mac, policy.is_isolated());
        let gateways: Vec<String> = policy.subnets.iter().map(|subnet| subnet.gateway.to_string()).collect();
        let gateways: Vec<&str> = gateways.iter().map(String::as_str).collect();
        let length = |address: &IpAddr| if address.is_ipv4() { 24 } else { 64 };
        let with_lengths: Vec<_> = addresses.iter().map(|address| format!("{address}/{}", length(address))).collect();
        wire(&node, "eth0", &with_lengths, &gateways);
        forward(&self.host, link, bridge);
        node.settle("eth0");
        let name = link.replace("cm-", "container ");
        let [v4, v6, _] = [0, 1, 2].map(|n| addresses[n].to_string());
        self.exchange.serve(&node, &name, &addresses[..2]);
        let at_link = SocketAddrV6::new(link_local(*mac), PORT, 0, index(&node, "eth0"));
        self.exchange.serve_at(&node, &name, at_link.into());
        Container { name, node, link: link.clone(), mac: *mac, v4, v6 }
    }

    pub(super) fn publish(&mut self, host: &str, port: u16, to: &Container) {
        let host: IpAddr = host.parse().unwrap();
        let inside = if host.is_ipv4() { &to.v4 } else { &to.v6 };
        let to = SocketAddr::new(inside.parse().unwrap(), PORT);
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            self.policy.publications.push(Publication { protocol, host: SocketAddr::new(host, port), to });
        }
        self.apply();
    }

    pub(super) fn apply(&mut self) {
        self.host.run(|_| self.firewall.update(&self.policy)).unwrap();
    }

    /// All are answered by this node. Returns whom it saw calling.
    #[track_caller]
    pub(super) fn heard(&self, from: &Node, by: &str, calls: &[Call]) -> Vec<Option<IpAddr>> {
        let mut sources = Vec::new();
        for (call, answer) in calls.iter().zip(self.exchange.answers(from, calls)) {
            let Heard { by: heard_by, source } =
                answer.unwrap_or_else(|error| panic!("{call:?}: no answer from {by}: {error}"));
            match call {
                Call::Ping(_) => {}
                _ => assert_eq!(heard_by, by, "{call:?}"),
            }
            sources.push(source);
        }
        sources
    }

    /// None is heard by anyone.
    #[track_caller]
    pub(super) fn unheard(&self, from: &Node, calls: &[Call]) {
        assert_eq!(self.exchange.leaks(from, calls), [], "heard, and should not be");
    }

    /// Without bridged packets coming by the tables of IP, and with that.
    pub(super) fn either_way(&self, body: impl Fn()) {
        self.without_br_netfilter();
        body();
        if self.bridged_packets_come_by("1") {
            body();
        }
    }

    pub(super) fn without_br_netfilter(&self) {
        self.bridged_packets_come_by("0");
    }

    /// Whether the kernel has that.
    pub(super) fn bridged_packets_come_by(&self, value: &str) -> bool {
        let has_module = self.host.run(|_| fs::exists("/proc/sys/net/bridge").unwrap());
        if has_module {
            for protocol in ["iptables", "ip6tables", "arptables"] {
                self.host.set(&format!("bridge/bridge-nf-call-{protocol}"), value);
            }
        }
        has_module
    }
}

/// Of a container: of each family one, and that of its link.
pub(super) fn addresses(network: u8, number: u8) -> Vec<IpAddr> {
    let v4 = Ipv4Addr::new(10, network, 0, number);
    let v6 = format!("fd0{network}::{number}").parse().unwrap();
    vec![v4.into(), v6, link_local(MacAddress::of(v4)).into()]
}

/// That a link forms from its own address.
pub(super) fn link_local(mac: MacAddress) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.octets();
    let [ab, c, d, ef] = [[a ^ 2, b], [c, 0xff], [0xfe, d], [e, f]].map(u16::from_be_bytes);
    Ipv6Addr::new(0xfe80, 0, 0, 0, ab, c, d, ef)
}

fn parsed(addresses: &[&[&str; 2]]) -> Vec<IpAddr> {
    addresses.iter().flat_map(|pair| pair.iter().map(|address| address.parse().unwrap())).collect()
}

/// Addresses of a subnet, and others that are alone.
fn lengths(subnet: &[&[&str; 2]], [v4, v6]: [u8; 2], alone: &[&[&str; 2]]) -> Vec<String> {
    let with = |pairs: &[&[&str; 2]], v4: u8, v6: u8| {
        pairs.iter().flat_map(|[a, b]| [format!("{a}/{v4}"), format!("{b}/{v6}")]).collect::<Vec<_>>()
    };
    [with(subnet, v4, v6), with(alone, 32, 128)].concat()
}

fn bridge(host: &Node, name: &str, addresses: &[String]) -> u32 {
    let addresses: Vec<_> = addresses.iter().map(|address| address.parse().unwrap()).collect();
    host.run(|runtime| runtime.block_on(async { Links::open().unwrap().bridge(name, &addresses, None).await }).unwrap())
}

fn pair(host: &Node, name: &str, bridge: u32, to: &Node, mac: MacAddress, isolated: bool) {
    let pair =
        Pair { name, port: Port { bridge, mtu: None, isolated }, inside: "eth0", namespace: to.namespace(), mac };
    host.run(|runtime| runtime.block_on(async { Links::open().unwrap().pair(&pair).await }).unwrap());
}

fn forward(host: &Node, link: &str, bridge: &str) {
    host.run(|runtime| runtime.block_on(async { Links::open().unwrap().forward(link).await }).unwrap());
    host.settle(link);
    host.settle(bridge);
}

fn wire(node: &Node, link: &str, addresses: &[String], gateways: &[&str]) {
    let interface = Interface {
        name: link.to_owned(),
        mac: MacAddress::of([10, 0, 0, 1].into()),
        mtu: None,
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        gateways: gateways.iter().map(|gateway| gateway.parse().unwrap()).collect(),
    };
    configure(node.namespace(), &interface).unwrap();
    lead_out(node.namespace(), &[interface]).unwrap();
}
