//! Networks as users make them, and containers joining and leaving them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;

use casemate_model::{ContainerId, Failure};
use casemate_net::DriverOptions;
use casemate_record::file::{self, Durability};
use casemate_record::{ContainerRecord, NetworkRecord, NetworkingRecord, WantedEndpointRecord};
use casemate_wire::Rewired;

use super::entry::{Entry, Status};
use super::events::Subject;
use super::kernel::{FirewallState, Kernel, KernelError};
use super::{Daemon, blocking, to_its_end};
use crate::container::Container;
use crate::error::{OpenError, StartError};
use crate::networks::{
    Attachment, ConnectError, CreateNetworkRequest, Mode, NetworkError, Networks, Wiring, check_ports,
};
use crate::{CreateRequest, options};

/// What Docker's client says where the user said nothing.
const DEFAULT: &str = "default";

impl Daemon {
    /// Reads what there is of networks, and what containers that run have of them.
    pub(super) async fn open_networks(
        engine: &crate::Engine,
        containers: &[Container],
    ) -> Result<(Networks, Kernel), OpenError> {
        let layout = engine.layout().clone();
        let in_use = Kernel::in_use().await.unwrap_or_else(|error| {
            tracing::warn!(error = casemate_model::chain(&error), "cannot tell what the host has routes to");
            Vec::new()
        });
        let kernel = Kernel::new(layout.networks_up());
        let settings = engine.settings().networks.clone();
        let mut networks = Networks::open(layout, settings, &in_use).map_err(OpenError::Networks)?;
        for container in containers.iter().filter(|container| container.has_keeper()) {
            match file::read(&container.paths.attachments()) {
                Ok(record) => networks.restore(container, &record),
                Err(error) if error.is_missing() => {}
                // What nobody knows of passes nothing.
                Err(error) => {
                    let error = casemate_model::chain(&error);
                    tracing::warn!(container = %container.id.short(), error, "its networks are not known");
                }
            }
        }
        Ok((networks, kernel))
    }

    /// Has the kernel have what containers that run already have.
    pub(super) async fn take_over_networks(self: &Rc<Self>) {
        // Somebody may have ended while there was no daemon.
        if !self.kernel.was_used() {
            return;
        }
        let in_use: Vec<String> = self.networks.borrow().in_use().collect();
        if let Err(error) = self.realize(&in_use).await {
            tracing::error!(error = casemate_model::chain(&error), "containers are without networks");
        }
    }

    /// Bridges for these networks, by id, and the firewall as it is to be.
    async fn realize(self: &Rc<Self>, networks: &[String]) -> Result<(), NetworkError> {
        for id in networks {
            let (name, network) = match self.networks.borrow().find(id) {
                Ok(known) => (known.record.name.clone(), known.network.clone()),
                Err(_) => continue,
            };
            if let Some(network) = network {
                self.kernel.bring_up(&network).await.map_err(|error| kernel_error(&name, error))?;
            }
        }
        self.apply().await.map_err(|error| kernel_error(networks.first().map_or("", |id| id), error))
    }

    async fn apply(self: &Rc<Self>) -> Result<(), KernelError> {
        self.kernel.apply(|| self.networks.borrow().policy()).await?;
        if !self.watched.replace(true) {
            let this = Rc::clone(self);
            tokio::task::spawn_local(async move {
                if let Err(error) = this.kernel.watch(|| this.networks.borrow().policy()).await {
                    tracing::error!(error = casemate_model::chain(&error), "the firewall is not watched");
                    this.watched.set(false);
                }
            });
        }
        Ok(())
    }

    /// What a request leaves to the daemon, and whether there are such networks.
    pub(super) fn settle_networks(&self, request: &mut CreateRequest) -> Result<(), ConnectError> {
        let isolation = request.isolation.unwrap_or_else(|| self.engine.default_isolation());
        let networks = self.networks.borrow();
        let default = networks.settings().default_of(isolation).to_owned();
        let settle = |name: &str| if name.is_empty() || name == DEFAULT { default.clone() } else { name.to_owned() };
        let mode = settle(&request.host.network_mode);
        request.host.network_mode = match Mode::of(&mode) {
            Mode::Network(name) => networks.find(name)?.record.name.clone(),
            Mode::Container(name) => {
                let other = self.find(name).map_err(|error| ConnectError::Invalid(error.to_string()))?;
                format!("container:{}", other.id)
            }
            Mode::None | Mode::Host => mode,
        };
        let NetworkingRecord { endpoints, .. } = &mut request.networking;
        let given = std::mem::take(endpoints);
        for (name, wanted) in given {
            endpoints.insert(networks.find(&settle(&name))?.record.name.clone(), wanted);
        }
        check_ports(&request.networking)?;
        if let Mode::Container(_) = Mode::of(&request.host.network_mode) {
            check_shared(request)?;
        }
        networks.check(isolation, &request.host.network_mode, &request.networking)
    }

    /// Gives a container that is about to start what it is to have of networks. It
    /// has nothing of it before [`Self::open_way`].
    pub(super) fn attach_networks(&self, container: &Container) -> Result<(Wiring, Attachment), StartError> {
        let joined = self.joined(container).map_err(StartError::Network)?;
        let mut networks = self.networks.borrow_mut();
        let attachment = networks.attach(container).map_err(StartError::Network)?.clone();
        let wiring = match joined {
            Some((other, namespace)) => Self::wiring_of(&networks, &other)?.joined(namespace),
            None => Self::wiring_of(&networks, container)?,
        };
        Ok((wiring, attachment))
    }

    fn wiring_of(networks: &Networks, container: &Container) -> Result<Wiring, StartError> {
        let extra_hosts = options::extra_hosts(&container.record.host).map_err(StartError::Option)?;
        Ok(networks.wiring(container, &extra_hosts))
    }

    /// What one that is not to run is told.
    pub(super) fn wiring_at_rest(&self, container: &Container) -> Result<Wiring, StartError> {
        let wiring = Self::wiring_of(&self.networks.borrow(), container)?;
        Ok(Wiring { network: casemate_wire::Network::default(), ..wiring })
    }

    /// The container whose network namespace it shares, and that.
    fn joined(&self, container: &Container) -> Result<Option<(Rc<Container>, PathBuf)>, ConnectError> {
        let Mode::Container(id) = Mode::of(&container.record.host.network_mode) else { return Ok(None) };
        let not_running = || ConnectError::NotRunning { name: id.to_owned() };
        let other = self.find(id).map_err(|error| ConnectError::Invalid(error.to_string()))?;
        let other = other.container();
        if other.isolation == casemate_model::Isolation::Hyperv {
            let instead = "use a network that both are on";
            return Err(ConnectError::Hyperv { network: format!("--network container:{}", other.name), instead });
        }
        let pid = other.state.pid.filter(|_| other.state.is_running()).ok_or_else(not_running)?;
        Ok(Some((other, format!("/proc/{pid}/ns/net").into())))
    }

    /// Has the kernel know of what was attached. Its link may be there before: it
    /// passes nothing until then.
    pub(super) async fn open_way(self: &Rc<Self>, attachment: &Attachment) -> Result<(), StartError> {
        if attachment.ends.is_empty() {
            return Ok(());
        }
        self.set_way(attachment).await
    }

    async fn set_way(self: &Rc<Self>, attachment: &Attachment) -> Result<(), StartError> {
        self.realize_bridges(attachment).await?;
        self.write_names(attachment).await;
        self.apply().await.map_err(|error| StartError::Network(kernel_error("", error).into()))
    }

    /// What links are put on.
    pub(super) async fn realize_bridges(self: &Rc<Self>, attachment: &Attachment) -> Result<(), StartError> {
        for end in &attachment.ends {
            let (name, network) = match self.networks.borrow().find(&end.network) {
                Ok(known) => (known.record.name.clone(), known.network.clone()),
                Err(error) => return Err(StartError::Network(error.into())),
            };
            if let Some(network) = network {
                let up = self.kernel.bring_up(&network).await;
                up.map_err(|error| StartError::Network(kernel_error(&name, error).into()))?;
            }
        }
        Ok(())
    }

    /// Others find it by its new name from now on.
    pub(super) async fn rename_on_networks(&self, entry: &Entry) {
        let renamed = self.networks.borrow_mut().rename(&entry.container()).cloned();
        if let Some(attachment) = renamed {
            self.write_names(&attachment).await;
        }
    }

    async fn write_names(&self, attachment: &Attachment) {
        for end in attachment.ends.iter().filter(|end| !end.names.is_empty()) {
            let path = self.engine.layout().network_names(&end.network);
            let _turn = self.naming.lock().await;
            let names = match &*self.networks.borrow() {
                networks if networks.find(&end.network).is_ok() => networks.names(&end.network),
                _ => continue,
            };
            if let Err(error) = blocking(move || file::write(&path, &names, Durability::Ordered)).await {
                tracing::error!(error = casemate_model::chain(&error), "names of containers are not up to date");
            }
        }
    }

    /// One that has ended has nothing of networks.
    pub(super) async fn detach_networks(self: &Rc<Self>, entry: &Entry) {
        let Some(attachment) = self.networks.borrow_mut().detach(&entry.id) else { return };
        if attachment.ends.is_empty() {
            return;
        }
        // Of a keeper that was killed there may be some still.
        self.kernel.remove_links(attachment.ends.iter().map(|end| end.endpoint.link())).await;
        self.write_names(&attachment).await;
        if let Err(error) = self.apply().await {
            tracing::error!(
                error = casemate_model::chain(&error),
                "the firewall has rules of a container that is gone"
            );
        }
        for end in &attachment.ends {
            self.note_network("disconnect", &end.network, &entry.id);
        }
    }

    pub(super) fn note_connections(&self, attachment: &Attachment, container: &ContainerId) {
        for end in &attachment.ends {
            self.note_network("connect", &end.network, container);
        }
    }

    fn note_network(&self, action: &str, network: &str, container: &ContainerId) {
        let networks = self.networks.borrow();
        let Ok(known) = networks.find(network) else { return };
        let attributes =
            [("container", container.as_str()), ("name", &known.record.name), ("type", &known.record.driver)];
        self.emit_network(action, network, &attributes);
    }

    fn emit_network(&self, action: &str, network: &str, attributes: &[(&str, &str)]) {
        let attributes: BTreeMap<_, _> =
            attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.events.emit(Subject::Network, action, network, attributes);
    }

    /// Makes a network, in the kernel as well. Returns its record.
    pub async fn create_network(self: &Rc<Self>, request: CreateNetworkRequest) -> Result<NetworkRecord, NetworkError> {
        let this = Rc::clone(self);
        to_its_end(async move {
            let name = request.name.clone();
            let in_use = Kernel::in_use().await.map_err(|error| kernel_error(&name, error))?;
            let mut request = request;
            if let Some(bridge) = DriverOptions::of(&request.options)?.bridge {
                let is_there = this.kernel.has_link(&bridge).await;
                request.bridge_is_given = is_there.map_err(|error| kernel_error(&name, error))?;
            }
            let (record, network) = {
                let mut networks = this.networks.borrow_mut();
                let known = networks.create(request, &in_use)?;
                (known.record.clone(), known.network.clone())
            };
            if let Some(network) = network
                && let Err(error) = this.kernel.bring_up(&network).await
            {
                // The first error is the one to tell.
                if !record.bridge_is_given {
                    this.kernel.take_down(&network).await.ok();
                }
                this.networks.borrow_mut().remove(&record.id).ok();
                return Err(kernel_error(&name, error));
            }
            this.apply().await.map_err(|error| kernel_error(&name, error))?;
            this.emit_network("create", &record.id, &[("name", &record.name), ("type", &record.driver)]);
            Ok(record)
        })
        .await
    }

    pub async fn remove_network(self: &Rc<Self>, text: &str) -> Result<NetworkRecord, NetworkError> {
        let (this, text) = (Rc::clone(self), text.to_owned());
        to_its_end(async move {
            let network = this.networks.borrow().find(&text)?.network.clone();
            let record = this.networks.borrow_mut().remove(&text)?;
            if let Some(network) = network.filter(|_| !record.bridge_is_given) {
                this.kernel.take_down(&network).await.map_err(|error| kernel_error(&record.name, error))?;
            }
            {
                let _turn = this.naming.lock().await;
                std::fs::remove_file(this.engine.layout().network_names(&record.id)).ok();
            }
            this.apply().await.map_err(|error| kernel_error(&record.name, error))?;
            this.emit_network("destroy", &record.id, &[("name", &record.name), ("type", &record.driver)]);
            Ok(record)
        })
        .await
    }

    /// Gives a container an end of a network, at once if it runs.
    pub async fn connect(
        self: &Rc<Self>,
        entry: &Rc<Entry>,
        network: &str,
        wanted: WantedEndpointRecord,
    ) -> Result<(), ConnectError> {
        let (this, entry, network) = (Rc::clone(self), Rc::clone(entry), network.to_owned());
        to_its_end(async move {
            let _changing = entry.changing.lock().await;
            let (container, name) = this.checked_for_change(&entry, &network)?;
            let ContainerRecord { host, networking, .. } = &container.record;
            let is_private = Mode::of(&host.network_mode) == Mode::None && !networking.left_main;
            if is_private || Mode::of(&name) == Mode::None {
                return Err(ConnectError::Private);
            }
            if this.is_on(&container, &name) {
                return Err(ConnectError::Already { name: entry.name(), network: name });
            }
            let mut record = container.record.clone();
            record.networking.endpoints.insert(name.clone(), wanted.clone());
            this.networks.borrow().check(container.isolation, &record.host.network_mode, &record.networking)?;
            this.networks.borrow_mut().connect(&container, &name, &wanted)?;
            // Before it has it: a daemon that comes after is to know how far it may go.
            this.keep_networking(&entry, record).await?;
            if let Err(error) = this.rewire(&entry, &container).await {
                this.networks.borrow_mut().disconnect(&container, &name).ok();
                this.rewire(&entry, &container).await.ok();
                this.keep_networking(&entry, container.record.clone()).await?;
                return Err(error);
            }
            let id = this.networks.borrow().find(&name)?.record.id.clone();
            this.note_network("connect", &id, &entry.id);
            Ok(())
        })
        .await
    }

    pub async fn disconnect(self: &Rc<Self>, entry: &Rc<Entry>, network: &str) -> Result<(), ConnectError> {
        let (this, entry, network) = (Rc::clone(self), Rc::clone(entry), network.to_owned());
        to_its_end(async move {
            let _changing = entry.changing.lock().await;
            let (container, name) = this.checked_for_change(&entry, &network)?;
            if !this.is_on(&container, &name) {
                return Err(ConnectError::NotConnected { name: entry.name(), network: name });
            }
            let mut record = container.record.clone();
            record.networking.endpoints.remove(&name);
            record.networking.left_main |= record.host.network_mode == name;
            let before = this.networks.borrow().attachment(&entry.id).cloned();
            this.networks.borrow_mut().disconnect(&container, &name)?;
            if let Err(error) = this.rewire(&entry, &container).await {
                let (container, error) = (entry.id.short(), casemate_model::chain(&error));
                tracing::warn!(%container, error, "the container does not know that it is disconnected");
            }
            if let Some(before) = before {
                this.write_names(&before).await;
            }
            this.keep_networking(&entry, record).await?;
            let id = this.networks.borrow().find(&name)?.record.id.clone();
            this.note_network("disconnect", &id, &entry.id);
            Ok(())
        })
        .await
    }

    /// Whether it has an end of the network, or is to have one when it runs.
    fn is_on(&self, container: &Container, network: &str) -> bool {
        let networks = self.networks.borrow();
        let has_links = networks.find(network).is_ok_and(|known| known.network.is_some());
        match has_links && networks.attachment(&container.id).is_some() {
            true => networks.end_of(&container.id, network).is_some(),
            false => container.record.is_to_be_on(network),
        }
    }

    /// The container, and the network's name. In Docker's words (moby
    /// `daemon/container_operations.go`).
    fn checked_for_change(&self, entry: &Entry, network: &str) -> Result<(Rc<Container>, String), ConnectError> {
        if matches!(entry.status(), Status::Removing | Status::Dead) {
            return Err(ConnectError::Invalid(format!(
                "container {} is marked for removal and cannot be connected or disconnected to the network",
                entry.name()
            )));
        }
        let container = entry.container();
        if entry.status() == Status::Paused && container.isolation == casemate_model::Isolation::Hyperv {
            return Err(ConnectError::Paused { name: entry.name() });
        }
        let name = self.networks.borrow().find(network)?.record.name.clone();
        match (Mode::of(&container.record.host.network_mode), Mode::of(&name)) {
            (Mode::Container(_), _) => Err(ConnectError::Shares),
            (Mode::Host, _) | (_, Mode::Host) => Err(ConnectError::Host),
            _ => Ok((container, name)),
        }
    }

    async fn keep_networking(&self, entry: &Entry, record: ContainerRecord) -> Result<(), ConnectError> {
        let (engine, container) = (std::sync::Arc::clone(&self.engine), entry.container().as_ref().clone());
        let container = blocking(move || engine.rewrite(container, record)).await.map_err(ConnectError::Record)?;
        entry.set_container(container);
        Ok(())
    }

    /// Has one that runs have what it is to have now.
    async fn rewire(self: &Rc<Self>, entry: &Entry, container: &Container) -> Result<(), ConnectError> {
        let Some(client) = entry.client() else { return Ok(()) };
        let Some(attachment) = self.networks.borrow().attachment(&entry.id).cloned() else { return Ok(()) };
        let as_connect = |error| match error {
            StartError::Network(error) => error,
            error => ConnectError::Refused(Failure::from_error(&error)),
        };
        let wiring = Self::wiring_of(&self.networks.borrow(), container).map_err(as_connect)?;
        self.realize_bridges(&attachment).await.map_err(as_connect)?;
        let Wiring { network, hosts, resolv_conf } = wiring;
        let rewired = client.rewire(&Rewired { network, hosts, resolv_conf }).await;
        // Whatever the container made of it: what it has no more is not let pass.
        self.set_way(&attachment).await.map_err(as_connect)?;
        let (path, record) = (container.paths.attachments(), attachment.record());
        blocking(move || file::write(&path, &record, Durability::Ordered)).await.map_err(ConnectError::Record)?;
        rewired.map_err(|error| ConnectError::Refused(error.into()))
    }

    /// Whether the kernel's rules are what [`Networks::policy`] says.
    pub async fn firewall_state(&self) -> FirewallState {
        self.kernel.state(|| self.networks.borrow().policy(), self.watched.get()).await
    }

    /// Rules that are nobody's in particular.
    pub fn rules_of_host(&self) -> Vec<casemate_net::Explained> {
        self.kernel.rules_of_host()
    }

    /// All networks, for reading.
    pub fn networks(&self) -> std::cell::Ref<'_, Networks> {
        self.networks.borrow()
    }
}

/// What is the other container's to say. In Docker's words (moby `runconfig`,
/// `validateNetContainerMode`).
fn check_shared(request: &CreateRequest) -> Result<(), ConnectError> {
    let CreateRequest { hostname, host, networking, .. } = request;
    let conflicts = [
        (hostname.as_ref().is_some_and(|name| !name.is_empty()), "hostname and the network mode"),
        (!networking.links.is_empty(), "container type network can't be used with links"),
        (!host.dns.is_empty(), "dns and the network mode"),
        (!host.extra_hosts.is_empty(), "custom host-to-IP mapping and the network mode"),
        (
            networking.publish_all || !networking.published.is_empty(),
            "port publishing and the container type network mode",
        ),
        (!networking.exposed.is_empty(), "port exposing and the container type network mode"),
    ];
    match conflicts.into_iter().find(|(is_there, _)| *is_there) {
        Some((_, what)) => Err(ConnectError::Invalid(format!("conflicting options: {what}"))),
        None => Ok(()),
    }
}

fn kernel_error(name: &str, error: KernelError) -> NetworkError {
    NetworkError::Kernel { name: name.to_owned(), source: Box::new(error) }
}
