//! Removing a container.

use std::fs;
use std::io;

use casemate_model::{Classify, Digest, ErrorClass};

use crate::Engine;
use crate::container::Container;
use crate::error::{EngineError, RemoveError};

impl Engine {
    /// Removes a container and all it wrote; one that runs or is being started
    /// only by `force`, which kills it.
    pub async fn remove(&self, container: &Container, force: bool) -> Result<(), RemoveError> {
        if container.has_keeper() {
            let has_ended = container.state.finished.is_some();
            if !has_ended && !force {
                return Err(RemoveError::Running { name: container.name.to_string(), state: "running" });
            }
            shut_down(container).await?;
        }
        // Of a keeper that was killed after this command's beginning.
        self.reconcile_one(&container.id).map_err(RemoveError::Leftovers)?;
        self.delete_records(container)
    }

    /// The same for one that has no keeper.
    pub(crate) fn delete(&self, container: &Container) -> Result<(), RemoveError> {
        self.reconcile_one(&container.id).map_err(RemoveError::Leftovers)?;
        self.delete_records(container)
    }

    fn delete_records(&self, container: &Container) -> Result<(), RemoveError> {
        match fs::remove_dir_all(&container.paths.dir) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(RemoveError::Delete { path: container.paths.dir.clone(), source });
            }
            _ => {}
        }
        self.free_layers(container)
    }

    /// An image that was removed while this container stood on it left its
    /// layers behind.
    fn free_layers(&self, container: &Container) -> Result<(), RemoveError> {
        match self.images.resolve(&container.record.image.id) {
            Err(error) if error.class() == ErrorClass::NotFound => {}
            _ => return Ok(()),
        }
        let containers = self.containers().map_err(RemoveError::Find)?;
        let in_use = |layer: &Digest| containers.iter().any(|other| other.layers.contains(layer));
        self.images.sweep(&in_use).map_err(RemoveError::Layers)
    }
}

/// Has the keeper kill what runs and clear up, and waits until it has.
async fn shut_down(container: &Container) -> Result<(), RemoveError> {
    let failed = |source| RemoveError::Kill { name: container.name.to_string(), source };
    let keeper = match container.connect().await {
        Ok(keeper) => keeper,
        // It has gone meanwhile.
        Err(EngineError::NotRunning { .. }) => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    if let Err(error) = keeper.client.shutdown().await {
        tracing::debug!(error = casemate_model::chain(&error), "shutdown");
    }
    keeper.client.lost().await;
    Ok(())
}
