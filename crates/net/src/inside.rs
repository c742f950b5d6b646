//! A container's own end: its network namespace, and its links' addresses and
//! routes in there.

use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{BorrowedFd, OwnedFd};

use casemate_model::{Classify, ErrorClass};
use rtnetlink::{LinkUnspec, RouteMessageBuilder};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

use crate::links::{LinkError, Links, Present};
use crate::{Card, Interface, MacAddress};

#[derive(Debug, thiserror::Error)]
pub enum ConfigureError {
    #[error("a network namespace cannot be made")]
    Make(#[source] io::Error),
    #[error("the container's network namespace cannot be entered")]
    Enter(#[source] io::Error),
    #[error("there is no link with the hardware address {mac}")]
    Missing { mac: MacAddress },
    #[error("its resolver has no sockets")]
    Resolver(#[source] io::Error),
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("{setting} cannot be set")]
    Setting { setting: String, source: io::Error },
}

impl Classify for ConfigureError {
    fn class(&self) -> ErrorClass {
        ErrorClass::Internal
    }
}

/// A new network namespace, whose loopback is up. It is there as long as somebody
/// holds it or is in it.
pub fn new_namespace() -> Result<OwnedFd, ConfigureError> {
    on_a_thread(|| {
        unshare_network().map_err(ConfigureError::Make)?;
        block_on(async {
            let links = Links::open()?;
            links.up(LOOPBACK, links.index_of(LOOPBACK).await?).await?;
            Ok(())
        })?;
        Ok(File::open("/proc/thread-self/ns/net").map_err(ConfigureError::Make)?.into())
    })
}

/// Brings a link of another network namespace up; it leads nowhere yet (see
/// [`lead_out`]). Blocks until it is done.
pub fn configure(namespace: BorrowedFd<'_>, interface: &Interface) -> Result<(), ConfigureError> {
    within(namespace, || {
        block_on(async {
            let links = Links::open()?;
            links.configure(links.index_of(&interface.name).await?, interface).await
        })
    })
}

/// Has what no other route is for leave a network namespace by these links'
/// gateways, and by no others. Blocks until it is done.
pub fn lead_out(namespace: BorrowedFd<'_>, interfaces: &[Interface]) -> Result<(), ConfigureError> {
    within(namespace, || block_on(async { Links::open()?.lead_all_out(interfaces, false).await }))
}

/// Does something in another network namespace, and waits for it.
pub(crate) fn within<T: Send>(
    namespace: BorrowedFd<'_>,
    work: impl FnOnce() -> Result<T, ConfigureError> + Send,
) -> Result<T, ConfigureError> {
    on_a_thread(|| {
        move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))
            .map_err(|error| ConfigureError::Enter(error.into()))?;
        work()
    })
}

/// Has a VM's network cards, which are this namespace's, be what they are to be
/// `now`. Needs a tokio runtime.
pub async fn configure_cards(before: &[Card], now: &[Card]) -> Result<(), ConfigureError> {
    let changed: Vec<&Card> = now.iter().filter(|card| card.interface.is_some() && !before.contains(card)).collect();
    let spare: Vec<&Card> = before.iter().filter(|card| card.interface.is_some() && !now.contains(card)).collect();
    if changed.is_empty() && spare.is_empty() {
        return Ok(());
    }
    let links = Links::open()?;
    let present = links.present().await?;
    let link_of = |mac: MacAddress| {
        let found = present.iter().find(|link| link.first_mac == mac.octets());
        found.ok_or(ConfigureError::Missing { mac })
    };
    for card in spare {
        let Present { index, name, .. } = link_of(card.mac)?;
        links.clear(*index).await?;
        set_ipv6(name, true)?;
    }
    // Another may have its name yet, which is down as well.
    for Present { index, name, first_mac } in &present {
        let is_for = |card: &&Card| card.interface.as_ref().is_some_and(|interface| interface.name == *name);
        let is_taken = changed.iter().copied().filter(is_for).any(|card| card.mac.octets() != **first_mac);
        if is_taken {
            links.rename(*index, &format!("{index}-")).await?;
        }
    }
    for Card { mac, interface } in &changed {
        let (index, Some(interface)) = (link_of(*mac)?.index, interface) else { continue };
        if interface.mac != *mac {
            links.give_mac(index, interface).await?;
        }
        links.rename(index, &interface.name).await?;
        links.configure(index, interface).await?;
    }
    let interfaces: Vec<Interface> = now.iter().filter_map(|card| card.interface.clone()).collect();
    links.lead_all_out(&interfaces, before.is_empty()).await
}

const LOOPBACK: &str = "lo";

impl Links {
    /// The same for a link of this one, by its number.
    async fn configure(&self, index: u32, interface: &Interface) -> Result<(), ConfigureError> {
        let Interface { name, mac: _, mtu, addresses, gateways: _ } = interface;
        if let Some(mtu) = mtu {
            let link = LinkUnspec::new_with_index(index).mtu(*mtu).build();
            self.handle.link().set(link).execute().await.map_err(LinkError::of(name, "given its MTU"))?;
        }
        // Otherwise it had an address of its own making, and asked who is there.
        if !addresses.is_empty() && !addresses.iter().any(|address| address.addr().is_ipv6()) {
            set_ipv6(name, false)?;
        }
        self.give(name, index, addresses).await?;
        Ok(self.up(name, index).await?)
    }

    /// `is_first` if nothing leads out yet.
    async fn lead_all_out(&self, interfaces: &[Interface], is_first: bool) -> Result<(), ConfigureError> {
        let mut wanted = Vec::new();
        for Interface { name, gateways, .. } in interfaces.iter().filter(|interface| !interface.gateways.is_empty()) {
            let index = self.index_of(name).await?;
            wanted.extend(gateways.iter().map(|gateway| (name, index, *gateway)));
        }
        // Two of a family cannot be there at once.
        let there = if is_first { Vec::new() } else { self.ways_out().await? };
        for (way, route) in &there {
            if !wanted.iter().any(|(_, index, gateway)| (*index, *gateway) == *way) {
                let removed = self.handle.route().del(route.clone()).execute().await;
                removed.map_err(LinkError::of("*", "kept from leading out"))?;
            }
        }
        for (name, index, gateway) in wanted {
            if !there.iter().any(|(way, _)| *way == (index, gateway)) {
                self.lead_out(name, index, gateway).await?;
            }
        }
        Ok(())
    }

    /// Has what no other route is for go there.
    async fn lead_out(&self, name: &str, index: u32, gateway: IpAddr) -> Result<(), LinkError> {
        let add = |message| self.handle.route().add(message).execute();
        let added = match gateway {
            IpAddr::V4(gateway) => {
                add(RouteMessageBuilder::<Ipv4Addr>::new().gateway(gateway).output_interface(index).build()).await
            }
            IpAddr::V6(gateway) => {
                add(RouteMessageBuilder::<Ipv6Addr>::new().gateway(gateway).output_interface(index).build()).await
            }
        };
        added.map_err(LinkError::of(name, "given a way out"))
    }
}

fn set_ipv6(link: &str, is_on: bool) -> Result<(), ConfigureError> {
    let setting = format!("/proc/sys/net/ipv6/conf/{link}/disable_ipv6");
    match fs::write(&setting, if is_on { "0" } else { "1" }) {
        // A kernel without it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        set => set.map_err(|source| ConfigureError::Setting { setting, source }),
    }
}

fn block_on<T>(work: impl Future<Output = Result<T, ConfigureError>>) -> Result<T, ConfigureError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    runtime.map_err(ConfigureError::Enter)?.block_on(work)
}

/// Only a thread as a whole can enter a network namespace, and this one stays
/// where it is.
fn on_a_thread<T: Send>(work: impl FnOnce() -> Result<T, ConfigureError> + Send) -> Result<T, ConfigureError> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("network".into());
        let thread = thread.spawn_scoped(scope, work).map_err(ConfigureError::Enter)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[expect(unsafe_code, reason = "unsharing descriptors would be unsafe")]
fn unshare_network() -> io::Result<()> {
    // SAFETY: no descriptors are unshared.
    Ok(unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?)
}
