//! The seam between the two kinds of isolation: what a keeper needs of either.

use std::rc::Rc;

use casemate_model::{Exited, Failure, Limits, OutputStream, Process, ProcessRef, Signal, TerminalSize};
use casemate_record::VmRecord;
use casemate_supervisor::Supervisor;
use casemate_wire::{ContainerProcess, ExecStarted, Sockets, Stats};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::process_mode;
use crate::timeline::Timeline;
use crate::vm_mode::VmMode;

pub(crate) type Input = Box<dyn AsyncWrite + Unpin>;
pub(crate) type Output = Box<dyn AsyncRead + Unpin>;

/// A prepared container. Dropping it kills what it started.
#[derive(Clone, Debug)]
pub(crate) enum Backend {
    /// Acts.
    Process(Rc<Supervisor>),
    /// Forwards to the agent.
    Vm(Rc<VmMode>),
}

impl Backend {
    /// Starts the container's init; returns the pid by which the host knows it.
    pub(crate) async fn start(&self, timeline: &Timeline) -> Result<u32, Failure> {
        match self {
            Self::Process(supervisor) => supervisor.start().await,
            Self::Vm(vm) => vm.start(timeline).await,
        }
    }

    pub(crate) async fn exec(&self, process: &Process) -> Result<ExecStarted, Failure> {
        match self {
            Self::Process(supervisor) => process_mode::exec(supervisor, process).await,
            Self::Vm(vm) => vm.exec(process).await,
        }
    }

    pub(crate) async fn signal(&self, process: &ProcessRef, signal: Signal) -> Result<(), Failure> {
        match self {
            Self::Process(supervisor) => supervisor.signal(process, signal),
            Self::Vm(vm) => vm.signal(process, signal).await,
        }
    }

    pub(crate) async fn resize(&self, process: &ProcessRef, size: TerminalSize) -> Result<(), Failure> {
        match self {
            Self::Process(supervisor) => supervisor.resize(process, size),
            Self::Vm(vm) => vm.resize(process, size).await,
        }
    }

    /// Returns when the process has ended, or what held it has.
    pub(crate) async fn wait(&self, process: &ProcessRef) -> Result<Exited, Failure> {
        match self {
            Self::Process(supervisor) => supervisor.wait(process).await,
            Self::Vm(vm) => vm.wait(process).await,
        }
    }

    pub(crate) async fn stdin(&self, process: &ProcessRef) -> Result<Input, Failure> {
        Ok(match self {
            Self::Process(supervisor) => Box::new(supervisor.take_stdin(process)?),
            Self::Vm(vm) => Box::new(vm.stdin(process).await?),
        })
    }

    pub(crate) async fn output(&self, process: &ProcessRef, stream: OutputStream) -> Result<Output, Failure> {
        Ok(match self {
            Self::Process(supervisor) => Box::new(supervisor.take_output(process, stream)?),
            Self::Vm(vm) => Box::new(vm.output(process, stream).await?),
        })
    }

    /// Has everything of the container stand still; returns when it does.
    pub(crate) async fn pause(&self) -> Result<(), Failure> {
        match self {
            Self::Process(supervisor) => supervisor.pause(),
            Self::Vm(vm) => vm.pause().await,
        }
    }

    pub(crate) async fn unpause(&self) -> Result<(), Failure> {
        match self {
            Self::Process(supervisor) => supervisor.unpause(),
            Self::Vm(vm) => vm.unpause().await,
        }
    }

    /// Sets other limits on the running container.
    pub(crate) async fn update(&self, limits: &Limits) -> Result<(), Failure> {
        match self {
            Self::Process(supervisor) => supervisor.update(limits),
            Self::Vm(vm) => vm.update(limits).await,
        }
    }

    pub(crate) async fn processes(&self) -> Result<Vec<ContainerProcess>, Failure> {
        match self {
            Self::Process(supervisor) => supervisor.processes(),
            Self::Vm(vm) => vm.processes().await,
        }
    }

    pub(crate) async fn sockets(&self) -> Result<Sockets, Failure> {
        match self {
            Self::Process(supervisor) => supervisor.sockets(),
            Self::Vm(vm) => vm.sockets().await,
        }
    }

    pub(crate) async fn stats(&self) -> Result<Stats, Failure> {
        match self {
            Self::Process(supervisor) => supervisor.stats(),
            Self::Vm(vm) => vm.stats().await,
        }
    }

    /// What there is to say of the VM.
    pub(crate) fn vm_record(&self) -> Option<VmRecord> {
        match self {
            Self::Process(_) => None,
            Self::Vm(vm) => Some(vm.record()),
        }
    }

    /// Ends everything and takes away what the host holds for it. With
    /// `keep_disk` what the container wrote is brought to a clean state first.
    pub(crate) async fn destroy(&self, keep_disk: bool) -> Result<(), Failure> {
        match self {
            Self::Process(supervisor) => supervisor.destroy().await,
            Self::Vm(vm) => vm.destroy(keep_disk).await,
        }
    }
}
