//! Hyperv isolation: the VM process is a child of the keeper, and the agent
//! in the VM does what the keeper is asked.
//!
//! A VM ends in one of these ways, and each is told as the container's end:
//! the agent shut it down (wanted), the guest's kernel panicked, the VM
//! process died or was killed, the guest broke the protocol, or its agent did
//! not answer for the health deadline. In all but the first the VM process is
//! killed and what is known of the reason is kept.

mod boot;
mod watch;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use casemate_model::{ExecId, ExitStatus, Exited, Failure, OutputStream, Process, ProcessRef, Signal, TerminalSize};
use casemate_record::VmRecord;
use casemate_wire::{CallError, Client, ContainerProcess, Stats, Stream};
use tokio::task::JoinSet;

use crate::timeline::Timeline;
use watch::Ending;

/// How long the guest has to write its disk out and reboot. A guest that
/// cannot is killed: what its processes synced is on the disk all the same.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(10);

/// How long a guest may take to pass on a kill before its VM is killed.
const KILL_DEADLINE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct VmMode {
    client: Client,
    ending: Rc<Ending>,
    cgroup: casemate_launch::Cgroup,
    record: VmRecord,
    pid: u32,
    /// Console, process, connection and health are watched here; dropping it
    /// stops that, and with it dies the VM.
    watchers: RefCell<JoinSet<()>>,
}

impl VmMode {
    pub(crate) async fn start(&self, timeline: &Timeline) -> Result<u32, Failure> {
        let from = Instant::now();
        let started = self.ending.answered(self.client.start()).await?;
        timeline.guest_steps(from, started.timeline);
        Ok(self.pid)
    }

    pub(crate) async fn exec(&self, process: &Process) -> Result<ExecId, Failure> {
        self.ending.answered(self.client.exec(process)).await
    }

    pub(crate) async fn signal(&self, process: &ProcessRef, signal: Signal) -> Result<(), Failure> {
        let sent = self.ending.answered(self.client.signal(process, signal));
        if signal != Signal::KILL || *process != ProcessRef::Init {
            return sent.await;
        }
        // A guest that says it has passed the kill on has still to show it.
        let killed = async {
            sent.await?;
            self.wait(process).await.map(drop)
        };
        match tokio::time::timeout(KILL_DEADLINE, killed).await {
            Ok(killed) => killed,
            Err(_) => {
                self.ending.end("the guest did not pass on the kill");
                Ok(())
            }
        }
    }

    pub(crate) async fn resize(&self, process: &ProcessRef, size: TerminalSize) -> Result<(), Failure> {
        self.ending.answered(self.client.resize(process, size)).await
    }

    pub(crate) async fn wait(&self, process: &ProcessRef) -> Result<Exited, Failure> {
        match self.client.wait(process).await {
            Ok(exited) => Ok(exited),
            Err(CallError::Refused(failure)) => Err(failure),
            Err(_) => {
                let reason = Some(self.ending.reason().await);
                Ok(Exited { status: ExitStatus::Signal(Signal::KILL), oom_killed: false, reason })
            }
        }
    }

    pub(crate) async fn stdin(&self, process: &ProcessRef) -> Result<Stream, Failure> {
        self.ending.answered(self.client.stdin(process)).await
    }

    pub(crate) async fn output(&self, process: &ProcessRef, stream: OutputStream) -> Result<Stream, Failure> {
        self.ending.answered(self.client.output(process, stream)).await
    }

    pub(crate) async fn processes(&self) -> Result<Vec<ContainerProcess>, Failure> {
        self.ending.answered(self.client.processes()).await
    }

    pub(crate) async fn stats(&self) -> Result<Stats, Failure> {
        self.ending.answered(self.client.stats()).await
    }

    pub(crate) fn record(&self) -> VmRecord {
        self.record.clone()
    }

    /// Ends the VM and removes its control group.
    pub(crate) async fn destroy(&self, keep_disk: bool) -> Result<(), Failure> {
        if keep_disk && !self.ending.has_ended() {
            let down = async {
                // No answer is the usual one: the guest is gone by then.
                let _ = self.client.shutdown().await;
                self.ending.ended().await;
            };
            if tokio::time::timeout(SHUTDOWN_DEADLINE, down).await.is_err() {
                tracing::warn!("the guest did not shut down");
            }
        }
        self.ending.end("the container was removed");
        self.ending.ended().await;
        self.watchers.borrow_mut().abort_all();
        self.cgroup.destroy().map_err(|error| Failure::from_error(&error))
    }
}
