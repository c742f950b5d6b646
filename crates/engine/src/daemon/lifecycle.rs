//! What users do to containers: create, start, stop, kill, restart, rename,
//! remove.

use std::rc::Rc;
use std::sync::Arc;

use casemate_model::{Classify, ContainerName, ErrorClass, Failure, ProcessRef, Signal};
use casemate_record::RestartRecord;
use casemate_record::file::{self, Durability};

use super::entry::{Entry, Phase, Status, resting_status};
use super::{Daemon, blocking, to_its_end};
use crate::CreateRequest;
use crate::error::{CreateError, EngineError, RemoveError, RenameError, StartError};

/// Docker's patience with a container that set none, in seconds.
const STOP_TIMEOUT: i64 = 10;

impl Daemon {
    pub async fn create(self: &Rc<Self>, request: CreateRequest) -> Result<Rc<Entry>, CreateError> {
        let this = Rc::clone(self);
        to_its_end(async move { this.make(request).await }).await
    }

    async fn make(&self, mut request: CreateRequest) -> Result<Rc<Entry>, CreateError> {
        self.settle_networks(&mut request)?;
        let name = self.reserve(request.name.as_ref())?;
        let (engine, free) = (Arc::clone(&self.engine), name.clone());
        let made = blocking(move || {
            let id = engine.create(&request, &free)?;
            engine.container(&id).map_err(CreateError::Find)
        })
        .await;
        match made {
            Ok(container) => {
                let entry = Rc::new(Entry::new(container, Rc::clone(&self.log_growth)));
                self.names.borrow_mut().insert(name, Some(entry.id.clone()));
                self.containers.borrow_mut().insert(entry.id.clone(), Rc::clone(&entry));
                self.note(&entry, "create", []);
                Ok(entry)
            }
            Err(error) => {
                self.names.borrow_mut().remove(&name);
                Err(error)
            }
        }
    }

    /// Starts what rests; one that waits to be started again is started now.
    pub async fn start(self: &Rc<Self>, entry: &Rc<Entry>) -> Result<(), StartError> {
        let (this, entry) = (Rc::clone(self), Rc::clone(entry));
        to_its_end(async move {
            let _changing = entry.changing.lock().await;
            this.refuse_removed(&entry)?;
            match &*entry.phase.borrow() {
                Phase::Up(_) => return Err(StartError::AlreadyRunning { id: entry.id.to_string() }),
                Phase::Pausing(restart) => restart.abort(),
                Phase::Resting | Phase::Starting => {}
            }
            entry.phase.replace(Phase::Resting);
            this.note_by_user(&entry, false).await;
            this.bring_up(&entry).await
        })
        .await
    }

    pub(super) fn refuse_removed(&self, entry: &Entry) -> Result<(), StartError> {
        match entry.status() {
            Status::Removing | Status::Dead => Err(StartError::Removing { name: entry.name() }),
            _ if entry.life.borrow().removed => Err(StartError::NotFound { name: entry.id.to_string() }),
            _ => Ok(()),
        }
    }

    /// From rest to running. With the entry's `changing` held.
    pub(super) async fn bring_up(self: &Rc<Self>, entry: &Rc<Entry>) -> Result<(), StartError> {
        entry.phase.replace(Phase::Starting);
        let started = self.try_bring_up(entry).await;
        if let Err(error) = &started {
            // Those who wait for its streams wait in vain.
            entry.attaching.take();
            self.take_in_end(entry, None).await;
            self.remove_unstarted(entry).await;
            tracing::info!(container = %entry.id.short(), error = casemate_model::chain(error), "not started");
        }
        // What it failed of says less.
        started.map_err(|error| match entry.condemned.get() {
            true => StartError::Removing { name: entry.name() },
            false => error,
        })
    }

    /// One that goes with its end goes without a beginning too: those who wait for
    /// that would wait for ever. Its keeper sees to it, where it came to have one.
    async fn remove_unstarted(&self, entry: &Rc<Entry>) {
        let container = entry.container();
        if !container.record.auto_remove || entry.life.borrow().removed {
            return;
        }
        let (engine, of) = (Arc::clone(&self.engine), container.as_ref().clone());
        match blocking(move || engine.delete(&of)).await {
            Ok(()) => self.forget(entry),
            Err(error) => {
                let error = casemate_model::chain(&error);
                tracing::warn!(container = %entry.id.short(), error, "not removed");
            }
        }
    }

    async fn try_bring_up(self: &Rc<Self>, entry: &Rc<Entry>) -> Result<(), StartError> {
        let container = entry.container();
        let (wiring, attachment) = self.attach_networks(&container)?;
        self.realize_bridges(&attachment).await?;
        let (engine, of, attached) = (Arc::clone(&self.engine), container.as_ref().clone(), attachment.record());
        let readied = blocking(move || {
            let readied = engine.ready(&of, wiring)?;
            file::write(&of.paths.attachments(), &attached, Durability::Ordered).map_err(StartError::Attachments)?;
            Ok(readied)
        });
        let readied = readied.await?;
        // Side by side: the firewall takes as long as the keeper does.
        let (client, way) = tokio::join!(self.engine.start_keeper(&container, readied), self.open_way(&attachment));
        let client = client?;
        if let Err(error) = way {
            client.shutdown().await.ok();
            client.lost().await;
            return Err(error);
        }
        self.note_connections(&attachment, &entry.id);
        // Asked for before the start, and on its way before it: a container that
        // is removed at its end tells how it ended to those who wait already.
        let exited = super::watch::exited(&client);
        tokio::task::yield_now().await;
        let started = async {
            entry.serve_attaching(&client).await?;
            client.start().await.map_err(Failure::from)
        };
        if let Err(failure) = started.await {
            // It clears up and goes.
            client.shutdown().await.ok();
            client.lost().await;
            return Err(StartError::Refused(failure));
        }
        self.reread(entry).await;
        self.up(entry, client.clone(), exited);
        self.note(entry, "start", []);
        // Those who came while it was being started.
        if let Err(failure) = entry.serve_attaching(&client).await {
            tracing::debug!(container = %entry.id.short(), error = casemate_model::chain(&failure), "not attached");
        }
        Ok(())
    }

    /// Asks it to stop, and kills it after a while: seconds, none if negative.
    pub async fn stop(
        self: &Rc<Self>,
        entry: &Rc<Entry>,
        signal: Option<Signal>,
        seconds: Option<i64>,
    ) -> Result<(), EngineError> {
        let (this, entry) = (Rc::clone(self), Rc::clone(entry));
        to_its_end(async move {
            let _changing = entry.changing.lock().await;
            this.end(&entry, signal, seconds).await
        })
        .await
    }

    async fn end(&self, entry: &Rc<Entry>, signal: Option<Signal>, seconds: Option<i64>) -> Result<(), EngineError> {
        self.note_by_user(entry, true).await;
        if self.give_up_restart(entry) {
            // dockerd counts one between two runs among those that run.
            self.note(entry, "stop", []);
            return Ok(());
        }
        let Some(client) = entry.client() else {
            return Err(EngineError::NotRunning { id: entry.id.to_string() });
        };
        let container = entry.container();
        let seconds = seconds.or(container.record.stop_timeout_s).unwrap_or(STOP_TIMEOUT);
        let timeout_ms = u64::try_from(seconds).ok().map(|seconds| seconds.saturating_mul(1000));
        let signal = signal.unwrap_or(container.stop_signal);
        self.note_signal(entry, signal);
        if let Err(error) = client.stop(signal, timeout_ms).await {
            let failure = Failure::from(error);
            // It ended by itself while this was said.
            if failure.class != ErrorClass::Unavailable && failure.class != ErrorClass::Conflict {
                return Err(EngineError::Refused(failure));
            }
        }
        self.until_down(entry).await;
        self.note(entry, "stop", []);
        Ok(())
    }

    /// Sends a signal; returns after a kill when the container is down.
    pub async fn kill(self: &Rc<Self>, entry: &Rc<Entry>, signal: Signal) -> Result<(), EngineError> {
        let not_running = || EngineError::NotRunning { id: entry.id.to_string() };
        entry.settled().await;
        let client = entry.client().ok_or_else(not_running)?;
        if signal == Signal::KILL || signal == entry.container().stop_signal {
            self.note_by_user(entry, true).await;
        }
        if let Err(error) = client.signal(&ProcessRef::Init, signal).await {
            return Err(match Failure::from(error) {
                failure if failure.class == ErrorClass::Conflict || failure.class == ErrorClass::Unavailable => {
                    not_running()
                }
                failure => EngineError::Refused(failure),
            });
        }
        self.note_signal(entry, signal);
        if signal == Signal::KILL {
            self.until_down(entry).await;
        }
        Ok(())
    }

    fn note_signal(&self, entry: &Entry, signal: Signal) {
        self.note(entry, "kill", [("signal", signal.number().to_string())]);
    }

    pub async fn restart(
        self: &Rc<Self>,
        entry: &Rc<Entry>,
        signal: Option<Signal>,
        seconds: Option<i64>,
    ) -> Result<(), StartError> {
        let (this, entry) = (Rc::clone(self), Rc::clone(entry));
        to_its_end(async move {
            let _changing = entry.changing.lock().await;
            this.refuse_removed(&entry)?;
            match this.end(&entry, signal, seconds).await {
                Ok(()) | Err(EngineError::NotRunning { .. }) => {}
                Err(error) => return Err(StartError::Stop(error)),
            }
            this.note_by_user(&entry, false).await;
            this.bring_up(&entry).await?;
            this.note(&entry, "restart", []);
            Ok(())
        })
        .await
    }

    pub async fn rename(self: &Rc<Self>, entry: &Rc<Entry>, name: ContainerName) -> Result<(), RenameError> {
        let (this, entry) = (Rc::clone(self), Rc::clone(entry));
        to_its_end(async move {
            let _changing = entry.changing.lock().await;
            let old = entry.container().name.clone();
            if old == name {
                return Err(RenameError::Same);
            }
            this.reserve(Some(&name)).map_err(RenameError::Name)?;
            let (engine, of, new) = (Arc::clone(&this.engine), entry.container().as_ref().clone(), name.clone());
            match blocking(move || engine.rename(of, new)).await {
                Ok(container) => {
                    entry.set_container(container);
                    this.names.borrow_mut().remove(&old);
                    this.names.borrow_mut().insert(name, Some(entry.id.clone()));
                    this.rename_on_networks(&entry).await;
                    this.note(&entry, "rename", [("oldName", format!("/{old}"))]);
                    Ok(())
                }
                Err(error) => {
                    this.names.borrow_mut().remove(&name);
                    Err(RenameError::Record(error))
                }
            }
        })
        .await
    }

    /// Removes a container and all it wrote; one that runs only by `force`.
    pub async fn remove(self: &Rc<Self>, entry: &Rc<Entry>, force: bool) -> Result<(), RemoveError> {
        let (this, entry) = (Rc::clone(self), Rc::clone(entry));
        to_its_end(async move { this.take_away(&entry, force).await }).await
    }

    async fn take_away(self: &Rc<Self>, entry: &Rc<Entry>, force: bool) -> Result<(), RemoveError> {
        let state = entry.status();
        if state == Status::Removing {
            return Err(RemoveError::InProgress { id: entry.id.to_string() });
        }
        if !force && (state.is_up() || state == Status::Restarting) {
            return Err(RemoveError::Running { name: entry.name(), state: state.as_str() });
        }
        if force {
            if state.is_up() {
                self.note_signal(entry, Signal::KILL);
            }
            self.note_by_user(entry, true).await;
            self.give_up_restart(entry);
            // A start that is under way is not waited for: without its keeper it
            // fails and is over.
            entry.condemned.set(true);
            self.end_keeper(entry).await;
        }
        let _changing = entry.changing.lock().await;
        entry.condemned.set(false);
        // Its start may have come to its end meanwhile.
        if entry.client().is_some() {
            if !force {
                return Err(RemoveError::Running { name: entry.name(), state: entry.status().as_str() });
            }
            self.end_keeper(entry).await;
            self.until_down(entry).await;
        }
        if entry.life.borrow().removed {
            // It was to be removed at its end, and came to it.
            return Ok(());
        }
        entry.set_status(Status::Removing);
        let (engine, container) = (Arc::clone(&self.engine), entry.container().as_ref().clone());
        if let Err(error) = blocking(move || engine.delete(&container)).await {
            entry.set_status(Status::Dead);
            return Err(error);
        }
        self.forget(entry);
        Ok(())
    }

    /// Removes a container that was left out because its records cannot be read.
    pub async fn remove_damaged(&self, text: &str) -> Result<(), RemoveError> {
        let (engine, wanted) = (Arc::clone(&self.engine), text.to_owned());
        let id = blocking(move || engine.find_damaged(&wanted)).await.map_err(RemoveError::Find)?;
        self.engine.remove_damaged(&id).await
    }

    /// Has its keeper, if it has one, kill what runs and clear up.
    async fn end_keeper(&self, entry: &Entry) {
        if let Some(client) = entry.client() {
            if let Err(error) = client.signal(&ProcessRef::Init, Signal::KILL).await {
                tracing::debug!(error = casemate_model::chain(&error), "kill before removal");
            }
            client.shutdown().await.ok();
            client.lost().await;
            return;
        }
        // A start under way has a keeper that is not known here yet.
        let container = entry.container();
        if container.has_keeper()
            && let Ok(keeper) = container.connect().await
        {
            keeper.shutdown().await.ok();
        }
    }

    /// The container exists no more.
    pub(super) fn forget(&self, entry: &Rc<Entry>) {
        if self.containers.borrow_mut().remove(&entry.id).is_none() {
            return;
        }
        self.names.borrow_mut().remove(&entry.container().name);
        self.execs.borrow_mut().forget_those_of(&entry.id);
        self.note(entry, "destroy", []);
        // Those who wait for its streams wait in vain.
        entry.attaching.take();
        entry.life.send_modify(|life| life.removed = true);
    }

    /// Whether there was one to be given up.
    fn give_up_restart(&self, entry: &Entry) -> bool {
        let restart = match &*entry.phase.borrow() {
            Phase::Pausing(restart) => restart.clone(),
            Phase::Resting | Phase::Starting | Phase::Up(_) => return false,
        };
        restart.abort();
        entry.phase.replace(Phase::Resting);
        entry.set_status(resting_status(&entry.container()));
        true
    }

    /// Writes down whether it is the user's will that it stands still, and
    /// begins to count its restarts anew.
    async fn note_by_user(&self, entry: &Entry, stopped: bool) {
        let record = RestartRecord { stopped_by_user: stopped, ..RestartRecord::new() };
        self.write_restart(entry, record).await;
    }

    pub(super) async fn write_restart(&self, entry: &Entry, record: RestartRecord) {
        let mut container = entry.container().as_ref().clone();
        if container.restart == record {
            return;
        }
        let path = container.paths.restart();
        container.restart = record.clone();
        entry.set_container(container);
        let written = blocking(move || casemate_record::file::write(&path, &record, Durability::Synced)).await;
        if let Err(error) = written {
            tracing::warn!(container = %entry.id.short(), error = casemate_model::chain(&error), class = error.class().name(), "restart state not kept");
        }
    }
}
