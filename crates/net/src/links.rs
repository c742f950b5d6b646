//! Links on the host: a bridge for each network, and on it one end of a pair for
//! each process container, whose other end begins its life in the container's
//! network namespace.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

use casemate_model::{Classify, ErrorClass};
use futures::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::packet_route::address::AddressHeaderFlags;
use rtnetlink::packet_route::link::{BridgePortState, InfoBridgePort, InfoData, InfoVeth, LinkAttribute, LinkMessage};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
use rtnetlink::{Error, Handle, LinkBridge, LinkBridgePort, LinkUnspec, LinkVeth, RouteMessageBuilder};
use rustix::rand::{GetRandomFlags, getrandom};
use tokio::task::JoinHandle;

use crate::{Interface, MacAddress};

/// The links of one network namespace: that of the thread which opened this.
#[derive(Debug)]
pub struct Links {
    pub(crate) handle: Handle,
    /// Passes messages on; ends with this.
    connection: JoinHandle<()>,
}

/// A container's place on a bridge.
#[derive(Clone, Copy, Debug)]
pub struct Port {
    /// Index of the bridge.
    pub bridge: u32,
    pub mtu: Option<u32>,
    /// The bridge passes nothing between isolated ports.
    pub isolated: bool,
}

/// A pair of links, one on a bridge and one in a container.
#[derive(Clone, Copy, Debug)]
pub struct Pair<'a> {
    /// At most 15 bytes, as each name of a link.
    pub name: &'a str,
    pub port: Port,
    pub inside: &'a str,
    /// The container's network namespace.
    pub namespace: BorrowedFd<'a>,
    pub mac: MacAddress,
}

#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("the kernel cannot be asked for links")]
    Open(#[source] io::Error),
    #[error("link {name} cannot be {done}")]
    Link { name: String, done: &'static str, source: Error },
}

impl Classify for LinkError {
    fn class(&self) -> ErrorClass {
        ErrorClass::Internal
    }
}

impl LinkError {
    pub(crate) fn of(name: &str, done: &'static str) -> impl Fn(Error) -> Self {
        move |source| Self::Link { name: name.to_owned(), done, source }
    }
}

impl Links {
    /// Needs a tokio runtime.
    pub fn open() -> Result<Self, LinkError> {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(LinkError::Open)?;
        Ok(Self { handle, connection: tokio::spawn(connection) })
    }

    /// A bridge that is up and has these addresses; one that is there already is
    /// made so. Returns its index.
    pub async fn bridge(&self, name: &str, addresses: &[IpNet], mtu: Option<u32>) -> Result<u32, LinkError> {
        let failed = LinkError::of(name, "made");
        // Otherwise it would have that of a port, and another as ports come and go.
        let mut bridge = LinkBridge::new(name).address(random_mac().to_vec()).up();
        if let Some(mtu) = mtu {
            bridge = bridge.mtu(mtu);
        }
        match self.handle.link().add(bridge.build()).execute().await {
            Err(source) if code(&source) == Some(libc::EEXIST) => {}
            made => made.map_err(&failed)?,
        }
        let index = self.index(name).await.map_err(&failed)?;
        self.up(name, index).await?;
        self.give(name, index, addresses).await?;
        Ok(index)
    }

    pub(crate) async fn up(&self, name: &str, index: u32) -> Result<(), LinkError> {
        let up = LinkUnspec::new_with_index(index).up().build();
        self.handle.link().set(up).execute().await.map_err(LinkError::of(name, "brought up"))
    }

    /// Those that it has already stay.
    pub(crate) async fn give(&self, name: &str, index: u32, addresses: &[IpNet]) -> Result<(), LinkError> {
        for address in addresses {
            let (ip, prefix): (IpAddr, u8) = (address.addr(), address.prefix_len());
            let mut add = self.handle.address().add(index, ip, prefix);
            if ip.is_ipv6() {
                // Nobody else has it, and whoever listens there need not wait until that is seen.
                add.message_mut().header.flags = AddressHeaderFlags::Nodad;
            }
            match add.execute().await {
                Err(source) if code(&source) == Some(libc::EEXIST) => {}
                added => added.map_err(LinkError::of(name, "given its addresses"))?,
            }
        }
        Ok(())
    }

    /// Makes a pair, or nothing.
    pub async fn pair(&self, pair: &Pair<'_>) -> Result<(), LinkError> {
        let failed = LinkError::of(pair.name, "made");
        let mut inside = LinkUnspec::new_with_name(pair.inside)
            .address(pair.mac.octets().to_vec())
            .setns_by_fd(pair.namespace.as_raw_fd());
        let mut outside = LinkVeth::new(pair.name, pair.inside).controller(pair.port.bridge);
        if let Some(mtu) = pair.port.mtu {
            (inside, outside) = (inside.mtu(mtu), outside.mtu(mtu));
        }
        let outside = outside.set_info_data(InfoData::Veth(InfoVeth::Peer(inside.build())));
        self.handle.link().add(outside.build()).execute().await.map_err(&failed)?;
        let settled = async { self.bring_up(self.index(pair.name).await?, pair.port).await };
        if let Err(source) = settled.await {
            self.remove(pair.name).await.ok();
            return Err(failed(source));
        }
        Ok(())
    }

    /// What is on its bridge already and not up.
    pub(crate) async fn bring_up(&self, index: u32, port: Port) -> Result<(), Error> {
        // Before it is up: nothing passes that the policy does not let.
        let settings = LinkBridgePort::new(index)
            .append_info_data(InfoBridgePort::Isolated(port.isolated))
            // With br_netfilter, what a container sends to its own published port never leaves the bridge.
            .append_info_data(InfoBridgePort::HairpinMode(true));
        self.handle.link().set_port(settings.build()).execute().await?;
        self.handle.link().set(LinkUnspec::new_with_index(index).up().build()).execute().await
    }

    /// Has the bridge pass frames to and from a port whose other end is up. It would
    /// by itself, but may take a second to notice.
    pub async fn forward(&self, name: &str) -> Result<(), LinkError> {
        let index = self.index_of(name).await?;
        let forwarding = InfoBridgePort::State(BridgePortState::Forwarding);
        let port = LinkBridgePort::new(index).append_info_data(forwarding).build();
        self.handle.link().set_port(port).execute().await.map_err(LinkError::of(name, "made a way for frames"))
    }

    /// Takes a link from its bridge; who has its other end is connected with nothing.
    pub async fn pull(&self, name: &str) -> Result<(), LinkError> {
        let link = LinkUnspec::new_with_index(self.index_of(name).await?).nocontroller().down().build();
        self.handle.link().set(link).execute().await.map_err(LinkError::of(name, "taken from its bridge"))
    }

    /// Removes a link, of a pair both. It is no error if it is gone.
    pub async fn remove(&self, name: &str) -> Result<(), LinkError> {
        let removed = async {
            let index = self.index(name).await?;
            self.handle.link().del(index).execute().await
        };
        match removed.await {
            Err(source) if code(&source) == Some(libc::ENODEV) => Ok(()),
            removed => removed.map_err(LinkError::of(name, "removed")),
        }
    }

    /// All ranges that there are routes to, but for everything else's.
    pub async fn routes(&self) -> Result<Vec<IpNet>, LinkError> {
        Ok(self.all_routes().await?.iter().filter_map(destination).collect())
    }

    /// What leads everywhere: by which link to which gateway.
    pub(crate) async fn ways_out(&self) -> Result<Vec<((u32, IpAddr), RouteMessage)>, LinkError> {
        let all = self.all_routes().await?;
        Ok(all.into_iter().filter_map(|route| Some((way_out(&route)?, route))).collect())
    }

    async fn all_routes(&self) -> Result<Vec<RouteMessage>, LinkError> {
        let mut all = Vec::new();
        let dumps = [RouteMessageBuilder::<Ipv4Addr>::new().build(), RouteMessageBuilder::<Ipv6Addr>::new().build()];
        for dump in dumps {
            let routes = self.handle.route().get(dump).execute().try_collect::<Vec<_>>();
            all.extend(routes.await.map_err(LinkError::of("*", "asked for routes"))?);
        }
        Ok(all)
    }

    pub(crate) async fn present(&self) -> Result<Vec<Present>, LinkError> {
        let all = self.handle.link().get().execute().try_collect::<Vec<LinkMessage>>();
        let all = all.await.map_err(LinkError::of("*", "found"))?;
        Ok(all.into_iter().map(Present::of).collect())
    }

    /// Has a link be down and without addresses, as one that nobody has used.
    pub(crate) async fn clear(&self, index: u32) -> Result<(), LinkError> {
        let failed = LinkError::of("*", "cleared");
        let down = LinkUnspec::new_with_index(index).down().mtu(ETHERNET_MTU).build();
        self.handle.link().set(down).execute().await.map_err(&failed)?;
        let addresses = self.handle.address().get().set_link_index_filter(index).execute();
        for address in addresses.try_collect::<Vec<_>>().await.map_err(&failed)? {
            match self.handle.address().del(address).execute().await {
                // Those of IPv6 go when a link goes down.
                Err(source) if code(&source) == Some(libc::EADDRNOTAVAIL) => {}
                removed => removed.map_err(&failed)?,
            }
        }
        Ok(())
    }

    /// One that is down.
    pub(crate) async fn give_mac(&self, index: u32, interface: &Interface) -> Result<(), LinkError> {
        let Interface { name, mac, .. } = interface;
        let link = LinkUnspec::new_with_index(index).address(mac.octets().to_vec()).build();
        self.handle.link().set(link).execute().await.map_err(LinkError::of(name, "given its hardware address"))
    }

    /// One that is down.
    pub(crate) async fn rename(&self, index: u32, name: &str) -> Result<(), LinkError> {
        let renamed = LinkUnspec::new_with_index(index).name(name.to_owned()).build();
        self.handle.link().set(renamed).execute().await.map_err(LinkError::of(name, "named so"))
    }

    /// The number of a link that is there.
    pub async fn index_of(&self, name: &str) -> Result<u32, LinkError> {
        self.index(name).await.map_err(LinkError::of(name, "found"))
    }

    async fn index(&self, name: &str) -> Result<u32, Error> {
        let found: Option<LinkMessage> =
            self.handle.link().get().match_name(name.to_owned()).execute().try_next().await?;
        Ok(found.map_or(0, |link| link.header.index))
    }
}

/// In bytes: what a link has that nobody says anything else of.
pub(crate) const ETHERNET_MTU: u32 = 1500;

/// Of the table that holds what nobody has asked for elsewhere.
const MAIN: u8 = 254;

/// By which link and gateway a route leads, if that is everywhere.
fn way_out(route: &RouteMessage) -> Option<(u32, IpAddr)> {
    if route.header.table != MAIN || route.header.destination_prefix_length != 0 {
        return None;
    }
    let (mut link, mut gateway) = (None, None);
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Oif(index) => link = Some(*index),
            RouteAttribute::Gateway(RouteAddress::Inet(address)) => gateway = Some((*address).into()),
            RouteAttribute::Gateway(RouteAddress::Inet6(address)) => gateway = Some((*address).into()),
            _ => {}
        }
    }
    link.zip(gateway)
}

/// Where a route of the main table leads, unless that is everywhere.
fn destination(route: &RouteMessage) -> Option<IpNet> {
    let prefix = route.header.destination_prefix_length;
    if route.header.table != MAIN || prefix == 0 {
        return None;
    }
    route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(address)) => IpNet::new((*address).into(), prefix).ok(),
        RouteAttribute::Destination(RouteAddress::Inet6(address)) => IpNet::new((*address).into(), prefix).ok(),
        _ => None,
    })
}

/// A link that is there.
#[derive(Debug)]
pub(crate) struct Present {
    pub(crate) index: u32,
    pub(crate) name: String,
    /// The hardware address that it was made with.
    pub(crate) first_mac: Vec<u8>,
}

impl Present {
    fn of(link: LinkMessage) -> Self {
        let mut present = Self { index: link.header.index, name: String::new(), first_mac: Vec::new() };
        for attribute in link.attributes {
            match attribute {
                LinkAttribute::IfName(name) => present.name = name,
                LinkAttribute::PermAddress(address) => present.first_mac = address,
                _ => {}
            }
        }
        present
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// Local, and not of a group.
fn random_mac() -> [u8; 6] {
    let mut mac = [0; 6];
    getrandom(&mut mac, GetRandomFlags::empty()).expect("a few bytes are always to be had");
    mac[0] = mac[0] & !3 | 2;
    mac
}

/// The kernel's, positive.
fn code(error: &Error) -> Option<i32> {
    match error {
        Error::NetlinkError(message) => message.code.map(|code| -code.get()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener, TcpStream};

    use crate::testbed::{Node, names};
    use crate::{Interface, configure};

    /// In a network namespace of its own.
    fn in_namespace<F: Future<Output = ()>>(body: impl FnOnce() -> F + Send) {
        if let Some(node) = Node::new() {
            node.run(|runtime| runtime.block_on(body()));
        }
    }

    /// From this thread's namespace into another.
    fn speak(to_node: &Node, to: SocketAddr) {
        let listener = to_node.run(|_| TcpListener::bind(to).unwrap());
        TcpStream::connect(to).unwrap().write_all(b"hello").unwrap();
        let mut heard = String::new();
        listener.accept().unwrap().0.read_to_string(&mut heard).unwrap();
        assert_eq!(heard, "hello");
    }

    #[test]
    fn a_bridge_is_made_once_and_removed() {
        in_namespace(|| async {
            let links = Links::open().unwrap();
            let addresses = ["10.1.0.1/24".parse().unwrap(), "fd00::1/64".parse().unwrap()];
            let index = links.bridge("br-test", &addresses, Some(1400)).await.unwrap();
            assert_eq!(links.bridge("br-test", &addresses, None).await.unwrap(), index);
            assert_eq!(names(), ["br-test", "lo"]);
            let routes = fs::read_to_string("/proc/thread-self/net/fib_trie").unwrap();
            assert!(routes.contains("10.1.0.1"), "{routes}");
            links.remove("br-test").await.unwrap();
            links.remove("br-test").await.unwrap();
            assert_eq!(names(), ["lo"]);
        });
    }

    #[test]
    fn a_bridge_keeps_its_hardware_address() {
        in_namespace(|| async {
            let links = Links::open().unwrap();
            let bridge = links.bridge("br-test", &[], None).await.unwrap();
            let before = links.hardware_address("br-test").await;
            let container = Node::new().unwrap();
            let (namespace, mac) = (container.namespace(), MacAddress::of([10, 1, 0, 2].into()));
            let pair = Pair {
                name: "veth-test",
                port: Port { bridge, mtu: None, isolated: false },
                inside: "eth0",
                namespace,
                mac,
            };
            links.pair(&pair).await.unwrap();
            assert_eq!(links.hardware_address("br-test").await, before);
            links.remove("veth-test").await.unwrap();
            links.bridge("br-test", &[], None).await.unwrap();
            assert_eq!(links.hardware_address("br-test").await, before);
        });
    }

    #[test]
    fn a_pair_begins_in_the_containers_namespace() {
        in_namespace(|| async {
            let links = Links::open().unwrap();
            let bridge = links.bridge("br-test", &[], None).await.unwrap();
            let container = Node::new().unwrap();
            let mac = MacAddress::of([10, 1, 0, 2].into());
            let namespace = container.namespace();
            let pair = Pair {
                name: "veth-test",
                port: Port { bridge, mtu: Some(1400), isolated: true },
                inside: "eth0",
                namespace,
                mac,
            };
            links.pair(&pair).await.unwrap();
            assert_eq!(names(), ["br-test", "lo", "veth-test"]);
            let interface = Interface {
                name: "eth0".into(),
                mac,
                mtu: None,
                addresses: vec!["10.1.0.2/24".parse().unwrap(), "fd00::2/64".parse().unwrap()],
                gateways: vec!["10.1.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
            };
            configure(namespace, &interface).unwrap();
            links.bridge("br-test", &["10.1.0.1/24".parse().unwrap()], None).await.unwrap();
            speak(&container, "10.1.0.2:4711".parse().unwrap());
            let missing = configure(namespace, &Interface { name: "eth7".into(), ..interface }).unwrap_err();
            assert_eq!(missing.to_string(), "link eth7 cannot be found");
            let error = links.pair(&pair).await.unwrap_err();
            assert_eq!(error.to_string(), "link veth-test cannot be made");
            assert_eq!(names(), ["br-test", "lo", "veth-test"]);
            links.remove("veth-test").await.unwrap();
            assert_eq!(names(), ["br-test", "lo"]);
        });
    }

    #[test]
    fn what_cannot_be_a_pair_leaves_nothing() {
        in_namespace(|| async {
            let links = Links::open().unwrap();
            let container = Node::new().unwrap();
            let mac = MacAddress::of([10, 1, 0, 2].into());
            let namespace = container.namespace();
            let pair = Pair {
                name: "veth-test",
                port: Port { bridge: 4711, mtu: None, isolated: false },
                inside: "eth0",
                namespace,
                mac,
            };
            links.pair(&pair).await.unwrap_err();
            assert_eq!(names(), ["lo"]);
        });
    }
}
