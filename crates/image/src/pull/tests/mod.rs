//! Pulls from a registry that does what no real one does (`hostile`), and from
//! a real one (`real`). Both are on loopback, and so is all that is asked.

mod hostile;
mod real;
mod server;
mod token;

use std::path::Path;
use std::time::Duration;

use casemate_model::chain;
use casemate_registry::{Client, Credentials, Settings};
use tokio::runtime::Runtime;

use super::{LayerProgress, PullError, PullProgress, PullRequest, Pulled, Puller, Retry};
use crate::fixture::names;
use crate::reference::Reference;
use crate::store::Store;

/// A store, and what pulls into it.
pub(super) struct Home {
    pub(super) scratch: tempfile::TempDir,
    pub(super) store: Store,
    settings: Settings,
    pub(super) credentials: Credentials,
    /// When dropped it waits for the threads that pulls began.
    runtime: Option<Runtime>,
}

/// What a pull told, a line for each.
pub(super) type Told = Vec<String>;

impl Home {
    pub(super) fn new() -> Self {
        Self::with(Settings::default())
    }

    pub(super) fn with(settings: Settings) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let store = Store::open(scratch.path()).unwrap();
        // The lock's file is there from its first use on.
        store.sweep(&crate::Users::default()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { scratch, store, settings, credentials: Credentials::Anonymous, runtime: Some(runtime) }
    }

    pub(super) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.as_ref().unwrap().block_on(future)
    }

    pub(super) fn puller(&self) -> Puller {
        // The same number of attempts, without the waiting.
        let retry = Retry { second: Duration::from_millis(1), ..Retry::default() };
        Puller::new(self.store.clone(), Client::new(self.settings.clone()), 3).with_retry(retry)
    }

    pub(super) fn request(&self, name: &str) -> PullRequest {
        let reference: Reference = name.parse().unwrap();
        PullRequest { reference, platform: None, credentials: self.credentials.clone() }
    }

    pub(super) fn pull(&self, name: &str) -> (Result<Pulled, PullError>, Told) {
        self.pull_request(&self.request(name))
    }

    pub(super) fn pull_request(&self, request: &PullRequest) -> (Result<Pulled, PullError>, Told) {
        let mut told = Vec::new();
        let puller = self.puller();
        let result = self.block_on(puller.pull(request, &mut |event| told.push(line(&event))));
        told.dedup();
        (result, told)
    }

    /// The error of a pull that must fail, as `docker` shows it.
    pub(super) fn refused(&self, name: &str) -> String {
        chain(&self.pull(name).0.unwrap_err())
    }

    /// All files of the store, when nothing goes on in it any more.
    pub(super) fn files(&mut self) -> Vec<String> {
        drop(self.runtime.take());
        self.runtime = Some(tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap());
        names(self.scratch.path())
    }
}

fn line(event: &PullProgress) -> String {
    match event {
        PullProgress::PullingFrom { tag_or_digest, .. } => format!("{tag_or_digest}: {event}"),
        PullProgress::Layer { blob, state } => match state {
            // How often these come depends on the time.
            LayerProgress::Downloading { .. } | LayerProgress::Extracting { .. } => {
                let (current, total) = state.bytes().unwrap();
                assert!(current <= total, "{state} {current} of {total}");
                format!("{}: {state}", blob.short())
            }
            _ => format!("{}: {state}", blob.short()),
        },
        _ => event.to_string(),
    }
}

/// What was told of one layer, in order.
pub(super) fn of_layer<'a>(told: &'a Told, layer: &[u8]) -> Vec<&'a str> {
    let prefix = format!("{}: ", crate::hash::digest_of(layer).short());
    let mut states: Vec<&str> = told.iter().filter_map(|line| line.strip_prefix(&prefix)).collect();
    states.dedup();
    states
}

/// A daemon may run a pull on any thread.
#[expect(dead_code, reason = "that it compiles is the test")]
fn a_pull_can_be_sent(puller: &Puller, request: &PullRequest) -> impl Send {
    async move { puller.pull(request, &mut |_| {}).await }
}

/// Why a test cannot run here, if it cannot.
pub(super) fn missing(programs: &[&str]) -> bool {
    let is_there = |program: &&&str| {
        std::env::var("PATH")
            .unwrap_or_default()
            .split(':')
            .any(|directory| Path::new(directory).join(program).exists())
    };
    let missing: Vec<_> = programs.iter().filter(|program| !is_there(program)).collect();
    if !missing.is_empty() {
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), "skipped: needs {missing:?}");
    }
    !missing.is_empty() || crate::fixture::not_root()
}
