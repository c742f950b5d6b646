//! One container, as the daemon knows it.
//!
//! ```text
//!   created ──start──▶ running ⇄ paused        removing: at any of them
//!      ▲                  │ (keeper gone)
//!      └── (never back)   ▼
//!                      exited ──(policy)──▶ restarting ──▶ running
//! ```

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use casemate_model::ContainerId;
use casemate_wire::Client;
use tokio::sync::{Mutex, oneshot, watch};
use tokio::task::AbortHandle;

use super::attach::Streams;
use super::health::Health;
use super::logs::Growth;
use super::restart::Backoff;
use crate::container::Container;

/// Docker's words for a container's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    Created,
    Running,
    Paused,
    Restarting,
    Removing,
    Exited,
    /// It could not be removed whole.
    Dead,
}

impl Status {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Removing => "removing",
            Self::Exited => "exited",
            Self::Dead => "dead",
        }
    }

    /// Whether its processes exist.
    pub fn is_up(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }
}

/// What others wait for.
#[derive(Clone, Debug)]
pub struct Life {
    pub status: Status,
    /// How often it has ended since the daemon knows it.
    pub exits: u64,
    pub exit_code: i32,
    pub error: Option<String>,
    pub removed: bool,
}

/// What exists while the container does not rest.
#[derive(Debug)]
pub(crate) enum Phase {
    /// Nothing of it runs.
    Resting,
    /// It may run already, which is not known here. [`Entry::changing`] is held.
    Starting,
    Up(Client),
    /// Between two runs.
    Pausing(AbortHandle),
}

#[derive(Debug)]
pub struct Entry {
    pub id: ContainerId,
    /// They never change.
    pub(crate) labels: Arc<BTreeMap<String, String>>,
    /// Its records, as they were last read or written.
    container: RefCell<Rc<Container>>,
    pub(crate) phase: RefCell<Phase>,
    pub(crate) life: watch::Sender<Life>,
    /// Held while its state is being changed; the changes come in turn.
    pub(crate) changing: Arc<Mutex<()>>,
    /// It is to be removed, started or not.
    pub(crate) condemned: Cell<bool>,
    /// Who wants its streams as soon as there are any.
    pub(crate) attaching: RefCell<Vec<oneshot::Sender<Streams>>>,
    pub(crate) backoff: Cell<Backoff>,
    pub(crate) health: Health,
    /// Shared by all.
    pub(super) growth: Rc<Growth>,
}

impl Entry {
    pub(super) fn new(container: Container, growth: Rc<Growth>) -> Self {
        let status = resting_status(&container);
        let life = Life {
            status,
            exits: 0,
            exit_code: container.state.exit_code.unwrap_or(0),
            error: container.state.error.clone(),
            removed: false,
        };
        Self {
            id: container.id.clone(),
            labels: Arc::new(container.record.labels.clone()),
            container: RefCell::new(Rc::new(container)),
            phase: RefCell::new(Phase::Resting),
            life: watch::channel(life).0,
            changing: Arc::default(),
            condemned: Cell::default(),
            attaching: RefCell::default(),
            backoff: Cell::default(),
            health: Health::default(),
            growth,
        }
    }

    pub fn container(&self) -> Rc<Container> {
        Rc::clone(&self.container.borrow())
    }

    pub(crate) fn set_container(&self, container: Container) {
        self.container.replace(Rc::new(container));
    }

    pub fn name(&self) -> String {
        self.container.borrow().name.to_string()
    }

    pub fn status(&self) -> Status {
        self.life.borrow().status
    }

    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Its life from here on.
    pub fn watch(&self) -> watch::Receiver<Life> {
        self.life.subscribe()
    }

    pub(crate) fn set_status(&self, status: Status) {
        self.life.send_modify(|life| life.status = status);
    }

    /// The connection to its keeper, while it has one.
    pub(crate) fn client(&self) -> Option<Client> {
        match &*self.phase.borrow() {
            Phase::Up(client) => Some(client.clone()),
            Phase::Resting | Phase::Starting | Phase::Pausing(_) => None,
        }
    }

    /// Waits for a start that is under way: whoever has read what the container
    /// writes knows that it runs, and may ask for things of one that does.
    pub(crate) async fn settled(&self) {
        let is_starting = matches!(&*self.phase.borrow(), Phase::Starting);
        if is_starting {
            drop(self.changing.lock().await);
        }
    }
}

/// Of one that nothing runs of.
pub(crate) fn resting_status(container: &Container) -> Status {
    match container.state.status.as_str() {
        "created" => Status::Created,
        _ => Status::Exited,
    }
}
