//! The container's networks, as its keeper has them: links to bridges of the host
//! that are there already. What may pass them is the engine's to say, and a link
//! that the engine's firewall does not know passes nothing.

use std::cell::{OnceCell, RefCell};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use casemate_model::{ErrorClass, Failure, Interface};
use casemate_net::{
    Card, ConfigureError, LinkError, Links, Pair, Port, ResolverSockets, configure, lead_out, new_namespace,
};
use casemate_vm::Nic;
use casemate_wire::{Link, Network as Wanted, NetworkNamespace, Reconfigured, Rewired};

use crate::backend::Backend;
use crate::cards::Cards;
use crate::ports::Ports;
use crate::resolver::Resolver;
use crate::vm_mode::VmMode;

#[derive(Debug, Default)]
pub(crate) struct Network {
    /// Of the host. None until there is something to do there.
    links: OnceCell<Links>,
    /// The container's, under process isolation, where it has links.
    namespace: OnceCell<OwnedFd>,
    ports: Ports,
    /// Where something answers at the resolver's address.
    resolver: RefCell<Option<Resolver>>,
    cards: Cards,
    /// Names of the links' ends on the host, where those go only when they are removed.
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
                if let Err(failure) = network.set_up(wanted).await {
                    network.unwire_all().await;
                    return Err(failure);
                }
                Launched::Given(copy)
            }
        };
        Ok((network, launched))
    }

    async fn set_up(&self, wanted: &Wanted) -> Result<(), Failure> {
        for link in &wanted.links {
            self.wire(link).await.map_err(|error| Failure::from_error(&error))?;
        }
        self.lead_out(&wanted.links).map_err(|error| Failure::from_error(&error))?;
        self.answer_on_sockets(wanted.resolver.as_ref())
    }

    /// Under hyperv isolation, with the VM's network cards. Each link is there as
    /// long as its card is.
    pub(crate) async fn of_vm(wanted: &Wanted) -> Result<(Self, Vec<Nic>), Failure> {
        let network = Self::default();
        network.ports.set(&wanted.publications).await?;
        if wanted.links.is_empty() {
            return Ok((network, Vec::new()));
        }
        let host = network.host().map_err(|error| Failure::from_error(&error))?;
        let (cards, nics) = Cards::make(host, &wanted.links).await?;
        Ok((Self { cards, ..network }, nics))
    }

    /// What the guest is to know of them.
    pub(crate) fn cards(&self) -> Vec<Card> {
        self.cards.told()
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

    /// Under process isolation.
    fn answer_on_sockets(&self, wanted: Option<&casemate_wire::Resolver>) -> Result<(), Failure> {
        if let (Some(wanted), Some(namespace)) = (wanted, self.namespace.get()) {
            let sockets = ResolverSockets::open_in(namespace.as_fd());
            let sockets = sockets.map_err(|error| Failure::from_error(&error))?;
            self.resolver.replace(Some(Resolver::on_sockets(wanted, sockets)?));
        }
        Ok(())
    }

    /// Under hyperv isolation, when the agent can be asked.
    pub(crate) async fn answer_for(
        &self,
        vm: &VmMode,
        wanted: Option<&casemate_wire::Resolver>,
    ) -> Result<(), Failure> {
        if let Some(wanted) = wanted {
            self.resolver.replace(Some(Resolver::on_stream(wanted, vm.resolve().await?)));
        }
        Ok(())
    }

    /// Wires what is wanted and not there, and takes away what is not wanted: that
    /// first, since nobody in the container can hinder it.
    pub(crate) async fn rewire(&self, rewired: &Rewired, backend: &Backend) -> Result<(), Failure> {
        let Rewired { network: wanted, hosts, resolv_conf } = rewired;
        let (hosts, resolv_conf) = (hosts.clone(), resolv_conf.clone());
        self.unwire_all_but(&wanted.links, backend).await?;
        if let Some(resolver) = &*self.resolver.borrow() {
            resolver.set(wanted.resolver.as_ref());
        }
        self.ports.set(&wanted.publications).await?;
        match backend {
            Backend::Process(supervisor) => {
                if wanted.namespace == NetworkNamespace::Own && self.namespace.get().is_none() {
                    // One that began without links was made with its init.
                    let _ = self.namespace.set(supervisor.network_namespace()?);
                }
                self.wire_pairs(&wanted.links).await.map_err(|error| Failure::from_error(&error))?;
                supervisor.rewrite_etc(hosts, resolv_conf)?;
            }
            Backend::Vm(vm) => {
                let host = self.host().map_err(|error| Failure::from_error(&error))?;
                self.cards.plug(host, &wanted.links).await?;
                vm.reconfigure(&Reconfigured { cards: self.cards.told(), hosts, resolv_conf }).await?;
            }
        }
        if self.resolver.borrow().is_some() {
            return Ok(());
        }
        match backend {
            Backend::Process(_) => self.answer_on_sockets(wanted.resolver.as_ref()),
            Backend::Vm(vm) => self.answer_for(vm, wanted.resolver.as_ref()).await,
        }
    }

    async fn unwire_all_but(&self, wanted: &[Link], backend: &Backend) -> Result<(), Failure> {
        if matches!(backend, Backend::Vm(_)) {
            let host = self.host().map_err(|error| Failure::from_error(&error))?;
            return self.cards.pull_all_but(host, wanted).await;
        }
        let unwanted = |port: &String| !wanted.iter().any(|link| link.port == *port);
        let gone: Vec<String> = self.wired.borrow_mut().extract_if(.., |port| unwanted(port)).collect();
        for port in gone {
            self.unwire(&port).await.map_err(|error| Failure::from_error(&error))?;
        }
        Ok(())
    }

    async fn wire_pairs(&self, wanted: &[Link]) -> Result<(), ConfigureError> {
        for link in wanted {
            let is_there = self.wired.borrow().contains(&link.port);
            if !is_there {
                self.wire(link).await?;
            }
        }
        self.lead_out(wanted)
    }

    fn lead_out(&self, links: &[Link]) -> Result<(), ConfigureError> {
        let Some(namespace) = self.namespace.get() else { return Ok(()) };
        let interfaces: Vec<Interface> = links.iter().map(|link| link.interface.clone()).collect();
        lead_out(namespace.as_fd(), &interfaces)
    }

    /// A guest shuts down when it has nothing under way any more.
    pub(crate) fn stop_answering(&self) {
        self.resolver.take();
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

pub(crate) async fn port(links: &Links, link: &Link) -> Result<Port, LinkError> {
    let bridge = links.index_of(&link.bridge).await?;
    Ok(Port { bridge, mtu: link.interface.mtu, isolated: link.isolated })
}

fn unopened(path: &Path, error: &io::Error) -> Failure {
    Failure::new(ErrorClass::Internal, format!("cannot open the network {}: {error}", path.display()))
}
