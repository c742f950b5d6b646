//! The container's life, as its keeper drives it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use casemate_model::{Classify, ContainerId, ContainerName, ErrorClass, Exited, Failure, OutputStream, ProcessRef};
use casemate_record::file::{self, Durability, RecordError};
use casemate_record::log::{AttributesRecord, LogFile, Retention};
use casemate_record::{ContainerPaths, StateRecord};
use casemate_wire::{Create, Place, Rewired, Started};
use tokio::sync::{Mutex, MutexGuard, OnceCell, watch};
use tokio::task::JoinSet;

use crate::attach::Outputs;
use crate::backend::Backend;
use crate::execs::Execs;
use crate::files::AtWork;
use crate::input::ClientInput;
use crate::network::Network;
use crate::pump::{Logged, Source, pump};
use crate::timeline::Timeline;
use crate::vm_mode::VmMode;
use crate::{process_mode, state, to_its_end};

#[derive(Debug)]
pub(crate) struct Keeper {
    pub(crate) id: ContainerId,
    pub(crate) name: ContainerName,
    pub(crate) paths: ContainerPaths,
    /// The container goes with its keeper.
    auto_remove: Cell<bool>,
    log: Retention,
    pub(crate) health_deadline: Duration,
    phase: RefCell<Phase>,
    pub(crate) at_work: AtWork,
    /// Held while a `create` or `start` is under way. Those run to their end
    /// even if their caller goes away: half a start cannot be given up.
    changing: Mutex<()>,
    exited: watch::Sender<Option<Exited>>,
    /// Set when nothing is left.
    gone: watch::Sender<bool>,
    /// Set when whoever still reads output is to be left behind.
    abandoned: watch::Sender<bool>,
}

#[derive(Debug)]
enum Phase {
    New,
    Created(Rc<Prepared>),
    Running(Rc<Prepared>),
    /// Not going to be started.
    Files(Backend),
    Ended,
}

/// What a container is prepared for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Start,
    Files,
}

/// A container that can be started, or was.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) backend: Backend,
    pub(crate) network: Network,
    pub(crate) outputs: Outputs,
    pub(crate) execs: Rc<Execs>,
    /// Unless nothing is to be kept.
    log: Option<Rc<RefCell<LogFile>>>,
    /// What is on disk of it.
    pub(crate) state: RefCell<StateRecord>,
    terminal: bool,
    /// The init's input ends with the first client that ends its own.
    stdin_once: bool,
    /// Opened by the first client that wants it.
    input: OnceCell<ClientInput>,
    /// Held while its networks are changed.
    rewiring: Mutex<()>,
    /// What it was prepared for is not wanted any more.
    given_up: Cell<bool>,
    timeline: Timeline,
}

impl Prepared {
    /// The init's input, shared with all others who write to it.
    pub(crate) async fn input(&self) -> Result<ClientInput, Failure> {
        let open = async || {
            let init = self.backend.stdin(&ProcessRef::Init).await?;
            Ok(ClientInput::to(init, self.stdin_once && !self.terminal))
        };
        self.input.get_or_try_init(open).await.cloned()
    }

    pub(crate) fn paused(&self) -> bool {
        self.state.borrow().paused
    }
}

impl Keeper {
    pub(crate) fn new(
        id: ContainerId,
        name: ContainerName,
        paths: ContainerPaths,
        auto_remove: bool,
        log: Retention,
        health_deadline: Duration,
    ) -> Self {
        Self {
            id,
            name,
            paths,
            auto_remove: Cell::new(auto_remove),
            log,
            health_deadline,
            phase: RefCell::new(Phase::New),
            at_work: AtWork::new(),
            changing: Mutex::new(()),
            exited: watch::channel(None).0,
            gone: watch::channel(false).0,
            abandoned: watch::channel(false).0,
        }
    }

    /// Waits until the container has ended and been cleared up.
    pub(crate) async fn gone(&self) {
        // The sender is `self`.
        let _ = self.gone.subscribe().wait_for(|gone| *gone).await;
    }

    /// Waits until the container has exited.
    pub(crate) async fn exited(&self) -> Exited {
        state::exited(&self.exited).await
    }

    pub(crate) async fn create(self: &Rc<Self>, create: Create) -> Result<(), Failure> {
        let this = Rc::clone(self);
        to_its_end(async move { this.change_to_created(create).await }).await
    }

    async fn change_to_created(&self, create: Create) -> Result<(), Failure> {
        let _changing = self.changing.lock().await;
        if !matches!(&*self.phase.borrow(), Phase::New) {
            return Err(Failure::new(ErrorClass::Conflict, "the container has been created before"));
        }
        match self.prepare(create).await {
            Ok(prepared) => {
                self.phase.replace(Phase::Created(Rc::new(prepared)));
                Ok(())
            }
            Err(failure) => {
                self.write_not_started(&failure);
                self.end();
                Err(failure)
            }
        }
    }

    async fn prepare(&self, create: Create) -> Result<Prepared, Failure> {
        let timeline = Timeline::new();
        let unopened = |error| Failure::new(ErrorClass::Internal, format!("cannot open the container's log: {error}"));
        let log = match self.log.files {
            0 => None,
            _ => {
                let attributes = self
                    .log_attributes()
                    .map_err(|error| Failure::new(ErrorClass::Internal, casemate_model::chain(&error)))?;
                Some(LogFile::open(self.paths.log(), self.log, &attributes).map_err(unopened)?)
            }
        };
        let terminal = create.container.init.terminal.is_some();
        let stdin_once = create.container.stdin_once;
        let (backend, network) = self.back(create, Purpose::Start, &timeline).await?;
        Ok(Prepared {
            backend,
            network,
            outputs: Outputs::default(),
            execs: Execs::new(),
            log: log.map(|log| Rc::new(RefCell::new(log))),
            state: RefCell::new(StateRecord::created()),
            terminal,
            stdin_once,
            input: OnceCell::new(),
            rewiring: Mutex::new(()),
            given_up: Cell::new(false),
            timeline,
        })
    }

    fn log_attributes(&self) -> Result<BTreeMap<String, String>, RecordError> {
        match file::read::<AttributesRecord>(&self.paths.log_attributes()) {
            Err(error) if error.is_missing() => Ok(BTreeMap::new()),
            read => read.map(|record| record.attributes),
        }
    }

    async fn back(&self, create: Create, purpose: Purpose, timeline: &Timeline) -> Result<(Backend, Network), Failure> {
        let Create { container, place } = create;
        match place {
            Place::Host(place) => {
                let (supervisor, network) =
                    process_mode::create(container, place, &self.paths, purpose, timeline).await?;
                timeline.step("create");
                Ok((Backend::Process(supervisor), network))
            }
            Place::Vm(place) => {
                let (network, nics) = Network::of_vm(&place.network).await?;
                timeline.step("network");
                let resolver = place.network.resolver.clone();
                let cards = (network.cards(), nics);
                let vm = VmMode::boot(container, place, cards, self, purpose, timeline).await?;
                if let Err(failure) = network.answer_for(&vm, resolver.as_ref()).await {
                    // The first failure is the one to tell.
                    vm.destroy(false).await.ok();
                    return Err(failure);
                }
                Ok((Backend::Vm(Rc::new(vm)), network))
            }
            Place::Guest(_) => Err(Failure::new(ErrorClass::InvalidArgument, "a keeper does not run in a guest")),
        }
    }

    /// Prepares the container without a state of its own, and not to start it.
    pub(crate) async fn open_files(self: &Rc<Self>, create: Create) -> Result<(), Failure> {
        let this = Rc::clone(self);
        to_its_end(async move { this.change_to_files(create).await }).await
    }

    async fn change_to_files(&self, create: Create) -> Result<(), Failure> {
        let _changing = self.changing.lock().await;
        if !matches!(&*self.phase.borrow(), Phase::New) {
            return Err(Failure::new(ErrorClass::Conflict, "the container has been created before"));
        }
        self.auto_remove.set(false);
        match self.back(create, Purpose::Files, &Timeline::new()).await {
            Ok((backend, _network)) => {
                self.phase.replace(Phase::Files(backend));
                Ok(())
            }
            Err(failure) => {
                self.end();
                Err(failure)
            }
        }
    }

    /// The container, for work on its files.
    pub(crate) fn with_files(&self) -> Result<Backend, Failure> {
        match &*self.phase.borrow() {
            Phase::Files(backend) => Ok(backend.clone()),
            Phase::Running(prepared) if !self.has_exited() => Ok(prepared.backend.clone()),
            _ => Err(Failure::new(ErrorClass::Conflict, format!("container {} is not running", self.id))),
        }
    }

    pub(crate) async fn start(self: &Rc<Self>) -> Result<Started, Failure> {
        let this = Rc::clone(self);
        to_its_end(async move { this.change_to_running().await }).await
    }

    async fn change_to_running(self: &Rc<Self>) -> Result<Started, Failure> {
        let _changing = self.changing.lock().await;
        let prepared = match &*self.phase.borrow() {
            Phase::Created(prepared) => Rc::clone(prepared),
            Phase::Running(_) => return Err(Failure::new(ErrorClass::NotModified, "the container is running")),
            _ => return Err(Failure::new(ErrorClass::Conflict, "the container is not prepared")),
        };
        prepared.timeline.step("wait for client");
        let started = match self.bring_up(&prepared).await {
            Ok(_) if prepared.given_up.get() => Err(Failure::new(ErrorClass::Unavailable, "the start was given up")),
            started => started,
        };
        match started {
            Ok((pid, streams)) => {
                prepared.timeline.step("start");
                let timeline = prepared.timeline.own_steps();
                let state =
                    state::running(self.state_before(), pid, prepared.backend.vm_record(), prepared.timeline.steps());
                self.write_state(&state, Durability::Ordered);
                prepared.state.replace(state);
                self.phase.replace(Phase::Running(Rc::clone(&prepared)));
                tokio::task::spawn_local(Rc::clone(self).see_through(prepared, streams));
                Ok(Started { pid, timeline })
            }
            Err(failure) => {
                self.destroy_prepared(&prepared, false).await;
                self.write_not_started(&failure);
                self.end();
                Err(failure)
            }
        }
    }

    async fn bring_up(&self, prepared: &Prepared) -> Result<(u32, JoinSet<()>), Failure> {
        let pid = prepared.backend.start(&prepared.timeline).await?;
        let mut pumps = JoinSet::new();
        for stream in [OutputStream::Stdout, OutputStream::Stderr] {
            let output = prepared.outputs.of(stream);
            if prepared.terminal && stream == OutputStream::Stderr {
                output.end();
                continue;
            }
            let reader = prepared.backend.output(&ProcessRef::Init, stream).await?;
            let source = Source::new(reader, self.exited.subscribe());
            let log = prepared.log.as_ref().map(|log| Logged::new(stream, Rc::clone(log)));
            pumps.spawn_local(pump(source, Rc::clone(output), log));
        }
        Ok((pid, pumps))
    }

    /// From running to gone.
    async fn see_through(self: Rc<Self>, prepared: Rc<Prepared>, mut pumps: JoinSet<()>) {
        let exited = prepared.backend.wait(&ProcessRef::Init).await.unwrap_or_else(state::unseen);
        tracing::info!(code = exited.status.code(), reason = exited.reason, "container ended");
        let durability = if self.auto_remove.get() { Durability::Ordered } else { Durability::Synced };
        let state = state::ended(prepared.state.borrow().clone(), &exited);
        self.write_state(&state, durability);
        self.exited.send_replace(Some(exited));
        // What it wrote last is still to be read, unless nobody wants to.
        let mut abandoned = self.abandoned.subscribe();
        tokio::select! {
            () = async {
                while pumps.join_next().await.is_some() {}
                // Whatever is being copied is copied to its end.
                self.at_work.done().await;
            } => {}
            _ = abandoned.wait_for(|abandoned| *abandoned) => pumps.shutdown().await,
        }
        for stream in [OutputStream::Stdout, OutputStream::Stderr] {
            prepared.outputs.of(stream).end();
        }
        self.destroy_prepared(&prepared, !self.auto_remove.get()).await;
        self.end();
    }

    /// The engine that made the container is gone: what was not started by
    /// then never will be.
    pub(crate) async fn creator_gone(&self) {
        self.give_up_start().await;
        let _changing = self.changing.lock().await;
        let (created, files) = match &*self.phase.borrow() {
            Phase::New => (None, None),
            Phase::Created(prepared) => (Some(Rc::clone(prepared)), None),
            Phase::Files(backend) => (None, Some(backend.clone())),
            Phase::Running(_) | Phase::Ended => return,
        };
        if let Some(prepared) = created {
            self.destroy_prepared(&prepared, false).await;
        }
        if let Some(backend) = files {
            // What was copied in stays.
            self.destroy(&backend, true).await;
        }
        self.end();
    }

    /// Ends the container and the keeper, whatever is still to be read.
    pub(crate) async fn shut_down(&self) -> Result<(), Failure> {
        self.abandoned.send_replace(true);
        self.give_up_start().await;
        let _changing = self.changing.lock().await;
        let (prepared, files, running) = match &*self.phase.borrow() {
            Phase::New => (None, None, false),
            Phase::Created(prepared) => (Some(Rc::clone(prepared)), None, false),
            Phase::Running(prepared) => (Some(Rc::clone(prepared)), None, true),
            Phase::Files(backend) => (None, Some(backend.clone()), false),
            Phase::Ended => return Ok(()),
        };
        let destroyed = match (&prepared, &files) {
            (Some(prepared), _) => prepared.backend.destroy(false).await,
            (None, Some(backend)) => backend.destroy(true).await,
            (None, None) => Ok(()),
        };
        // One that ran is seen through to its end by its own task.
        if !running {
            if let Some(prepared) = prepared {
                prepared.network.unwire_all().await;
            }
            self.end();
        }
        destroyed
    }

    /// A guest may never answer a start that is under way; without its VM the
    /// start fails and is over.
    async fn give_up_start(&self) {
        let starting = match &*self.phase.borrow() {
            Phase::Created(prepared) if self.changing.try_lock().is_err() => Some(Rc::clone(prepared)),
            _ => None,
        };
        if let Some(prepared) = starting {
            // The start may come to its end all the same.
            prepared.given_up.set(true);
            self.destroy(&prepared.backend, false).await;
        }
    }

    /// What was begun is ended, whatever becomes of the caller.
    pub(crate) async fn rewire(self: &Rc<Self>, rewired: Rewired) -> Result<(), Failure> {
        let this = Rc::clone(self);
        to_its_end(async move {
            let running = this.running()?;
            let _rewiring = running.rewiring.lock().await;
            // A guest that stands still changes nothing.
            if running.paused() && matches!(running.backend, Backend::Vm(_)) {
                let message = format!("container {} is paused: unpause it to change its networks", this.id);
                return Err(Failure::new(ErrorClass::Conflict, message));
            }
            running.network.rewire(&rewired, &running.backend).await
        })
        .await
    }

    pub(crate) fn running(&self) -> Result<Rc<Prepared>, Failure> {
        match &*self.phase.borrow() {
            Phase::Running(prepared) => Ok(Rc::clone(prepared)),
            _ => Err(Failure::new(ErrorClass::Conflict, format!("container {} is not running", self.id))),
        }
    }

    /// The container, started or about to be.
    pub(crate) fn prepared(&self) -> Result<Rc<Prepared>, Failure> {
        match &*self.phase.borrow() {
            Phase::Created(prepared) | Phase::Running(prepared) => Ok(Rc::clone(prepared)),
            _ => Err(Failure::new(ErrorClass::Conflict, format!("container {} is not running", self.id))),
        }
    }

    async fn destroy_prepared(&self, prepared: &Prepared, keep_disk: bool) {
        prepared.network.stop_answering();
        self.destroy(&prepared.backend, keep_disk).await;
        prepared.network.unwire_all().await;
    }

    async fn destroy(&self, backend: &Backend, keep_disk: bool) {
        if let Err(failure) = backend.destroy(keep_disk).await {
            tracing::error!(error = failure.message, "not all was taken away");
        }
    }

    fn end(&self) {
        self.phase.replace(Phase::Ended);
        if self.auto_remove.get() {
            remove_dir(&self.paths.dir);
        }
        self.remove_run_dir();
        self.gone.send_replace(true);
    }

    /// Whatever else exists of a running container, its lock does: the lock's
    /// file goes last. Clients are told the end after that, so that none of them
    /// finds anything left.
    fn remove_run_dir(&self) {
        let lock = self.paths.keeper_lock();
        let entries = fs::read_dir(&self.paths.run).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()).filter(|path| *path != lock) {
            note(&path, casemate_tree::remove(&path));
        }
        note(&lock, fs::remove_file(&lock));
        note(&self.paths.run, fs::remove_dir(&self.paths.run));
    }

    /// Held while the container's phase is changed.
    pub(crate) async fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().await
    }

    pub(crate) fn has_exited(&self) -> bool {
        self.exited.borrow().is_some()
    }

    /// What the last run left; without one it has never run.
    fn state_before(&self) -> StateRecord {
        file::read(&self.paths.state()).unwrap_or_else(|_| StateRecord::created())
    }

    fn write_not_started(&self, failure: &Failure) {
        self.write_state(&state::not_started(self.state_before(), failure), Durability::Ordered);
    }

    pub(crate) fn write_state(&self, state: &StateRecord, durability: Durability) {
        if let Err(error) = file::write(&self.paths.state(), state, durability) {
            tracing::error!(error = casemate_model::chain(&error), class = error.class().name(), "state not kept");
        }
    }
}

fn remove_dir(path: &std::path::Path) {
    note(path, casemate_tree::remove(path));
}

fn note(path: &std::path::Path, removed: io::Result<()>) {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::error!(path = %path.display(), %error, "not removed");
        }
        _ => {}
    }
}
