//! Removing a container.

use std::fs;
use std::io;

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
                return Err(RemoveError::Running { name: container.name.to_string() });
            }
            shut_down(container).await?;
        }
        match fs::remove_dir_all(&container.paths.dir) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(RemoveError::Delete { path: container.paths.dir.clone(), source })
            }
            _ => Ok(()),
        }
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
