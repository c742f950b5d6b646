//! Watching what runs, from its start to its keeper's last act, and what comes
//! after: nothing, or another start.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use casemate_model::{Exited, ProcessRef};
use casemate_record::RestartRecord;
use casemate_wire::Client;
use tokio::task::JoinHandle;

use super::entry::{Entry, Phase, Status, resting_status};
use super::{Daemon, blocking, let_go};
use crate::container::UNSEEN_EXIT;
use crate::error::FindError;

/// How the container ends, asked for now.
pub(super) fn exited(client: &Client) -> JoinHandle<Option<Exited>> {
    let client = client.clone();
    tokio::task::spawn_local(async move { client.wait(&ProcessRef::Init).await.ok() })
}

impl Daemon {
    /// Takes over a container as it is found when the daemon starts. It may take
    /// as long as its keeper does; changes to it wait meanwhile.
    pub(super) async fn adopt(self: Rc<Self>, entry: Rc<Entry>) {
        let container = entry.container();
        if !container.has_keeper() {
            self.restart_with_daemon(&entry);
            return;
        }
        let changing = entry.changing.lock().await;
        entry.phase.replace(Phase::Starting);
        match container.connect().await {
            Ok(keeper) if container.state.is_running() => {
                let exited = exited(&keeper);
                self.up(&entry, keeper, exited);
                return;
            }
            // Its creator was killed before it started, so the keeper gives up.
            Ok(keeper) => drop(keeper.lost().await),
            Err(error) => {
                tracing::info!(container = %entry.id.short(), error = casemate_model::chain(&error), "its keeper is leaving");
            }
        }
        self.take_in_end(&entry, None).await;
        drop(changing);
        if !entry.life.borrow().removed {
            self.restart_with_daemon(&entry);
        }
    }

    fn restart_with_daemon(self: &Rc<Self>, entry: &Rc<Entry>) {
        let container = entry.container();
        let RestartRecord { stopped_by_user, count, .. } = container.restart;
        let exit_code = container.state.exit_code.unwrap_or(0);
        let policy = container.restart_policy();
        if container.state.finished.is_some() && policy.restarts_with_daemon(exit_code, stopped_by_user, count) {
            let (this, entry) = (Rc::clone(self), Rc::clone(entry));
            tokio::task::spawn_local(async move {
                if let Err(error) = this.start(&entry).await {
                    tracing::error!(container = %entry.id.short(), error = casemate_model::chain(&error), "not started again");
                }
            });
        }
    }

    /// The container runs and this is its keeper.
    pub(super) fn up(self: &Rc<Self>, entry: &Rc<Entry>, client: Client, exited: JoinHandle<Option<Exited>>) {
        entry.phase.replace(Phase::Up(client.clone()));
        entry.set_status(if entry.container().state.paused { Status::Paused } else { Status::Running });
        tokio::task::spawn_local(Rc::clone(self).see_through(Rc::clone(entry), client, exited));
    }

    async fn see_through(self: Rc<Self>, entry: Rc<Entry>, client: Client, exited: JoinHandle<Option<Exited>>) {
        let began = Instant::now();
        let health = tokio::task::spawn_local(Rc::clone(&self).look_after_health(Rc::clone(&entry), client.clone()));
        let exited = exited.await.ok().flatten();
        health.abort();
        entry.health.end();
        // Nothing of it is left when its keeper has gone.
        client.lost().await;
        let code = self.take_in_end(&entry, exited).await;
        if !entry.life.borrow().removed {
            self.restart_if_due(&entry, code, began);
        }
    }

    /// The keeper has gone: takes in what it left, and tells all who wait.
    pub(super) async fn take_in_end(self: &Rc<Self>, entry: &Rc<Entry>, exited: Option<Exited>) -> i32 {
        let was_up = matches!(&*entry.phase.borrow(), Phase::Up(_));
        tokio::join!(let_go(&self.engine, &entry.id), self.detach_networks(entry));
        let exists = self.reread(entry).await;
        let container = entry.container();
        let code = match (&exited, container.state.exit_code) {
            (Some(exited), _) => exited.status.code().into(),
            (None, Some(code)) if exists => code,
            (None, _) => UNSEEN_EXIT,
        };
        entry.phase.replace(Phase::Resting);
        if let Some(reason) = container.state.error.as_deref().filter(|_| was_up) {
            tracing::warn!(container = %entry.id.short(), code, reason, "container ended without its own doing");
        }
        if was_up {
            if container.state.oom_killed || exited.as_ref().is_some_and(|exited| exited.oom_killed) {
                self.note(entry, "oom", []);
            }
            let seconds = container.state.ran_for().map_or(0, |ran| ran.as_secs());
            self.note(entry, "die", [("execDuration", seconds.to_string()), ("exitCode", code.to_string())]);
        }
        entry.life.send_modify(|life| {
            life.status = resting_status(&container);
            life.exit_code = code;
            life.error = container.state.error.clone();
            if was_up {
                life.exits += 1;
            }
        });
        if !exists {
            self.forget(entry);
        }
        code
    }

    /// Reads its records anew; false if it has none any more.
    pub(super) async fn reread(&self, entry: &Entry) -> bool {
        let before = entry.container();
        let (engine, id) = (Arc::clone(&self.engine), entry.id.clone());
        match blocking(move || engine.container(&id)).await {
            // A rename, or the like, that came in between is the newer one.
            Ok(_) if !Rc::ptr_eq(&before, &entry.container()) => Box::pin(self.reread(entry)).await,
            Ok(container) => {
                entry.set_container(container);
                true
            }
            Err(FindError::NotFound { .. }) => false,
            Err(error) => {
                tracing::warn!(container = %entry.id.short(), error = casemate_model::chain(&error), "unreadable");
                true
            }
        }
    }

    fn restart_if_due(self: &Rc<Self>, entry: &Rc<Entry>, exit_code: i32, began: Instant) {
        let container = entry.container();
        let RestartRecord { stopped_by_user, count, .. } = container.restart.clone();
        if !container.restart_policy().restarts(exit_code, stopped_by_user, count) {
            return;
        }
        let mut backoff = entry.backoff.get();
        let pause = backoff.next(began.elapsed());
        entry.backoff.set(backoff);
        let (this, of) = (Rc::clone(self), Rc::clone(entry));
        let restart = tokio::task::spawn_local(async move {
            tokio::time::sleep(pause).await;
            // From here on it runs to its end: whoever takes the restart back
            // finds a container that is being started.
            tokio::task::spawn_local(async move { this.start_again(of).await });
        });
        entry.phase.replace(Phase::Pausing(restart.abort_handle()));
        entry.set_status(Status::Restarting);
    }

    async fn start_again(self: &Rc<Self>, entry: Rc<Entry>) {
        let _changing = entry.changing.lock().await;
        if !matches!(&*entry.phase.borrow(), Phase::Pausing(_)) || entry.status() != Status::Restarting {
            return;
        }
        let restart = entry.container().restart.clone();
        self.write_restart(&entry, RestartRecord { count: restart.count + 1, ..restart }).await;
        entry.phase.replace(Phase::Resting);
        // Logged where it failed; a policy does not try what cannot start.
        let _ = self.bring_up(&entry).await;
    }

    /// Waits until its keeper has gone and its end has been taken in.
    pub(super) async fn until_down(&self, entry: &Entry) {
        let _ = entry.watch().wait_for(|life| !life.status.is_up()).await;
    }
}
