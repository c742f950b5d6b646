//! Hyperv isolation: the VM process is a child of the keeper, and the agent
//! in the VM does what the keeper is asked.
//!
//! A VM ends in one of these ways, and each is told as the container's end:
//! the agent shut it down (wanted), the guest's kernel panicked, the VM
//! process died or was killed, the guest broke the protocol, or its agent did
//! not answer for the health deadline. In all but the first the VM process is
//! killed and what is known of the reason is kept.

mod boot;
mod files;
mod limits;
mod watch;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use casemate_model::{
    ErrorClass, ExitStatus, Exited, Failure, Limits, OutputStream, Process, ProcessRef, Signal, TerminalSize,
};
use casemate_record::VmRecord;
use casemate_vm::VmSize;
use casemate_wire::{
    CallError, Client, ContainerProcess, ExecStarted, GuestFacts, Reconfigured, Sockets, Stats, Stream, VmCost,
};
use tokio::sync::watch::Sender;
use tokio::task::JoinSet;

use crate::timeline::Timeline;
pub(crate) use files::{GuestArchive, GuestUnpacking};
use watch::Ending;

/// How long the guest has to write its disk out and reboot. A guest that
/// cannot is killed: what its processes synced is on the disk all the same.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(10);

/// How long a guest may take to pass on a kill before its VM is killed.
const KILL_DEADLINE: Duration = Duration::from_secs(10);

/// How long a guest may take to change its network, on a busy host too.
const NETWORK_DEADLINE: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) struct VmMode {
    client: Client,
    ending: Rc<Ending>,
    cgroup: casemate_launch::Cgroup,
    size: VmSize,
    /// What there was to say of the guest when it was made to stand still.
    standing: RefCell<Option<Standing>>,
    /// Work on files that is under way: as long as there is some, a guest that
    /// stands still runs all the same, without its container.
    at_work: Cell<usize>,
    /// What the guest has to say of itself is in it when it has started.
    record: RefCell<VmRecord>,
    pid: u32,
    /// Set when [`Self::wait`] has told the end of the init.
    init_ended: Sender<bool>,
    /// Console, process, connection and health are watched here; dropping it
    /// stops that, and with it dies the VM.
    watchers: RefCell<JoinSet<()>>,
}

/// A guest that stands still cannot be asked, and nothing in it changes.
#[derive(Clone, Debug)]
struct Standing {
    stats: Stats,
    processes: Vec<ContainerProcess>,
    sockets: Sockets,
}

impl VmMode {
    pub(crate) async fn start(&self, timeline: &Timeline) -> Result<u32, Failure> {
        // Asked together: the guest tells of itself while its container starts.
        let (started, facts) =
            tokio::join!(self.ending.answered(self.client.start()), self.ending.answered(self.client.facts()));
        let started = started?;
        let GuestFacts { kernel_release, boot_id, memory_total: _, cpus: _ } = facts?;
        let mut record = self.record.borrow_mut();
        record.kernel_release = kernel_release;
        record.boot_id = boot_id;
        timeline.guest_steps(started.timeline);
        Ok(self.pid)
    }

    pub(crate) async fn exec(&self, process: &Process) -> Result<ExecStarted, Failure> {
        self.ending.answered(self.client.exec(process)).await
    }

    pub(crate) async fn signal(&self, process: &ProcessRef, signal: Signal) -> Result<(), Failure> {
        if signal != Signal::KILL || *process != ProcessRef::Init {
            let (client, process) = (self.client.clone(), process.clone());
            return self.tell(async move { client.signal(&process, signal).await }).await;
        }
        // A guest that says it has passed the kill on has still to show it.
        let killed = async {
            self.ending.answered(self.client.signal(process, signal)).await?;
            // The sender is `self`.
            let _ = self.init_ended.subscribe().wait_for(|ended| *ended).await;
            Ok(())
        };
        tokio::select! {
            killed = killed => killed,
            () = self.ending.has_run(KILL_DEADLINE) => {
                self.ending.end("the guest did not pass on the kill");
                Ok(())
            }
        }
    }

    pub(crate) async fn resize(&self, process: &ProcessRef, size: TerminalSize) -> Result<(), Failure> {
        let (client, process) = (self.client.clone(), process.clone());
        self.tell(async move { client.resize(&process, size).await }).await
    }

    /// Has the guest do something; one that stands still does it when it goes
    /// on, and nobody waits for that.
    async fn tell(&self, call: impl Future<Output = Result<(), CallError>> + 'static) -> Result<(), Failure> {
        if !self.ending.is_frozen() {
            return self.ending.answered(call).await;
        }
        let ending = Rc::clone(&self.ending);
        tokio::task::spawn_local(async move {
            if let Err(failure) = ending.answered(call).await {
                tracing::warn!(error = failure.message, "the guest did not do what it was told while it was paused");
            }
        });
        Ok(())
    }

    /// The VM process is what stands still, and with it all the guest's
    /// processors; the container does in its guest too, for when somebody wants
    /// its files.
    pub(crate) async fn pause(&self) -> Result<(), Failure> {
        let (stats, processes, sockets) = (self.stats().await?, self.processes().await?, self.sockets().await?);
        let standing = Standing { stats, processes, sockets };
        self.ending.answered(self.client.pause()).await?;
        if self.at_work.get() == 0
            && let Err(failure) = self.freeze()
        {
            self.ending.answered(self.client.unpause()).await?;
            return Err(failure);
        }
        self.standing.replace(Some(standing));
        Ok(())
    }

    pub(crate) async fn unpause(&self) -> Result<(), Failure> {
        self.thaw()?;
        self.standing.take();
        self.ending.answered(self.client.unpause()).await
    }

    fn freeze(&self) -> Result<(), Failure> {
        self.ending.set_frozen(true);
        self.cgroup.freeze().map_err(|error| {
            self.ending.set_frozen(false);
            Failure::from_error(&error)
        })
    }

    fn thaw(&self) -> Result<(), Failure> {
        self.cgroup.thaw().map_err(|error| Failure::from_error(&error))?;
        self.ending.set_frozen(false);
        Ok(())
    }

    /// Within what the VM has: its memory and processors are what they were
    /// when it was made.
    pub(crate) async fn update(&self, limits: &Limits) -> Result<(), Failure> {
        limits::check(limits, self.size)?;
        let failed = |error| Failure::from_error(&error);
        let before = self.cgroup.stats().map_err(failed)?.limits;
        self.cgroup.update(&limits::of_process(limits, self.size)).map_err(failed)?;
        let (client, guest) = (self.client.clone(), limits::of_guest(limits));
        let told = self.tell(async move { client.update(&guest).await }).await;
        if told.is_err()
            && let Err(error) = self.cgroup.update(&before)
        {
            tracing::warn!(error = casemate_model::chain(&error), "the VM process keeps limits it should not have");
        }
        told
    }

    pub(crate) async fn wait(&self, process: &ProcessRef) -> Result<Exited, Failure> {
        let ended = self.ended(process).await;
        if *process == ProcessRef::Init {
            self.init_ended.send_replace(true);
        }
        ended
    }

    async fn ended(&self, process: &ProcessRef) -> Result<Exited, Failure> {
        match self.client.wait(process).await {
            Ok(exited) => Ok(exited),
            Err(error @ (CallError::Refused(_) | CallError::Full)) => Err(error.into()),
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
        let standing = self.standing.borrow().as_ref().map(|standing| standing.processes.clone());
        match standing {
            Some(processes) => Ok(processes),
            None => self.ending.answered(self.client.processes()).await,
        }
    }

    pub(crate) async fn sockets(&self) -> Result<Sockets, Failure> {
        let standing = self.standing.borrow().as_ref().map(|standing| standing.sockets.clone());
        match standing {
            Some(sockets) => Ok(sockets),
            None => self.ending.answered(self.client.sockets()).await,
        }
    }

    /// The guest's accounts, beside those that the host keeps of the VM.
    pub(crate) async fn stats(&self) -> Result<Stats, Failure> {
        let standing = self.standing.borrow().as_ref().map(|standing| standing.stats.clone());
        let stats = match standing {
            Some(stats) => stats,
            None => self.ending.answered(self.client.stats()).await?,
        };
        let cost = self.cgroup.stats().map_err(|error| Failure::from_error(&error))?;
        Ok(Stats { vm: Some(VmCost { cpu_ns: cost.cpu.total_ns, memory: cost.memory.without_cache() }), ..stats })
    }

    pub(crate) async fn reconfigure(&self, reconfigured: &Reconfigured) -> Result<(), Failure> {
        self.answered_soon(self.client.reconfigure(reconfigured)).await
    }

    /// What the container asks its resolver: see [`Client::resolve`].
    pub(crate) async fn resolve(&self) -> Result<Stream, Failure> {
        self.answered_soon(self.client.resolve()).await
    }

    /// Nobody waits for ever for a guest that answers other questions.
    async fn answered_soon<T>(&self, call: impl Future<Output = Result<T, CallError>>) -> Result<T, Failure> {
        let answered = tokio::time::timeout(NETWORK_DEADLINE, self.ending.answered(call)).await;
        answered.unwrap_or_else(|_| Err(Failure::new(ErrorClass::Timeout, "the guest did not change its network")))
    }

    pub(crate) fn record(&self) -> VmRecord {
        self.record.borrow().clone()
    }

    /// Ends the VM and removes its control group.
    pub(crate) async fn destroy(&self, keep_disk: bool) -> Result<(), Failure> {
        if keep_disk && !self.ending.has_ended() {
            // Nobody may shut down who stands still.
            if self.ending.is_frozen() {
                self.thaw()?;
            }
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
        if self.ending.is_frozen()
            && let Err(failure) = self.thaw()
        {
            tracing::warn!(error = failure.message, "the VM process stands still at its end");
        }
        self.ending.ended().await;
        self.watchers.borrow_mut().abort_all();
        self.cgroup.destroy().map_err(|error| Failure::from_error(&error))
    }
}
