//! Looking after the processes of one container on the kernel this program
//! stands on: the keeper does it on the host, the agent in the VM.
//!
//! ```text
//!   start/exec ──▶ starting ──(command executed)──▶ running ──(pidfd)──▶ exited
//!                     └──────(could not)──▶ gone
//! ```
//!
//! Input and outputs of a process are handed out once each; until then its
//! pipes hold what it wrote and then make it wait. When it has ended, its exit
//! code is what is kept of it: input, terminal and handles are closed at once,
//! outputs that nobody has taken after a while. Work on the container's files is
//! done by children that are killed when nobody wants it any more. Everything is driven by
//! descriptors: there is no polling, and there are no threads (the launcher
//! clones this process).

mod accounts;
mod fd;
mod files;
mod process;
mod sockets;
mod writable;

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use casemate_launch::Cage;
use casemate_model::{
    ErrorClass, ExecId, Exited, Failure, Limits, OutputStream, Process, ProcessRef, Signal, TerminalSize,
};
use casemate_wire::{ContainerProcess, ExecStarted, Sockets, Stats};

pub use fd::{FdStream, watch};
use files::Workers;
pub use files::{Archive, Unpacking};
use process::{Supervised, not_running};
pub use writable::{look_like, make_writable_layer};

/// A start that takes longer has met something that blocks (a network
/// filesystem, a FIFO): the launcher itself needs milliseconds, and under
/// software emulation on a busy host a few seconds.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// Ended execs whose exit codes are kept for those who ask late.
const ENDED_EXECS: usize = 256;

/// Who wants the outputs of a process takes them when it has started, which may
/// have been its end; this allows for a VM on a host that is busy.
const UNTAKEN_OUTPUTS: Duration = Duration::from_secs(10);

/// One container, from its control group's making to its removal.
#[derive(Debug)]
pub struct Supervisor {
    cage: Cage,
    processes: RefCell<HashMap<ProcessRef, Rc<Supervised>>>,
    ended_execs: RefCell<VecDeque<ProcessRef>>,
    started: Cell<bool>,
    workers: Workers,
}

impl Supervisor {
    /// Looks after a container that is prepared and has not been started.
    pub fn new(cage: Cage) -> Self {
        Self {
            cage,
            processes: RefCell::default(),
            ended_execs: RefCell::default(),
            started: Cell::new(false),
            workers: Workers::default(),
        }
    }

    /// Starts the init and returns its pid on this kernel. Once.
    pub async fn start(self: &Rc<Self>) -> Result<u32, Failure> {
        if self.started.replace(true) {
            return Err(Failure::new(ErrorClass::Conflict, "the container has been started before"));
        }
        let starting = self.cage.start().map_err(|error| Failure::from_error(&error))?;
        self.bring_up(starting, ProcessRef::Init).await
    }

    /// Starts another process in the running container, under this id.
    pub async fn exec(self: &Rc<Self>, id: ExecId, process: &Process) -> Result<ExecStarted, Failure> {
        self.init_runs()?;
        let starting = self.cage.exec(process).map_err(|error| Failure::from_error(&error))?;
        let pid = self.bring_up(starting, ProcessRef::Exec(id.clone())).await?;
        Ok(ExecStarted { id, pid })
    }

    async fn bring_up(
        self: &Rc<Self>,
        starting: casemate_launch::Starting,
        process: ProcessRef,
    ) -> Result<u32, Failure> {
        let (supervised, pidfd) = Supervised::after_start(starting, START_DEADLINE).await?;
        let pid = supervised.pid();
        let supervised = Rc::new(supervised);
        self.processes.borrow_mut().insert(process.clone(), Rc::clone(&supervised));
        let this = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let status = supervised.ended(pidfd).await;
            let oom_killed = process == ProcessRef::Init && this.cage.oom_killed();
            if process == ProcessRef::Init
                && this.cage.outlives_init()
                && let Err(error) = this.cage.kill_all()
            {
                tracing::error!(error = casemate_model::chain(&error), "processes left behind");
            }
            supervised.set_exited(Exited { status, oom_killed, reason: None });
            this.forget_oldest(process);
            // Not for the sake of this task: the container may go meanwhile.
            drop(this);
            if supervised.has_untaken_outputs() {
                tokio::time::sleep(UNTAKEN_OUTPUTS).await;
                supervised.drop_outputs();
            }
        });
        Ok(pid)
    }

    /// Keeps the table from growing for ever in a container that is exec'ed
    /// into all day.
    fn forget_oldest(&self, ended: ProcessRef) {
        if ended == ProcessRef::Init {
            return;
        }
        let mut ended_execs = self.ended_execs.borrow_mut();
        ended_execs.push_back(ended);
        if ended_execs.len() > ENDED_EXECS
            && let Some(oldest) = ended_execs.pop_front()
        {
            self.processes.borrow_mut().remove(&oldest);
        }
    }

    /// Returns when the process has ended.
    pub async fn wait(&self, process: &ProcessRef) -> Result<Exited, Failure> {
        let supervised = self.known(process)?;
        Ok(supervised.exited().await)
    }

    pub fn signal(&self, process: &ProcessRef, signal: Signal) -> Result<(), Failure> {
        self.known(process)?.signal(signal)
    }

    pub fn resize(&self, process: &ProcessRef, size: TerminalSize) -> Result<(), Failure> {
        self.known(process)?.resize(size)
    }

    /// The process's input, once.
    pub fn take_stdin(&self, process: &ProcessRef) -> Result<FdStream, Failure> {
        self.known(process)?.take_stdin()
    }

    /// One of the process's outputs, once.
    pub fn take_output(&self, process: &ProcessRef, stream: OutputStream) -> Result<FdStream, Failure> {
        self.known(process)?.take_output(stream)
    }

    pub fn processes(&self) -> Result<Vec<ContainerProcess>, Failure> {
        let processes = self.cage.processes().map_err(|error| Failure::from_error(&error))?;
        Ok(processes.into_iter().map(accounts::process).collect())
    }

    /// Those of the network that the init is in.
    pub fn sockets(&self) -> Result<Sockets, Failure> {
        self.init_runs()?;
        let processes = self.cage.processes().map_err(|error| Failure::from_error(&error))?;
        sockets::list(self.known(&ProcessRef::Init)?.pid(), &processes)
    }

    pub fn stats(&self) -> Result<Stats, Failure> {
        let (stats, machine) = self.cage.stats().map_err(|error| Failure::from_error(&error))?;
        Ok(accounts::stats(stats, machine))
    }

    /// Has everything in the container stand still.
    pub fn pause(&self) -> Result<(), Failure> {
        self.init_runs()?;
        self.cage.freeze().map_err(|error| Failure::from_error(&error))
    }

    pub fn unpause(&self) -> Result<(), Failure> {
        self.cage.thaw().map_err(|error| Failure::from_error(&error))
    }

    /// Holds the running container to these limits instead of those before.
    pub fn update(&self, limits: &Limits) -> Result<(), Failure> {
        self.init_runs()?;
        self.cage.update(limits).map_err(|error| Failure::from_error(&error))
    }

    /// The running container's.
    pub fn network_namespace(&self) -> Result<OwnedFd, Failure> {
        let path = format!("/proc/{}/ns/net", self.known(&ProcessRef::Init)?.pid());
        let opened = File::open(&path);
        // Only then is it certain that the number was still the init's.
        self.cage.check_runs().map_err(|error| Failure::from_error(&error))?;
        let opened = opened.map_err(|error| Failure::new(ErrorClass::Internal, format!("cannot open {path}: {error}")));
        Ok(opened?.into())
    }

    /// Changes the container's `/etc/hosts` and `/etc/resolv.conf`, but for what
    /// somebody else has changed in there.
    pub fn rewrite_etc(&self, hosts: String, resolv_conf: String) -> Result<(), Failure> {
        self.cage.rewrite_etc(hosts, resolv_conf).map_err(|error| Failure::from_error(&error))
    }

    /// Kills what runs and removes what the kernel holds for the container.
    /// All is tried; the first failure is returned.
    pub async fn destroy(&self) -> Result<(), Failure> {
        self.workers.end().await;
        let killed = self.cage.kill_all().map_err(|error| Failure::from_error(&error));
        // All are reaped first: an init cannot end before the others have.
        let processes: Vec<Rc<Supervised>> = self.processes.borrow().values().cloned().collect();
        for process in processes {
            process.exited().await;
        }
        let destroyed = self.cage.destroy().map_err(|error| Failure::from_error(&error));
        killed.and(destroyed)
    }

    fn init_runs(&self) -> Result<(), Failure> {
        if self.known(&ProcessRef::Init)?.is_running() { Ok(()) } else { Err(not_running()) }
    }

    fn known(&self, process: &ProcessRef) -> Result<Rc<Supervised>, Failure> {
        let known = self.processes.borrow().get(process).cloned();
        known.ok_or_else(|| match process {
            ProcessRef::Init => not_running(),
            ProcessRef::Exec(id) => {
                Failure::new(ErrorClass::NotFound, format!("No such exec instance: {}", id.as_str()))
            }
        })
    }
}
