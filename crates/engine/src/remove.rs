//! Removing a container.

use std::fs;
use std::io;

use casemate_model::{Classify, ContainerId, ErrorClass};
use casemate_record::ContainerPaths;

use crate::container::Container;
use crate::error::{EngineError, RemoveError};
use crate::{Engine, keeper, lock};

impl Engine {
    /// Removes a container that has no keeper, and all it wrote.
    pub(crate) fn delete(&self, container: &Container) -> Result<(), RemoveError> {
        self.reconcile_one(&container.id).map_err(RemoveError::Leftovers)?;
        self.delete_records(container)
    }

    /// Removes a container whose records cannot be read, and what runs of it.
    pub(crate) async fn remove_damaged(&self, id: &ContainerId) -> Result<(), RemoveError> {
        let paths = self.layout.container(id);
        shut_down(id, id.short(), &paths).await?;
        self.reconcile_one(id).map_err(RemoveError::Leftovers)?;
        delete_dir(&paths)?;
        // Nobody could tell what it stood on.
        self.sweep_layers()
    }

    fn delete_records(&self, container: &Container) -> Result<(), RemoveError> {
        delete_dir(&container.paths)?;
        match self.images.resolve(&container.record.image.id) {
            // The image was removed while this container stood on it, and left
            // its layers behind.
            Err(error) if error.class() == ErrorClass::NotFound => self.sweep_layers(),
            _ => Ok(()),
        }
    }

    fn sweep_layers(&self) -> Result<(), RemoveError> {
        let _containers = self.lock_containers().map_err(RemoveError::Leftovers)?;
        let users = self.image_users().map_err(RemoveError::Find)?;
        self.images.sweep(&users).map_err(RemoveError::Layers)
    }
}

/// The configuration goes first: what has none is a leftover, whoever is killed
/// half-way. The directory's lock keeps others from clearing it up meanwhile.
fn delete_dir(paths: &ContainerPaths) -> Result<(), RemoveError> {
    let _removing = match lock::exclusive_dir(&paths.dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        locked => locked.map_err(|source| RemoveError::Delete { path: paths.dir.clone(), source })?,
    };
    for removed in [fs::remove_file(paths.config()), casemate_tree::remove(&paths.dir)] {
        match removed {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(RemoveError::Delete { path: paths.dir.clone(), source });
            }
            _ => {}
        }
    }
    Ok(())
}

/// Has the keeper kill what runs and clear up, and waits until it has.
async fn shut_down(id: &ContainerId, name: &str, paths: &ContainerPaths) -> Result<(), RemoveError> {
    let failed = |source| RemoveError::Kill { name: name.to_owned(), source };
    let keeper = match keeper::connect(id, paths).await {
        Ok(keeper) => keeper,
        // It has gone meanwhile.
        Err(EngineError::NotRunning { .. }) => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    if let Err(error) = keeper.shutdown().await {
        tracing::debug!(error = casemate_model::chain(&error), "shutdown");
    }
    keeper.lost().await;
    Ok(())
}
