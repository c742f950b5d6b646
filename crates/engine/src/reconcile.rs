//! Taking away what killed keepers and commands left behind.
//!
//! A container's run directory exists from before its keeper until that has
//! cleared up, and the keeper's lock lies in it. So a run directory whose lock is
//! free belongs to nobody: what lives in its control group is killed, and its
//! records are brought to where a clean end would have left them. The step is
//! the same however far the keeper had come.
//!
//! When the host goes down all run directories go with it. Of the containers'
//! own directories two kinds are leftovers then and later: those without a
//! configuration, of containers that were being made or removed, and those of
//! containers that were to be removed at their end, and have run.

use std::fs;
use std::io;
use std::path::Path;

use casemate_model::ContainerId;
use casemate_record::{EndRecord, StateRecord, file};

use crate::error::{FindError, OpenError};
use crate::{Engine, lock};

/// 128 + SIGKILL: the keeper took the container with it.
const KILLED: i32 = 137;

impl Engine {
    pub(crate) fn reconcile(&self) -> Result<(), OpenError> {
        let running = self.layout.running();
        let failed = |source| OpenError::Dir { path: running.clone(), source };
        let mut nothing_runs = true;
        for entry in fs::read_dir(&running).map_err(failed)? {
            nothing_runs = false;
            let name = entry.map_err(failed)?.file_name();
            let Some(id) = name.to_str().and_then(|name| name.parse::<ContainerId>().ok()) else {
                continue;
            };
            if let Err(error) = self.reconcile_one(&id) {
                // Another command's container must not fail this one.
                tracing::warn!(container = %id.short(), error = casemate_model::chain(&error), "not cleared up");
            }
        }
        self.clear_without_run_dir(nothing_runs)
    }

    /// Containers' directories that belong to nobody. Records are only read when
    /// nothing runs, as after the host came up: reading all of them for every
    /// command would cost more than the rest of the command.
    fn clear_without_run_dir(&self, nothing_runs: bool) -> Result<(), OpenError> {
        let is_leftover = |id: &ContainerId| {
            let paths = self.layout.container(id);
            if paths.run.exists() || !paths.dir.exists() {
                return false;
            }
            !paths.config().exists() || (nothing_runs && self.should_have_gone(id))
        };
        let ids = self.ids().map_err(OpenError::Containers)?;
        let mut leftovers = ids.into_iter().filter(is_leftover).peekable();
        if leftovers.peek().is_none() {
            return Ok(());
        }
        // What was just being made has its configuration now.
        let _containers = self.lock_containers()?;
        for id in leftovers.filter(is_leftover) {
            let dir = self.layout.container(&id).dir;
            // Somebody may be at it, or done.
            let Ok(Some(_removing)) = lock::try_exclusive(&dir) else { continue };
            if let Err(error) = remove_dir(&dir) {
                tracing::warn!(container = %id.short(), error = casemate_model::chain(&error), "not cleared up");
            }
        }
        Ok(())
    }

    /// It has run and was to be removed at its end, and nobody is left to do so.
    fn should_have_gone(&self, id: &ContainerId) -> bool {
        self.container(id).is_ok_and(|container| {
            container.record.auto_remove && container.state.started.is_some() && !container.has_keeper_process()
        })
    }

    /// The same for one whose keeper is on its way out: its last connection is
    /// closed a moment before its lock is free.
    pub(crate) fn reconcile_gone(&self, id: &ContainerId) -> Result<(), OpenError> {
        let path = self.layout.container(id).keeper_lock();
        lock::wait(&path).map_err(|source| OpenError::Lock { path, source })?;
        self.reconcile_one(id)
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
        let _containers = self.lock_containers()?;
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
            // Killed while it was being removed.
            Err(FindError::NotFound { .. }) => remove_dir(&paths.dir)?,
            // What cannot be read stays for its user to see and remove.
            Ok(_) | Err(_) => {}
        }
        remove_dir(&paths.run)?;
        drop(locked);
        Ok(())
    }
}

fn remove_dir(path: &Path) -> Result<(), OpenError> {
    casemate_tree::remove(path).map_err(|source| OpenError::Dir { path: path.to_owned(), source })
}
