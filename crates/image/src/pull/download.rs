//! One blob, from the registry into the store's staging directory: hashed while
//! it comes, taken up again where it broke off.

use std::io::Write;

use bytes::Bytes;
use casemate_model::Digest;
use casemate_registry::Repository;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::progress::{LayerProgress, Report, Throttle};
use super::{PullError, Retry};
use crate::archive::Blob;
use crate::disk::DiskError;
use crate::store::{LoadError, Place};

/// Chunks on their way to the disk; a chunk is some tens of kilobytes.
const QUEUE: usize = 16;
/// What Docker waits longer for each time, in its seconds.
const DELAY: u64 = 5;

pub(super) struct Download<'a> {
    pub(super) repository: &'a Repository,
    pub(super) blob: &'a Blob,
    pub(super) place: &'a Place,
    pub(super) report: &'a Report,
    pub(super) retry: Retry,
}

/// What the writing thread does.
enum Order {
    Append(Bytes),
    /// From the beginning.
    Restart,
    /// It is complete: put it in place, if it is what it should be.
    Finish,
}

/// The thread that writes, and the way to it. It ends when that is dropped.
struct Writer {
    orders: mpsc::Sender<Order>,
    thread: JoinHandle<Result<Verdict, PullError>>,
    /// Bytes that it was given.
    written: u64,
}

#[derive(PartialEq, Eq)]
enum Verdict {
    Verified,
    Mismatch,
    GivenUp,
}

impl Download<'_> {
    pub(super) async fn run(&self) -> Result<(), PullError> {
        let mut writer = Writer::start(self.place, self.blob);
        for attempt in 1.. {
            let resumed = writer.written > 0;
            let error = match self.attempt(&mut writer).await {
                Ok(()) => {
                    self.tell(LayerProgress::VerifyingChecksum);
                    match writer.finish().await? {
                        Verdict::Verified => {
                            self.tell(LayerProgress::DownloadComplete);
                            return Ok(());
                        }
                        Verdict::GivenUp => return Err(PullError::Cancelled),
                        // Put together from two answers that do not belong
                        // together.
                        Verdict::Mismatch if resumed => {
                            writer = Writer::start(self.place, self.blob);
                            PullError::LayerDigest { digest: self.blob.digest.clone() }
                        }
                        Verdict::Mismatch => return Err(PullError::LayerDigest { digest: self.blob.digest.clone() }),
                    }
                }
                Err(error) if error.is_transient() => error,
                Err(error) => return Err(error),
            };
            if attempt >= self.retry.attempts {
                return Err(error);
            }
            tracing::info!(blob = %self.blob.digest, attempt, error = casemate_model::chain(&error), "download retried");
            for seconds in (1..=DELAY * u64::from(attempt)).rev() {
                self.tell(LayerProgress::Retrying { seconds });
                tokio::time::sleep(self.retry.second).await;
            }
        }
        unreachable!("the attempts end")
    }

    /// Brings the writer the rest of the blob.
    async fn attempt(&self, writer: &mut Writer) -> Result<(), PullError> {
        let total = self.blob.size;
        let mut body = self.repository.blob(&self.blob.digest, writer.written).await.map_err(PullError::Registry)?;
        if body.offset() == 0 && writer.written > 0 {
            writer.order(Order::Restart).await?;
            writer.written = 0;
        }
        let mut throttle = Throttle::default();
        while let Some(chunk) = body.chunk().await.map_err(PullError::Registry)? {
            writer.written += chunk.len() as u64;
            if writer.written > total {
                return Err(PullError::BlobSize { digest: self.blob.digest.clone(), expected: total });
            }
            writer.order(Order::Append(chunk)).await?;
            if throttle.is_due(writer.written == total) {
                self.tell(LayerProgress::Downloading { current: writer.written, total });
            }
        }
        if writer.written < total {
            let (digest, actual) = (self.blob.digest.clone(), writer.written);
            return Err(PullError::BlobShort { digest, expected: total, actual });
        }
        Ok(())
    }

    fn tell(&self, state: LayerProgress) {
        self.report.layer(&self.blob.digest, state);
    }
}

impl Writer {
    fn start(place: &Place, blob: &Blob) -> Self {
        let (orders, mut received) = mpsc::channel(QUEUE);
        let (place, blob) = (place.clone(), blob.clone());
        let thread = tokio::task::spawn_blocking(move || write(&place, &blob, &mut received));
        Self { orders, thread, written: 0 }
    }

    async fn order(&mut self, order: Order) -> Result<(), PullError> {
        match self.orders.send(order).await {
            Ok(()) => Ok(()),
            // The thread ended: it says why.
            Err(_) => match (&mut self.thread).await {
                Ok(Err(error)) => Err(error),
                _ => Err(PullError::Cancelled),
            },
        }
    }

    async fn finish(mut self) -> Result<Verdict, PullError> {
        self.order(Order::Finish).await?;
        self.thread.await.map_err(|_| PullError::Cancelled)?
    }
}

fn write(place: &Place, blob: &Blob, orders: &mut mpsc::Receiver<Order>) -> Result<Verdict, PullError> {
    let Some(place) = place.open() else {
        return Ok(Verdict::GivenUp);
    };
    let directory = place.directory();
    let failed = |operation, error| PullError::Store(LoadError::Disk(DiskError::new(operation, &directory, error)));
    let begin = || tempfile::NamedTempFile::new_in(&directory).map_err(|error| failed("make a file in", error));
    let mut file = begin()?;
    let mut hasher = Sha256::new();
    while let Some(order) = orders.blocking_recv() {
        match order {
            Order::Append(chunk) => {
                hasher.update(&chunk);
                file.write_all(&chunk).map_err(|error| failed("write below", error))?;
            }
            Order::Restart => {
                file = begin()?;
                hasher = Sha256::new();
            }
            Order::Finish => {
                if Digest::from_sha256(hasher.finalize().into()) != blob.digest {
                    return Ok(Verdict::Mismatch);
                }
                file.persist(place.path(&blob.digest))
                    .map_err(|error| failed("put a file in place in", error.error))?;
                return Ok(Verdict::Verified);
            }
        }
    }
    Ok(Verdict::GivenUp)
}
