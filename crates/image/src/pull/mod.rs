//! `pull`: an image from a registry.
//!
//! ```text
//! find (manifest by name, index ─▶ platform, configuration)
//!   ─▶ per layer: download, verified as it streams ─┐
//!                                                   ├─▶ the store's thread unpacks in order, and commits
//!   ─▶ per layer: download, …                      ─┘
//! ```
//! Futures only move bytes; hashing, writing and unpacking are done by threads.
//! A pull whose future is dropped stops all of it and leaves nothing.
//!
//! What the registry says is believed only where a digest proves it; the rest
//! has limits.

mod cancel;
mod download;
mod error;
mod find;
mod progress;

pub(crate) use cancel::Cancelled;
pub use error::PullError;
pub use progress::{LayerProgress, PullProgress};

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use casemate_model::Digest;
use casemate_registry::{Client, Credentials, Repository};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::platform::Platform;
use crate::reference::Reference;
use crate::store::{Incoming, Needs, Progress, Store};
use download::Download;
use find::Endpoints;
use progress::Report;

#[derive(Clone, Debug)]
pub struct PullRequest {
    /// Without tag and digest: the tag `latest`.
    pub reference: Reference,
    /// Of several, the one to take; this host's if absent.
    pub platform: Option<Platform>,
    pub credentials: Credentials,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    pub id: Digest,
    /// Of what the registry has under the name.
    pub digest: Digest,
    /// False if the name meant this image before.
    pub is_new: bool,
}

/// How often a download is begun, and how long until it is again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retry {
    pub(crate) attempts: u32,
    /// What Docker calls a second.
    pub(crate) second: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 5, second: Duration::from_secs(1) }
    }
}

/// Pulls images into a store; a daemon has one for all of its pulls.
#[derive(Clone, Debug)]
pub struct Puller {
    store: Store,
    client: Client,
    downloads: Arc<Semaphore>,
    retry: Retry,
}

impl Puller {
    /// With so many downloads at once, over all pulls.
    pub fn new(store: Store, client: Client, downloads: usize) -> Self {
        Self { store, client, downloads: Arc::new(Semaphore::new(downloads)), retry: Retry::default() }
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    #[cfg(test)]
    pub(crate) fn with_retry(self, retry: Retry) -> Self {
        Self { retry, ..self }
    }

    /// Pulls the image, telling its progress in the order in which `docker`
    /// shows it. The future may be dropped at any time.
    pub async fn pull(
        &self,
        request: &PullRequest,
        progress: &mut (dyn FnMut(PullProgress) + Send),
    ) -> Result<Pulled, PullError> {
        // The scratch image is nothing, and no registry has it.
        if request.reference.repository() == "scratch" {
            return Err(PullError::Reserved);
        }
        let reference = request.reference.clone().or_latest();
        let found = find::find(self, &reference, request, progress).await?;
        let pulled = match found {
            find::Found::Current(pulled) => pulled,
            find::Found::Image { repository, incoming } => {
                let digest = incoming.digest.digest().cloned().expect("it was made with its digest");
                let (id, is_new) = self.receive(&repository, *incoming, progress).await?;
                Pulled { id, digest, is_new }
            }
        };
        progress(PullProgress::Digest(pulled.digest.clone()));
        if let Some(wanted) = &request.platform {
            self.warn_of_platform(&reference, &pulled.id, wanted, progress)?;
        }
        progress(PullProgress::Status { reference, is_new: pulled.is_new });
        Ok(pulled)
    }

    /// The tags of a repository, for a pull of them all.
    pub async fn tags(&self, repository: &Reference, credentials: &Credentials) -> Result<Vec<Reference>, PullError> {
        let mut endpoints = Endpoints::of(&self.client, repository, credentials).await?;
        loop {
            let found = endpoints.next().await?;
            match found.tags().await {
                Ok(tags) => return Ok(tags.iter().filter_map(|tag| repository.with_tag(tag)).collect()),
                Err(error) => endpoints.failed(&found, PullError::of_registry(error, repository))?,
            }
        }
    }

    /// Downloads what the store lacks of the image, and has it taken in.
    async fn receive(
        &self,
        repository: &Repository,
        incoming: Incoming,
        progress: &mut (dyn FnMut(PullProgress) + Send),
    ) -> Result<(Digest, bool), PullError> {
        let blobs: Vec<_> = incoming.layers.iter().map(|layer| layer.blob.clone()).collect();
        let (report, mut told) = Report::new();
        let cancelled = Cancelled::default();
        // Set when this future is dropped, or at its end, when it is too late.
        let _guard = cancelled.guard();
        let (needs_sender, needs) = oneshot::channel();
        let (arrived, arrivals) = mpsc::channel(blobs.len().max(1));
        let taken = {
            let (store, blobs, report) = (self.store.clone(), blobs.clone(), report.clone());
            tokio::task::spawn_blocking(move || {
                let mut throttle = progress::Throttle::default();
                let throttle = std::cell::RefCell::new(&mut throttle);
                store.receive(incoming, &cancelled, needs_sender, arrivals, &|step| match step {
                    Progress::Extracting { layer, bytes } => {
                        let blob = &blobs[layer];
                        if throttle.borrow_mut().is_due(bytes == blob.size) {
                            let state = LayerProgress::Extracting { current: bytes, total: blob.size };
                            report.layer(&blob.digest, state);
                        }
                    }
                    Progress::Complete { layer } => report.layer(&blobs[layer].digest, LayerProgress::PullComplete),
                })
            })
        };
        let work = async {
            if let Ok(Needs { layers: needed, place }) = needs.await {
                announce(&blobs, &needed, &report);
                let mut by_blob: HashMap<&Digest, Vec<usize>> = HashMap::new();
                let mut downloads = FuturesUnordered::new();
                for layer in needed {
                    let sharing = by_blob.entry(&blobs[layer].digest).or_default();
                    sharing.push(layer);
                    if sharing.len() == 1 {
                        downloads.push(self.download(repository, &blobs[layer], &place, &report).boxed());
                    }
                }
                while let Some(blob) = downloads.next().await {
                    for layer in by_blob.get(&blob?).into_iter().flatten() {
                        // If nobody waits for it, that thread has something to say.
                        let _ = arrived.send(*layer).await;
                    }
                }
            }
            drop(arrived);
            let taken = taken.await.map_err(|_| PullError::Cancelled)?;
            taken.map_err(PullError::Store)?.ok_or(PullError::Cancelled)
        };
        tokio::pin!(work);
        let result = loop {
            tokio::select! {
                biased;
                Some(event) = told.recv() => progress(event),
                result = &mut work => break result,
            }
        };
        while let Ok(event) = told.try_recv() {
            progress(event);
        }
        result
    }

    /// The digest of the blob, which is in place.
    async fn download(
        &self,
        repository: &Repository,
        blob: &crate::archive::Blob,
        place: &crate::store::Place,
        report: &Report,
    ) -> Result<Digest, PullError> {
        let _turn = match self.downloads.try_acquire() {
            Ok(turn) => turn,
            Err(_) => {
                report.layer(&blob.digest, LayerProgress::Waiting);
                self.downloads.acquire().await.map_err(|_| PullError::Cancelled)?
            }
        };
        Download { repository, blob, place, report, retry: self.retry }.run().await?;
        Ok(blob.digest.clone())
    }

    /// An image that comes for one platform only is taken, whatever it is for.
    fn warn_of_platform(
        &self,
        reference: &Reference,
        id: &Digest,
        wanted: &Platform,
        progress: &mut (dyn FnMut(PullProgress) + Send),
    ) -> Result<(), PullError> {
        let image = self.store.resolve(&id.to_string()).map_err(PullError::Resolve)?;
        if wanted.fitness(&image.os, &image.architecture, image.variant.as_deref()).is_none() {
            let is = Platform { os: image.os, architecture: image.architecture, variant: image.variant };
            progress(PullProgress::Warning(format!(
                "image with reference {reference} was found but its platform ({is}) does not match the specified \
                 platform ({wanted})"
            )));
        }
        Ok(())
    }
}

/// What becomes of each layer, told before anything does.
fn announce(blobs: &[crate::archive::Blob], needed: &[usize], report: &Report) {
    let mut told: Vec<&Digest> = Vec::new();
    for (index, blob) in blobs.iter().enumerate() {
        if told.contains(&&blob.digest) {
            continue;
        }
        told.push(&blob.digest);
        let is_needed = needed.iter().any(|layer| blobs[*layer].digest == blob.digest || *layer == index);
        let state = if is_needed { LayerProgress::PullingFsLayer } else { LayerProgress::AlreadyExists };
        report.layer(&blob.digest, state);
    }
}

#[cfg(test)]
mod tests;
