//! Removing images, which containers may stand on.

use std::fs::File;

use casemate_image::{PruneFilter, Pruned, Removed, User, Users};

use crate::container::Listing;
use crate::error::{FindError, OpenError, RemoveImageError};
use crate::{Engine, lock};

impl Engine {
    /// Takes a name from an image, or removes the image, if the containers that
    /// use it let that happen (see [`casemate_image::Store::remove`]).
    pub fn remove_image(&self, reference: &str, force: bool) -> Result<Removed, RemoveImageError> {
        let _containers = self.lock_containers().map_err(RemoveImageError::Lock)?;
        let users = self.image_users().map_err(RemoveImageError::Users)?;
        Ok(self.images.remove(reference, force, &users)?)
    }

    /// Removes the images that no container uses, of those that the filter lets
    /// through.
    pub fn prune_images(&self, filter: &PruneFilter) -> Result<Pruned, RemoveImageError> {
        let _containers = self.lock_containers().map_err(RemoveImageError::Lock)?;
        let users = self.image_users().map_err(RemoveImageError::Users)?;
        Ok(self.images.prune(filter, &users)?)
    }

    /// While this is held, nobody else makes a container, or takes away what one
    /// has left or stands on.
    pub(crate) fn lock_containers(&self) -> Result<File, OpenError> {
        let path = self.layout.lock();
        lock::exclusive(&path).map_err(|source| OpenError::Lock { path, source })
    }

    pub(crate) fn image_users(&self) -> Result<Users, FindError> {
        let Listing { containers, damaged } = self.list()?;
        let user = |container: crate::Container| User {
            running: container.state.is_running(),
            container: container.id,
            image: container.image,
            layers: container.layers,
        };
        Ok(Users { containers: containers.into_iter().map(user).collect(), some_unknown: !damaged.is_empty() })
    }
}
