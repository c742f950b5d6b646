//! The wire's vocabulary, answered by a keeper.

use std::rc::Rc;
use std::time::Duration;

use casemate_model::{ErrorClass, Exited, Failure, Limits, OutputStream, Process, ProcessRef, Signal, TerminalSize};
use casemate_wire::{ContainerProcess, Create, ExecStarted, GuestFacts, Service, Started, Stats};

use crate::backend::{Input, Output};
use crate::keeper::Keeper;

/// A keeper, as its clients meet it.
#[derive(Debug)]
pub(crate) struct Desk(pub(crate) Rc<Keeper>);

impl Service for Desk {
    type Stdin = Input;
    type Output = Output;

    async fn create(&self, create: Create) -> Result<(), Failure> {
        self.0.create(create).await
    }

    async fn start(&self) -> Result<Started, Failure> {
        self.0.start().await
    }

    async fn exec(&self, process: Process) -> Result<ExecStarted, Failure> {
        self.0.exec(&process).await
    }

    async fn signal(&self, process: ProcessRef, signal: Signal) -> Result<(), Failure> {
        self.0.signal(&process, signal).await
    }

    async fn resize(&self, process: ProcessRef, size: TerminalSize) -> Result<(), Failure> {
        self.0.running()?.backend.resize(&process, size).await
    }

    async fn wait(&self, process: ProcessRef) -> Result<Exited, Failure> {
        match process {
            // Answered also before the start and long after the end.
            ProcessRef::Init => Ok(self.0.exited().await),
            exec @ ProcessRef::Exec(_) => self.0.running()?.backend.wait(&exec).await,
        }
    }

    async fn stop(&self, signal: Signal, timeout_ms: Option<u64>) -> Result<(), Failure> {
        self.0.stop(signal, timeout_ms.map(Duration::from_millis)).await
    }

    async fn pause(&self) -> Result<(), Failure> {
        self.0.pause().await
    }

    async fn unpause(&self) -> Result<(), Failure> {
        self.0.unpause().await
    }

    async fn update(&self, limits: Limits) -> Result<(), Failure> {
        self.0.running()?.backend.update(&limits).await
    }

    async fn processes(&self) -> Result<Vec<ContainerProcess>, Failure> {
        self.0.running()?.backend.processes().await
    }

    async fn stats(&self) -> Result<Stats, Failure> {
        self.0.running()?.backend.stats().await
    }

    async fn facts(&self) -> Result<GuestFacts, Failure> {
        Err(Failure::new(ErrorClass::InvalidArgument, "a keeper is not in a guest; what it knows of one is its state"))
    }

    async fn shutdown(&self) -> Result<(), Failure> {
        self.0.shut_down().await
    }

    async fn stdin(&self, process: ProcessRef) -> Result<Input, Failure> {
        let running = self.0.running()?;
        match process {
            ProcessRef::Init => Ok(Box::new(running.input().await?)),
            exec @ ProcessRef::Exec(_) => running.backend.stdin(&exec).await,
        }
    }

    async fn output(&self, process: ProcessRef, stream: OutputStream) -> Result<Output, Failure> {
        match process {
            // Attaching before the start misses nothing.
            ProcessRef::Init => Ok(Box::new(self.0.prepared()?.outputs.attach(stream))),
            exec @ ProcessRef::Exec(_) => self.0.running()?.backend.output(&exec, stream).await,
        }
    }
}
