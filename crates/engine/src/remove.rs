//! Removing a container.

use std::fs;
use std::io;

use casemate_model::{ProcessRef, Signal};

use crate::Engine;
use crate::container::Container;
use crate::error::{EngineError, RemoveError};

impl Engine {
    /// Removes a container and all it wrote; a running one only by `force`,
    /// which kills it.
    pub async fn remove(&self, container: &Container, force: bool) -> Result<(), RemoveError> {
        if container.has_keeper() {
            if container.state.is_running() && !force {
                return Err(RemoveError::Running { name: container.name.to_string() });
            }
            self.kill_and_wait(container).await?;
        }
        match fs::remove_dir_all(&container.paths.dir) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(RemoveError::Delete { path: container.paths.dir.clone(), source })
            }
            _ => Ok(()),
        }
    }

    /// Kills the container and waits until its keeper has cleared up.
    async fn kill_and_wait(&self, container: &Container) -> Result<(), RemoveError> {
        let failed = |source| RemoveError::Kill { name: container.name.to_string(), source };
        let keeper = match container.keeper().await {
            Ok(keeper) => keeper,
            Err(EngineError::NotRunning { .. }) => return Ok(()),
            Err(error) => return Err(failed(error)),
        };
        let killed = keeper.client.signal(&ProcessRef::Init, Signal::KILL).await;
        // A refusal means that it ended by itself; either way the keeper goes.
        if let Err(error) = killed {
            tracing::debug!(error = casemate_model::chain(&error), "kill");
        }
        if let Err(error) = keeper.client.shutdown().await {
            tracing::debug!(error = casemate_model::chain(&error), "shutdown");
        }
        keeper.client.lost().await;
        Ok(())
    }
}
