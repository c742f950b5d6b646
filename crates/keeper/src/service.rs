//! The wire's vocabulary, answered by a keeper.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use casemate_model::{
    ErrorClass, ExecId, Exited, Failure, Limits, OutputStream, Process, ProcessRef, Signal, TerminalSize,
};
use casemate_wire::{
    ContainerProcess, Create, ExecStarted, GuestFacts, Reconfigured, Rewired, Service, Sockets, Started, Stats,
};
use tokio::io::Empty;

use crate::attach::{Attached, Outputs};
use crate::backend::Input;
use crate::execs::Exec;
use crate::keeper::Keeper;

/// A keeper, as one of its clients meets it.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) keeper: Rc<Keeper>,
    /// Of the execs that this client has started, and is expected to read.
    outputs: RefCell<Vec<Outputs>>,
}

impl Desk {
    pub(crate) fn new(keeper: Rc<Keeper>) -> Self {
        Self { keeper, outputs: RefCell::default() }
    }

    fn exec(&self, id: &ExecId) -> Result<Rc<Exec>, Failure> {
        self.keeper.running()?.execs.known(id)
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        for outputs in self.outputs.take() {
            outputs.expect_nobody();
        }
    }
}

impl Service for Desk {
    type Stdin = Input;
    type Output = Attached;
    type Queries = Empty;

    async fn create(&self, create: Create) -> Result<(), Failure> {
        self.keeper.create(create).await
    }

    async fn start(&self) -> Result<Started, Failure> {
        self.keeper.start().await
    }

    async fn exec(&self, process: Process) -> Result<ExecStarted, Failure> {
        let prepared = self.keeper.ready_for_exec()?;
        let outputs = Outputs::default();
        {
            // Before it starts: its client may go meanwhile.
            let mut of_client = self.outputs.borrow_mut();
            of_client.retain(Outputs::are_known);
            of_client.push(outputs.clone());
        }
        prepared.execs.start(prepared.backend.clone(), process, outputs).await
    }

    async fn signal(&self, process: ProcessRef, signal: Signal) -> Result<(), Failure> {
        self.keeper.signal(&process, signal).await
    }

    async fn resize(&self, process: ProcessRef, size: TerminalSize) -> Result<(), Failure> {
        self.keeper.running()?.backend.resize(&process, size).await
    }

    async fn wait(&self, process: ProcessRef) -> Result<Exited, Failure> {
        match process {
            // Answered also before the start and long after the end.
            ProcessRef::Init => Ok(self.keeper.exited().await),
            ProcessRef::Exec(id) => Ok(self.exec(&id)?.exited().await),
        }
    }

    async fn stop(&self, signal: Signal, timeout_ms: Option<u64>) -> Result<(), Failure> {
        self.keeper.stop(signal, timeout_ms.map(Duration::from_millis)).await
    }

    async fn pause(&self) -> Result<(), Failure> {
        self.keeper.pause().await
    }

    async fn unpause(&self) -> Result<(), Failure> {
        self.keeper.unpause().await
    }

    async fn update(&self, limits: Limits) -> Result<(), Failure> {
        self.keeper.running()?.backend.update(&limits).await
    }

    async fn rewire(&self, rewired: Rewired) -> Result<(), Failure> {
        self.keeper.rewire(rewired).await
    }

    async fn reconfigure(&self, _: Reconfigured) -> Result<(), Failure> {
        Err(Failure::new(ErrorClass::InvalidArgument, "a keeper has no network cards"))
    }

    async fn resolve(&self) -> Result<Empty, Failure> {
        Err(Failure::new(ErrorClass::InvalidArgument, "a keeper is its container's resolver itself"))
    }

    async fn processes(&self) -> Result<Vec<ContainerProcess>, Failure> {
        self.keeper.running()?.backend.processes().await
    }

    async fn sockets(&self) -> Result<Sockets, Failure> {
        self.keeper.running()?.backend.sockets().await
    }

    async fn stats(&self) -> Result<Stats, Failure> {
        self.keeper.running()?.backend.stats().await
    }

    async fn facts(&self) -> Result<GuestFacts, Failure> {
        Err(Failure::new(ErrorClass::InvalidArgument, "a keeper is not in a guest; what it knows of one is its state"))
    }

    async fn shutdown(&self) -> Result<(), Failure> {
        self.keeper.shut_down().await
    }

    async fn stdin(&self, process: ProcessRef) -> Result<Input, Failure> {
        let running = self.keeper.running()?;
        match process {
            ProcessRef::Init => Ok(Box::new(running.input().await?)),
            exec @ ProcessRef::Exec(_) => running.backend.stdin(&exec).await,
        }
    }

    async fn output(&self, process: ProcessRef, stream: OutputStream) -> Result<Attached, Failure> {
        match process {
            // Attaching before the start misses nothing.
            ProcessRef::Init => Ok(self.keeper.prepared()?.outputs.of(stream).attach()),
            ProcessRef::Exec(id) => Ok(self.exec(&id)?.outputs.of(stream).attach()),
        }
    }
}
