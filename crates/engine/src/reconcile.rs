//! Taking away what killed keepers left behind.
//!
//! A container's run directory exists from before its configuration until its
//! keeper has cleared up, and the keeper's lock lies in it. So a run directory
//! whose lock is free belongs to nobody: what lives in its control group is
//! killed, and its records are brought to where a clean end would have left
//! them. The step is the same however far the keeper had come.

use std::fs;
use std::io;
use std::path::Path;

use casemate_model::ContainerId;
use casemate_record::{EndRecord, StateRecord, file};

use crate::error::OpenError;
use crate::{Engine, lock};

/// 128 + SIGKILL: the keeper took the container with it.
const KILLED: i32 = 137;

impl Engine {
    pub(crate) fn reconcile(&self) -> Result<(), OpenError> {
        let running = self.layout.running();
        let failed = |source| OpenError::Dir { path: running.clone(), source };
        for entry in fs::read_dir(&running).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let Some(id) = name.to_str().and_then(|name| name.parse::<ContainerId>().ok()) else {
                continue;
            };
            if let Err(error) = self.reconcile_one(&id) {
                // Another command's container must not fail this one.
                tracing::warn!(container = %id.short(), error = casemate_model::chain(&error), "not cleared up");
            }
        }
        Ok(())
    }

    /// The same for one container; nothing to do while its keeper lives.
    pub(crate) fn reconcile_one(&self, id: &ContainerId) -> Result<(), OpenError> {
        let paths = self.layout.container(id);
        let lock_path = paths.keeper_lock();
        if !paths.run.exists() || lock::is_held(&lock_path) {
            return Ok(());
        }
        // Not while a container is being made: its lock comes a moment after
        // its directory.
        let numbers = self.layout.lock();
        let _numbers = lock::exclusive(&numbers).map_err(|source| OpenError::Lock { path: numbers, source })?;
        let locked = match lock::try_exclusive(&lock_path) {
            Ok(Some(lock)) => lock,
            Ok(None) => return Ok(()),
            // Made and not locked, or cleared up but for this: there is
            // nothing in it. If it is gone meanwhile, so much the better.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let _ = fs::remove_dir(&paths.run);
                return Ok(());
            }
            Err(source) => return Err(OpenError::Lock { path: lock_path, source }),
        };
        if let Err(error) = casemate_launch::destroy_leftovers(&paths.cgroup(), &paths.run) {
            // Its directory stays, so that the next command tries again.
            tracing::warn!(container = %id.short(), error = casemate_model::chain(&error), "leftovers");
            return Ok(());
        }
        match self.container(id) {
            Ok(container) if container.record.auto_remove => remove_dir(&paths.dir)?,
            Ok(container) if container.state.is_running() => {
                let end = EndRecord {
                    exit_code: KILLED,
                    oom_killed: false,
                    error: Some("the container's keeper was killed".to_owned()),
                };
                let ended: StateRecord = container.state.ended(end);
                if let Err(error) = file::write(&paths.state(), &ended, file::Durability::Synced) {
                    tracing::warn!(container = %id.short(), error = casemate_model::chain(&error), "state not kept");
                }
            }
            Ok(_) => {}
            // Killed while it was being made or removed.
            Err(_) if !paths.config().exists() => remove_dir(&paths.dir)?,
            Err(error) => {
                tracing::warn!(container = %id.short(), error = casemate_model::chain(&error), "unreadable");
            }
        }
        remove_dir(&paths.run)?;
        drop(locked);
        Ok(())
    }
}

fn remove_dir(path: &Path) -> Result<(), OpenError> {
    match fs::remove_dir_all(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(OpenError::Dir { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}
