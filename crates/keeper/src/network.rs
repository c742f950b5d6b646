//! The container's networks, as its keeper has them: links to bridges of the host
//! that are there already. What may pass them is the engine's to say, and a link
//! that the engine's firewall does not know passes nothing.

use std::cell::{OnceCell, RefCell};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use casemate_model::{ErrorClass, Failure, Interface};
use casemate_net::{ConfigureError, LinkError, Links, Pair, Port, TapError, configure, new_namespace};
use casemate_vm::Nic;
use casemate_wire::{Link, Network as Wanted, NetworkNamespace};

use crate::ports::Ports;

#[derive(Debug, Default)]
pub(crate) struct Network {
    /// Of the host. None until there is something to do there.
    links: OnceCell<Links>,
    /// The container's, under process isolation, where it has links.
    namespace: OnceCell<OwnedFd>,
    ports: Ports,
    /// The same of a VM's cards: those go with the VM.
    cards: RefCell<Vec<String>>,
    /// Names of those links' ends on the host that go when they are removed.
    wired: RefCell<Vec<String>>,
}

impl Network {
    /// Under process isolation, with the namespace for the container's init. Makes
    /// all or nothing.
    pub(crate) async fn of_process(wanted: &Wanted) -> Result<(Self, casemate_launch::NetworkNamespace), Failure> {
        use casemate_launch::NetworkNamespace as Launched;
        let network = Self::default();
        // First: nothing is made for a container whose port somebody else has.
        network.ports.set(&wanted.publications).await?;
        let launched = match &wanted.namespace {
            NetworkNamespace::Host => Launched::Host,
            NetworkNamespace::At(path) => {
                let opened = File::open(path);
                Launched::Given(opened.map_err(|error| unopened(path, &error))?.into())
            }
            NetworkNamespace::Own if wanted.links.is_empty() => Launched::Own,
            NetworkNamespace::Own => {
                let namespace = new_namespace().map_err(|error| Failure::from_error(&error))?;
                let namespace = network.namespace.get_or_init(|| namespace);
                let copy = namespace.try_clone();
                let copy = copy.map_err(|error| Failure::new(ErrorClass::Internal, error.to_string()))?;
                for link in &wanted.links {
                    if let Err(error) = network.wire(link).await {
                        network.unwire_all().await;
                        return Err(Failure::from_error(&error));
                    }
                }
                Launched::Given(copy)
            }
        };
        Ok((network, launched))
    }

    /// Under hyperv isolation, with the VM's network cards. Each link is there as
    /// long as its card is.
    pub(crate) async fn of_vm(wanted: &Wanted) -> Result<(Self, Vec<Nic>), Failure> {
        let network = Self::default();
        network.ports.set(&wanted.publications).await?;
        let mut nics = Vec::with_capacity(wanted.links.len());
        if wanted.links.len() > Nic::MOST {
            return Err(Failure::new(
                ErrorClass::InvalidArgument,
                format!("a utility VM has at most {} network cards", Nic::MOST),
            ));
        }
        for link in &wanted.links {
            nics.push(network.card(link).await.map_err(|error| Failure::from_error(&error))?);
        }
        Ok((network, nics))
    }

    async fn card(&self, link: &Link) -> Result<Nic, TapError> {
        let links = self.host()?;
        let tap = links.tap(&link.port, port(links, link).await?).await?;
        links.forward(&link.port).await?;
        self.cards.borrow_mut().push(link.port.clone());
        Ok(Nic { mac: link.interface.mac, tap })
    }

    async fn wire(&self, link: &Link) -> Result<(), ConfigureError> {
        let links = self.host()?;
        let Some(namespace) = self.namespace.get().map(AsFd::as_fd) else { return Ok(()) };
        let Interface { name, mac, .. } = &link.interface;
        let port = port(links, link).await?;
        links.pair(&Pair { name: &link.port, port, inside: name, namespace, mac: *mac }).await?;
        self.wired.borrow_mut().push(link.port.clone());
        configure(namespace, &link.interface)?;
        Ok(links.forward(&link.port).await?)
    }

    /// Wires what is wanted and not there, and takes away what is not wanted.
    pub(crate) async fn rewire(&self, wanted: &Wanted) -> Result<(), Failure> {
        let unwanted = |port: &String| !wanted.links.iter().any(|link| link.port == *port);
        let gone: Vec<String> = self.wired.borrow_mut().extract_if(.., |port| unwanted(port)).collect();
        for port in gone {
            self.unwire(&port).await.map_err(|error| Failure::from_error(&error))?;
        }
        let pulled: Vec<String> = self.cards.borrow_mut().extract_if(.., |port| unwanted(port)).collect();
        for port in pulled {
            let pulled = async { self.host()?.pull(&port).await };
            pulled.await.map_err(|error| Failure::from_error(&error))?;
        }
        for link in &wanted.links {
            let is_there = self.wired.borrow().contains(&link.port) || self.cards.borrow().contains(&link.port);
            if !is_there {
                if self.namespace.get().is_none() {
                    return Err(no_more_cards());
                }
                self.wire(link).await.map_err(|error| Failure::from_error(&error))?;
            }
        }
        self.ports.set(&wanted.publications).await
    }

    /// Takes the links away from the host.
    pub(crate) async fn unwire_all(&self) {
        for port in self.wired.take() {
            if let Err(error) = self.unwire(&port).await {
                tracing::error!(error = casemate_model::chain(&error), "link left behind");
            }
        }
    }

    async fn unwire(&self, port: &str) -> Result<(), LinkError> {
        self.host()?.remove(port).await
    }

    fn host(&self) -> Result<&Links, LinkError> {
        if self.links.get().is_none() {
            let _ = self.links.set(Links::open()?);
        }
        Ok(self.links.get_or_init(|| unreachable!("set above")))
    }
}

async fn port(links: &Links, link: &Link) -> Result<Port, LinkError> {
    let bridge = links.index_of(&link.bridge).await?;
    Ok(Port { bridge, mtu: link.interface.mtu, isolated: link.isolated })
}

/// Cards cannot be put into a VM that runs.
fn no_more_cards() -> Failure {
    Failure {
        hint: Some("stop it, connect it, and start it again".to_owned()),
        ..Failure::new(
            ErrorClass::Conflict,
            "the container has no network that could be added to: a utility VM has the network cards it started with",
        )
    }
}

fn unopened(path: &Path, error: &io::Error) -> Failure {
    Failure::new(ErrorClass::Internal, format!("cannot open the network {}: {error}", path.display()))
}
