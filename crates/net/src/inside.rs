//! A container's own end: its network namespace, and its links' addresses and
//! routes in there.

use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{BorrowedFd, OwnedFd};

use casemate_model::{Classify, ErrorClass};
use rtnetlink::{LinkUnspec, RouteMessageBuilder};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

use crate::links::{LinkError, Links};
use crate::{Interface, MacAddress};

#[derive(Debug, thiserror::Error)]
pub enum ConfigureError {
    #[error("a network namespace cannot be made")]
    Make(#[source] io::Error),
    #[error("the container's network namespace cannot be entered")]
    Enter(#[source] io::Error),
    #[error("there is no link with the hardware address {mac}")]
    Missing { mac: MacAddress },
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

/// Brings a link of another network namespace up. Blocks until it is done.
pub fn configure(namespace: BorrowedFd<'_>, interface: &Interface) -> Result<(), ConfigureError> {
    on_a_thread(|| {
        move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))
            .map_err(|error| ConfigureError::Enter(error.into()))?;
        block_on(async {
            let links = Links::open()?;
            links.configure(links.index_of(&interface.name).await?, interface).await
        })
    })
}

/// Does the same for links of this namespace that are there already, as a VM's
/// network cards: they are known by their hardware addresses. Needs a tokio runtime.
pub async fn configure_own(interfaces: &[Interface]) -> Result<(), ConfigureError> {
    if interfaces.is_empty() {
        return Ok(());
    }
    let links = Links::open()?;
    let present = links.by_hardware_address().await?;
    let mut indices = Vec::with_capacity(interfaces.len());
    for interface in interfaces {
        let found = present.iter().find(|link| link.mac == interface.mac.octets());
        let found = found.ok_or(ConfigureError::Missing { mac: interface.mac })?;
        if found.name != interface.name {
            // Another may have its name yet.
            links.rename(found.index, &format!("{}-", found.index)).await?;
        }
        indices.push(found.index);
    }
    for (interface, index) in interfaces.iter().zip(indices) {
        links.rename(index, &interface.name).await?;
        links.configure(index, interface).await?;
    }
    Ok(())
}

const LOOPBACK: &str = "lo";

impl Links {
    /// The same for a link of this one, by its number.
    async fn configure(&self, index: u32, interface: &Interface) -> Result<(), ConfigureError> {
        let Interface { name, mac: _, mtu, addresses, gateways } = interface;
        if let Some(mtu) = mtu {
            let link = LinkUnspec::new_with_index(index).mtu(*mtu).build();
            self.handle.link().set(link).execute().await.map_err(LinkError::of(name, "given its MTU"))?;
        }
        // Otherwise it had an address of its own making, and asked who is there.
        if !addresses.is_empty() && !addresses.iter().any(|address| address.addr().is_ipv6()) {
            disable_ipv6(name)?;
        }
        self.give(name, index, addresses).await?;
        self.up(name, index).await?;
        for gateway in gateways {
            self.lead_out(name, index, *gateway).await?;
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

fn disable_ipv6(link: &str) -> Result<(), ConfigureError> {
    let setting = format!("/proc/sys/net/ipv6/conf/{link}/disable_ipv6");
    match fs::write(&setting, "1") {
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
