//! What happened, for those who watch: Docker's `events`.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::broadcast;

/// How many past events are kept for `since`, as in Docker.
const KEPT: usize = 256;

/// A watcher that falls further behind than this misses events, as in Docker.
const BACKLOG: usize = 1024;

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    Container,
    Image,
    Network,
    Daemon,
}

impl Subject {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Image => "image",
            Self::Network => "network",
            Self::Daemon => "daemon",
        }
    }
}

#[derive(Clone, Debug)]
pub struct Event {
    pub subject: Subject,
    /// Docker's word for it: `create`, `start`, `die`, `exec_create: sh -c x`.
    pub action: String,
    pub id: String,
    attributes: BTreeMap<String, String>,
    /// Attributes too, but for those above: the container's own, which all its
    /// events share.
    labels: Arc<BTreeMap<String, String>>,
    pub time: Timestamp,
}

impl Event {
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.get(name).or_else(|| self.labels.get(name)).map(String::as_str)
    }

    pub fn attributes(&self) -> BTreeMap<&str, &str> {
        let all = self.labels.iter().chain(&self.attributes);
        all.map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }
}

#[derive(Debug)]
pub struct Events {
    past: RefCell<VecDeque<Arc<Event>>>,
    sender: broadcast::Sender<Arc<Event>>,
}

impl Events {
    pub(crate) fn new() -> Self {
        Self { past: RefCell::default(), sender: broadcast::channel(BACKLOG).0 }
    }

    pub fn emit(&self, subject: Subject, action: impl Into<String>, id: &str, attributes: BTreeMap<String, String>) {
        self.emit_labelled(subject, action.into(), id, attributes, Arc::default());
    }

    pub(crate) fn emit_labelled(
        &self,
        subject: Subject,
        action: String,
        id: &str,
        attributes: BTreeMap<String, String>,
        labels: Arc<BTreeMap<String, String>>,
    ) {
        let event = Arc::new(Event { subject, action, id: id.to_owned(), attributes, labels, time: Timestamp::now() });
        let mut past = self.past.borrow_mut();
        if past.len() == KEPT {
            past.pop_front();
        }
        past.push_back(Arc::clone(&event));
        // Nobody may be watching.
        let _ = self.sender.send(event);
    }

    pub fn watchers(&self) -> usize {
        self.sender.receiver_count()
    }

    /// What is still known of the past, and all that comes.
    pub fn watch(&self) -> (Vec<Arc<Event>>, broadcast::Receiver<Arc<Event>>) {
        (self.past.borrow().iter().cloned().collect(), self.sender.subscribe())
    }
}
