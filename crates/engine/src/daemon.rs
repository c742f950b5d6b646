//! The daemon's engine: all containers in memory, and what becomes of them.
//!
//! Holds no container alive: each has a keeper, and the records on disk tell
//! what there is. Killed and started again, the daemon finds its containers by
//! those two ([`Daemon::open`]). Single-threaded, on a `LocalSet`; what blocks
//! is done in threads.

mod attach;
mod commit;
mod entry;
mod events;
mod exec;
mod files;
mod health;
mod kernel;
mod lifecycle;
mod logs;
mod networks;
mod resources;
mod restart;
mod watch;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use casemate_image::Puller;
use casemate_model::{Classify, ContainerId, ContainerName};
use tokio::sync::Mutex;

pub use attach::Streams;
pub use commit::CommitRequest;
pub use entry::{Entry, Life, Status};
pub use events::{Event, Events, Subject};
pub use exec::{Exec, ExecRequest, ExecState};
pub use files::FilesAccess;
pub use health::{HealthReport, HealthStatus, Probe};
pub use kernel::{FirewallState, KernelError};
pub use logs::{LogItem, LogRequest};
pub use resources::UpdateRequest;
pub use restart::{InvalidRestartPolicy, RestartPolicy};

use crate::container::Listing;
use crate::error::{CreateError, FindError, OpenError};
use crate::networks::Networks;
use crate::{Engine, Settings, names};

/// How long the daemon waits for its containers' keepers before it serves.
const ADOPTION: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub struct Daemon {
    engine: Arc<Engine>,
    containers: RefCell<BTreeMap<ContainerId, Rc<Entry>>>,
    /// Who has each name, also while its container is being made.
    names: RefCell<HashMap<ContainerName, Option<ContainerId>>>,
    execs: RefCell<exec::Execs>,
    events: Events,
    puller: Puller,
    log_growth: Rc<logs::Growth>,
    networks: RefCell<Networks>,
    kernel: kernel::Kernel,
    /// Whether somebody looks after the firewall.
    watched: Cell<bool>,
    /// Held while files with names are written.
    naming: Mutex<()>,
}

impl Daemon {
    /// Opens the directories and takes over what is there: containers that run
    /// are watched, those whose policy says so are started again. On a
    /// `LocalSet`.
    pub async fn open(settings: Settings) -> Result<Rc<Self>, OpenError> {
        let engine = Arc::new(Engine::open(settings)?);
        let Listing { containers, damaged } = engine.list().map_err(OpenError::Containers)?;
        for error in damaged {
            let hint = error.hint().unwrap_or_default();
            tracing::warn!(error = casemate_model::chain(&error), hint, "container left out");
        }
        let client = casemate_registry::Client::new(engine.settings().registries.clone());
        let puller = Puller::new(engine.images().clone(), client, engine.settings().max_downloads);
        let (networks, kernel) = Self::open_networks(&engine, &containers).await?;
        let daemon = Rc::new(Self {
            networks: networks.into(),
            kernel,
            watched: Cell::default(),
            naming: Mutex::default(),
            engine,
            puller,
            containers: RefCell::default(),
            names: RefCell::default(),
            execs: RefCell::default(),
            events: Events::new(),
            log_growth: Rc::default(),
        });
        for container in containers {
            daemon.names.borrow_mut().insert(container.name.clone(), Some(container.id.clone()));
            let entry = Rc::new(Entry::new(container, Rc::clone(&daemon.log_growth)));
            daemon.containers.borrow_mut().insert(entry.id.clone(), entry);
        }
        daemon.take_over_networks().await;
        let adopted: Vec<_> = daemon
            .entries()
            .into_iter()
            .map(|entry| tokio::task::spawn_local(Rc::clone(&daemon).adopt(entry)))
            .collect();
        // One keeper that does not answer keeps neither the others nor the daemon.
        let all = async {
            for adopted in adopted {
                adopted.await.ok();
            }
        };
        if tokio::time::timeout(ADOPTION, all).await.is_err() {
            tracing::warn!("containers whose keepers have not answered yet are taken over when they do");
        }
        let entries = daemon.entries();
        if !entries.is_empty() {
            let running = entries.iter().filter(|entry| entry.status().is_up()).count();
            tracing::info!(containers = entries.len(), running, "containers taken over");
        }
        Ok(daemon)
    }

    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    pub fn events(&self) -> &Events {
        &self.events
    }

    pub fn puller(&self) -> &Puller {
        &self.puller
    }

    /// Says what happened to an image.
    pub fn note_image(&self, action: &str, id: &str, name: &str) {
        self.events.emit(Subject::Image, action, id, BTreeMap::from([("name".to_owned(), name.to_owned())]));
    }

    /// All containers, newest first.
    pub fn entries(&self) -> Vec<Rc<Entry>> {
        let mut entries: Vec<_> = self.containers.borrow().values().cloned().collect();
        entries.sort_by_cached_key(|entry| std::cmp::Reverse(entry.container().record.created.clone()));
        entries
    }

    /// The container of this id, name, or unambiguous beginning of an id.
    pub fn find(&self, text: &str) -> Result<Rc<Entry>, FindError> {
        let containers = self.containers.borrow();
        let not_found = || FindError::NotFound { name: text.to_owned() };
        if let Some(entry) = text.parse().ok().and_then(|id: ContainerId| containers.get(&id)) {
            return Ok(Rc::clone(entry));
        }
        let named = text.parse().ok().and_then(|name: ContainerName| self.names.borrow().get(&name).cloned().flatten());
        if let Some(entry) = named.and_then(|id| containers.get(&id)) {
            return Ok(Rc::clone(entry));
        }
        if text.is_empty() {
            return Err(not_found());
        }
        let mut matching = containers.values().filter(|entry| entry.id.as_str().starts_with(text));
        match (matching.next(), matching.next()) {
            (Some(entry), None) => Ok(Rc::clone(entry)),
            (Some(_), Some(_)) => Err(FindError::Ambiguous { name: text.to_owned() }),
            _ => Err(not_found()),
        }
    }

    /// Takes a name out of those that are free: this one, or any.
    fn reserve(&self, wanted: Option<&ContainerName>) -> Result<ContainerName, CreateError> {
        let mut names = self.names.borrow_mut();
        let name = match wanted {
            Some(name) => match names.get(name) {
                Some(owner) => {
                    let id = owner.as_ref().map_or_else(String::new, ToString::to_string);
                    return Err(CreateError::NameTaken { name: name.to_string(), id });
                }
                None => name.clone(),
            },
            None => names::random(|name| name.parse().is_ok_and(|name: ContainerName| names.contains_key(&name))),
        };
        names.insert(name.clone(), None);
        Ok(name)
    }

    /// Says what was done with a container from outside: `attach`, `export`.
    pub fn note_use(&self, entry: &Entry, action: &str) {
        self.note(entry, action, []);
    }

    /// Says what happened to a container.
    fn note<const N: usize>(&self, entry: &Entry, action: impl Into<String>, attributes: [(&str, String); N]) {
        let container = entry.container();
        let of_all = [("image", container.record.image.name.clone()), ("name", container.name.to_string())];
        let attributes = of_all.into_iter().chain(attributes).map(|(name, value)| (name.to_owned(), value)).collect();
        let labels = Arc::clone(&entry.labels);
        self.events.emit_labelled(Subject::Container, action.into(), entry.id.as_str(), attributes, labels);
    }
}

/// Clears up after a keeper whose connection is gone, and reaps it. Nobody waits
/// for its last moments: another client may not take its last answer.
async fn let_go(engine: &Arc<Engine>, id: &ContainerId) {
    if let Some(mut keeper) = engine.take_keeper(id) {
        tokio::task::spawn_blocking(move || keeper.wait());
    }
    let (engine, of) = (Arc::clone(engine), id.clone());
    if let Err(error) = blocking(move || engine.reconcile_gone(&of)).await {
        tracing::warn!(container = %id.short(), error = casemate_model::chain(&error), "not cleared up");
    }
}

/// Runs in a thread what would keep all others waiting.
async fn blocking<T: Send + 'static, E: Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Runs a change to its end, whatever becomes of who asked for it.
async fn to_its_end<T: 'static, E: 'static>(change: impl Future<Output = Result<T, E>> + 'static) -> Result<T, E> {
    match tokio::task::spawn_local(change).await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
