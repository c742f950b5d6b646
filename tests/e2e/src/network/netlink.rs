//! Links, addresses and routes.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;

use futures::{StreamExt, TryStreamExt};
use ipnet::IpNet;
use rtnetlink::packet_route::address::AddressHeaderFlags;
use rtnetlink::packet_route::link::{InfoData, InfoVeth, LinkAttribute, State};
use rtnetlink::{Handle, LinkUnspec, LinkVeth, MulticastGroup, RouteMessageBuilder, new_multicast_connection};
use tokio::runtime::Builder;

use super::node::Node;

/// Asks the kernel for something in this thread's namespace.
pub fn with_netlink<R>(work: impl AsyncFnOnce(Handle) -> R) -> R {
    let runtime = Builder::new_current_thread().enable_io().build().expect("a runtime");
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection().expect("a netlink socket");
        let connection = tokio::spawn(connection);
        let done = work(handle).await;
        connection.abort();
        done
    })
}

pub(super) async fn index(handle: &Handle, link: &str) -> u32 {
    let found = handle.link().get().match_name(link.to_owned()).execute().try_next().await;
    found.ok().flatten().unwrap_or_else(|| panic!("there is no link {link}")).header.index
}

/// One end of a wire.
#[derive(Clone, Copy, Debug)]
pub(super) struct End<'a> {
    pub(super) node: &'a Node,
    pub(super) link: &'a str,
    /// With the lengths of their prefixes.
    pub(super) addresses: &'a [&'a str],
    /// Where all else is, at most one of each family.
    pub(super) gateways: &'a [&'a str],
}

/// Returns when packets pass.
pub(super) fn wire(one: End, other: End) {
    let inside = LinkUnspec::new_with_name(other.link).setns_by_fd(other.node.namespace().as_raw_fd()).build();
    let pair = LinkVeth::new(one.link, other.link).set_info_data(InfoData::Veth(InfoVeth::Peer(inside)));
    one.node.run(|| {
        with_netlink(async |handle| {
            let made = handle.link().add(pair.build()).execute().await;
            made.unwrap_or_else(|error| panic!("link {} cannot be made: {error}", one.link));
        })
    });
    let ends = [one, other];
    ends.iter().for_each(End::bring_up);
    ends.iter().for_each(End::route);
    ends.iter().for_each(End::settle);
}

impl End<'_> {
    fn bring_up(&self) {
        let Self { node, link, addresses, .. } = self;
        // Nobody waits until it is seen that its own address is nobody else's.
        node.set(&format!("ipv6/conf/{link}/accept_dad"), "0");
        node.run(|| {
            with_netlink(async |handle| {
                let index = index(&handle, link).await;
                for address in *addresses {
                    let net: IpNet = address.parse().unwrap_or_else(|error| panic!("{address}: {error}"));
                    let mut add = handle.address().add(index, net.addr(), net.prefix_len());
                    if net.addr().is_ipv6() {
                        add.message_mut().header.flags = AddressHeaderFlags::Nodad;
                    }
                    add.execute().await.unwrap_or_else(|error| panic!("{address} on {link}: {error}"));
                }
                let up = LinkUnspec::new_with_index(index).up().build();
                handle.link().set(up).execute().await.unwrap_or_else(|error| panic!("link {link} up: {error}"));
            })
        });
    }

    fn route(&self) {
        let Self { node, link, gateways, .. } = self;
        node.run(|| {
            with_netlink(async |handle| {
                let index = index(&handle, link).await;
                for gateway in *gateways {
                    let route = match gateway.parse().unwrap_or_else(|error| panic!("{gateway}: {error}")) {
                        IpAddr::V4(via) => {
                            RouteMessageBuilder::<Ipv4Addr>::new().gateway(via).output_interface(index).build()
                        }
                        IpAddr::V6(via) => {
                            RouteMessageBuilder::<Ipv6Addr>::new().gateway(via).output_interface(index).build()
                        }
                    };
                    let added = handle.route().add(route).execute().await;
                    added.unwrap_or_else(|error| panic!("a route by {gateway} on {link}: {error}"));
                }
            })
        });
    }

    /// Returns when the link passes frames and has the routes to its own addresses.
    /// The kernel sees to that some time after it is up; what comes before is lost.
    fn settle(&self) {
        let settled = async {
            let groups = [MulticastGroup::Link, MulticastGroup::Ipv6Route];
            let (connection, handle, mut changes) = new_multicast_connection(&groups).expect("a netlink socket");
            let connection = tokio::spawn(connection);
            loop {
                let found = handle.link().get().match_name(self.link.to_owned()).execute().try_next().await;
                let found = found.expect("a list of links").expect("the link");
                if found.attributes.contains(&LinkAttribute::OperState(State::Up)) && has_local_routes(self.link) {
                    break;
                }
                changes.next().await.expect("a netlink socket that stays");
            }
            connection.abort();
        };
        self.node.run(|| Builder::new_current_thread().enable_io().build().expect("a runtime").block_on(settled));
    }
}

/// Of IPv6, to each of its addresses.
fn has_local_routes(link: &str) -> bool {
    const LOCAL: u32 = 0x8000_0000;
    let table = |name: &str| fs::read_to_string(format!("/proc/thread-self/net/{name}")).expect("a kernel with IPv6");
    let (addresses, routes) = (table("if_inet6"), table("ipv6_route"));
    let is_local = |route: &str| {
        let flags = route.split_ascii_whitespace().nth(8).expect("a route's flags");
        u32::from_str_radix(flags, 16).expect("a number") & LOCAL != 0
    };
    let mut addresses = addresses.lines().filter(|line| line.split_ascii_whitespace().last() == Some(link));
    addresses.all(|line| routes.lines().any(|route| route.starts_with(&line[..32]) && is_local(route)))
}

/// Takes links away, of a pair both.
pub(super) fn remove(node: &Node, links: &[&str]) {
    node.run(|| {
        with_netlink(async |handle| {
            for link in links {
                let removed = handle.link().del(index(&handle, link).await).execute().await;
                removed.unwrap_or_else(|error| panic!("link {link} cannot be removed: {error}"));
            }
        })
    });
}
