//! A container's own end: addresses and routes, in its network namespace.

use std::io;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;

use ipnet::IpNet;
use rtnetlink::{LinkUnspec, RouteMessageBuilder};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::links::{LinkError, Links};

/// What a container's link is to be.
#[derive(Clone, Debug)]
pub struct Interface {
    pub name: String,
    pub addresses: Vec<IpNet>,
    /// At most one of each family.
    pub gateways: Vec<IpAddr>,
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigureError {
    #[error("the container's network namespace cannot be entered")]
    Enter(#[source] io::Error),
    #[error(transparent)]
    Link(#[from] LinkError),
}

/// Brings a link of another network namespace up. Takes a thread, since only a
/// thread as a whole can enter one; blocks until it is done.
pub fn configure(namespace: BorrowedFd<'_>, interface: &Interface) -> Result<(), ConfigureError> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("configure-link".into());
        let work = || {
            move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))
                .map_err(|error| ConfigureError::Enter(error.into()))?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
            runtime.map_err(ConfigureError::Enter)?.block_on(configure_here(interface))
        };
        let thread = thread.spawn_scoped(scope, work).map_err(ConfigureError::Enter)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

async fn configure_here(interface: &Interface) -> Result<(), ConfigureError> {
    let Interface { name, addresses, gateways } = interface;
    let links = Links::open().map_err(ConfigureError::Enter)?;
    let index = links.index_of(name).await?;
    links.give(name, index, addresses).await?;
    let up = LinkUnspec::new_with_index(index).up().build();
    links.handle.link().set(up).execute().await.map_err(LinkError::of(name, "brought up"))?;
    for gateway in gateways {
        let failed = LinkError::of(name, "given a way out");
        let add = |message| links.handle.route().add(message).execute();
        match gateway {
            IpAddr::V4(gateway) => {
                let route = RouteMessageBuilder::<std::net::Ipv4Addr>::new().gateway(*gateway).output_interface(index);
                add(route.build()).await.map_err(failed)?;
            }
            IpAddr::V6(gateway) => {
                let route = RouteMessageBuilder::<std::net::Ipv6Addr>::new().gateway(*gateway).output_interface(index);
                add(route.build()).await.map_err(failed)?;
            }
        }
    }
    Ok(())
}
