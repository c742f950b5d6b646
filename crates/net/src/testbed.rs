//! Machines for tests: each a network namespace, none with a way to the real ones.

use std::fs::{self, File};
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::resume_unwind;

use futures::{StreamExt, TryStreamExt};
use rtnetlink::packet_route::link::{LinkAttribute, State};
use rtnetlink::{MulticastGroup, new_multicast_connection};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::runtime::{Builder, Runtime};

use crate::{Links, new_namespace};

/// A network namespace, held by its descriptor.
#[derive(Debug)]
pub(crate) struct Node(File);

impl Node {
    /// None without the rights to make one.
    pub(crate) fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let node = Self(new_namespace().unwrap().into());
        // An address is there when it is given.
        node.set("ipv6/conf/default/accept_dad", "0");
        node.set("ipv4/ping_group_range", "0 0");
        Some(node)
    }

    /// On a thread in there. Sockets that are made in there stay there.
    pub(crate) fn run<R: Send>(&self, body: impl FnOnce(&Runtime) -> R + Send) -> R {
        let work = || {
            move_into_link_name_space(self.namespace(), Some(LinkNameSpaceType::Network)).unwrap();
            body(&Builder::new_current_thread().enable_all().build().unwrap())
        };
        std::thread::scope(|scope| scope.spawn(work).join().unwrap_or_else(|panic| resume_unwind(panic)))
    }

    /// Returns when a link passes frames and has the routes to its own addresses.
    /// The kernel sees to that some time after it is up; what comes before is lost.
    pub(crate) fn settle(&self, link: &str) {
        let settled = async {
            let groups = [MulticastGroup::Link, MulticastGroup::Ipv6Route];
            let (connection, handle, mut changes) = new_multicast_connection(&groups).unwrap();
            let connection = tokio::spawn(connection);
            loop {
                let found =
                    handle.link().get().match_name(link.to_owned()).execute().try_next().await.unwrap().unwrap();
                if found.attributes.contains(&LinkAttribute::OperState(State::Up)) && has_local_routes(link) {
                    break;
                }
                changes.next().await.unwrap();
            }
            connection.abort();
        };
        self.run(|runtime| runtime.block_on(settled));
    }

    pub(crate) fn namespace(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// A setting under /proc/sys/net.
    pub(crate) fn set(&self, name: &str, value: &str) {
        self.run(|_| fs::write(format!("/proc/sys/net/{name}"), value).unwrap());
    }
}

/// Of IPv6, to each of its addresses.
fn has_local_routes(link: &str) -> bool {
    const LOCAL: u32 = 0x8000_0000;
    let addresses = fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap();
    let routes = fs::read_to_string("/proc/thread-self/net/ipv6_route").unwrap();
    let is_local = |route: &str| {
        let flags = route.split_whitespace().nth(8).unwrap();
        u32::from_str_radix(flags, 16).unwrap() & LOCAL != 0
    };
    let mut addresses = addresses.lines().filter(|line| line.split_whitespace().last() == Some(link));
    addresses.all(|line| routes.lines().any(|route| route.starts_with(&line[..32]) && is_local(route)))
}

impl Links {
    pub(crate) async fn hardware_address(&self, name: &str) -> Vec<u8> {
        let link = self.handle.link().get().match_name(name.to_owned()).execute().try_next().await.unwrap().unwrap();
        let address = link.attributes.into_iter().find_map(|attribute| match attribute {
            LinkAttribute::Address(address) => Some(address),
            _ => None,
        });
        address.unwrap()
    }
}

/// Links of this thread's namespace.
pub(crate) fn names() -> Vec<String> {
    let table = fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    let name = |line: &str| line.split(':').next().unwrap().trim().to_owned();
    let mut names: Vec<String> = table.lines().skip(2).map(name).collect();
    names.sort();
    names
}
