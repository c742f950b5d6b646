//! A container's files, whether it runs or not.
//!
//! A running container is asked through its keeper. One that rests gets a keeper
//! of its own for that, which prepares it and never starts it; until that keeper
//! has gone, the container stays as it is.

use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use casemate_model::ContainerId;
use casemate_wire::Client;
use tokio::sync::OwnedMutexGuard;

use super::entry::Entry;
use super::{Daemon, blocking, let_go};
use crate::Engine;
use crate::error::StartError;

/// The right to work on a container's files, and whom to ask.
#[derive(Debug)]
pub struct FilesAccess {
    client: Client,
    /// Of a container that rests: its right to change is held until its keeper
    /// has gone.
    resting: Option<Resting>,
}

#[derive(Debug)]
struct Resting {
    engine: Arc<Engine>,
    id: ContainerId,
    _changing: OwnedMutexGuard<()>,
}

impl Deref for FilesAccess {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Drop for FilesAccess {
    /// The keeper goes when it has put everything in its place.
    fn drop(&mut self) {
        let Some(resting) = self.resting.take() else {
            return;
        };
        let client = self.client.clone();
        tokio::task::spawn_local(async move {
            client.shutdown().await.ok();
            client.lost().await;
            let Resting { engine, id, _changing } = resting;
            let_go(&engine, &id).await;
        });
    }
}

impl Daemon {
    pub async fn files(self: &Rc<Self>, entry: &Rc<Entry>) -> Result<FilesAccess, StartError> {
        if let Some(client) = entry.client() {
            return Ok(FilesAccess { client, resting: None });
        }
        let changing = Arc::clone(&entry.changing).lock_owned().await;
        if let Some(client) = entry.client() {
            return Ok(FilesAccess { client, resting: None });
        }
        self.refuse_removed(entry)?;
        let container = entry.container();
        let (engine, of) = (Arc::clone(&self.engine), container.as_ref().clone());
        let wiring = self.wiring_at_rest(&container)?;
        let readied = blocking(move || engine.ready(&of, wiring)).await?;
        let client = self.engine.open_files(&container, readied).await?;
        let resting = Resting { engine: Arc::clone(&self.engine), id: entry.id.clone(), _changing: changing };
        Ok(FilesAccess { client, resting: Some(resting) })
    }
}
