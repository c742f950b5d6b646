//! Further processes in a container that runs: made first, started once.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use casemate_model::{
    Capabilities, ContainerId, ErrorClass, ExecId, Failure, Process, ProcessRef, TerminalSize, UserSpec,
};
use casemate_wire::Client;
use rand::RngCore;
use tokio::sync::watch;

use super::attach::Streams;
use super::entry::{Entry, Status};
use super::{Daemon, to_its_end};
use crate::error::ExecError;

/// How many are known: of those that do not run the oldest are forgotten, and
/// whoever asks for their exit codes comes too late.
const KNOWN: usize = 1000;

/// Docker's patience with a start that a resize comes before.
const READY: Duration = Duration::from_secs(10);

/// A process as it was asked for.
#[derive(Clone, Debug, Default)]
pub struct ExecRequest {
    pub command: Vec<String>,
    pub env: Vec<String>,
    pub working_dir: Option<String>,
    pub user: Option<UserSpec>,
    pub tty: bool,
    pub attach_stdin: bool,
    pub attach_stdout: bool,
    pub attach_stderr: bool,
    pub privileged: bool,
    pub detach_keys: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecState {
    Created,
    Running,
    Ended {
        code: u8,
    },
    /// It could not be started.
    Failed {
        code: u8,
    },
}

#[derive(Debug)]
pub struct Exec {
    pub id: ExecId,
    pub container: ContainerId,
    pub request: ExecRequest,
    state: watch::Sender<ExecState>,
    /// On the kernel that runs the container; 0 before it runs.
    pid: Cell<u32>,
    /// Where it runs and by which name its keeper knows it.
    running: watch::Sender<Option<(Client, ProcessRef)>>,
}

impl Exec {
    pub fn state(&self) -> ExecState {
        self.state.borrow().clone()
    }

    pub fn pid(&self) -> u32 {
        self.pid.get()
    }

    pub fn is_running(&self) -> bool {
        *self.state.borrow() == ExecState::Running
    }

    /// Waits until its exit code is known.
    pub async fn ended(&self) {
        // It lives as long as this.
        let _ = self.state.subscribe().wait_for(ExecState::is_over).await;
    }

    /// Clients ask for their size while they start it.
    pub async fn resize(&self, size: TerminalSize) -> Result<(), ExecError> {
        let id = || self.id.as_str().to_owned();
        let mut running = self.running.subscribe();
        let started = tokio::select! {
            started = tokio::time::timeout(READY, running.wait_for(Option::is_some)) => started,
            () = self.ended() => return Err(ExecError::NotRunning { id: id() }),
        };
        let Some((client, process)) = started.ok().and_then(Result::ok).and_then(|running| running.clone()) else {
            return Err(ExecError::NotReady { id: id() });
        };
        client.resize(&process, size).await.map_err(|error| ExecError::Refused(error.into()))
    }
}

impl ExecState {
    fn is_over(&self) -> bool {
        matches!(self, Self::Ended { .. } | Self::Failed { .. })
    }
}

/// In the order they were made.
#[derive(Debug, Default)]
pub(super) struct Execs(VecDeque<Rc<Exec>>);

impl Execs {
    fn insert(&mut self, exec: Rc<Exec>) {
        if self.0.len() >= KNOWN
            && let Some(oldest) = self.0.iter().position(|exec| !exec.is_running())
        {
            self.0.remove(oldest);
        }
        self.0.push_back(exec);
    }

    fn get(&self, id: &ExecId) -> Option<Rc<Exec>> {
        // Those that are asked for are mostly new.
        self.0.iter().rev().find(|exec| exec.id == *id).cloned()
    }

    fn iter(&self) -> impl Iterator<Item = &Rc<Exec>> {
        self.0.iter()
    }

    pub(super) fn forget_those_of(&mut self, container: &ContainerId) {
        self.0.retain(|exec| exec.container != *container);
    }
}

impl Daemon {
    pub async fn create_exec(&self, entry: &Entry, request: ExecRequest) -> Result<Rc<Exec>, ExecError> {
        entry.settled().await;
        refuse_unless_running(entry)?;
        if request.command.is_empty() {
            return Err(ExecError::NoCommand);
        }
        let mut random = [0; 32];
        rand::rng().fill_bytes(&mut random);
        let exec = Rc::new(Exec {
            id: ExecId::from_random(random),
            container: entry.id.clone(),
            request,
            state: watch::Sender::new(ExecState::Created),
            pid: Cell::new(0),
            running: watch::Sender::new(None),
        });
        self.execs.borrow_mut().insert(Rc::clone(&exec));
        self.note_exec(entry, &exec, "exec_create", true);
        Ok(exec)
    }

    pub fn exec(&self, id: &str) -> Result<Rc<Exec>, ExecError> {
        let found = id.parse().ok().and_then(|id: ExecId| self.execs.borrow().get(&id));
        found.ok_or_else(|| ExecError::NotFound { id: id.to_owned() })
    }

    /// Those of a container that run.
    pub fn execs_of(&self, id: &ContainerId) -> Vec<String> {
        let execs = self.execs.borrow();
        let of = execs.iter().filter(|exec| exec.container == *id && exec.is_running());
        of.map(|exec| exec.id.as_str().to_owned()).collect()
    }

    /// Starts it and reads what it writes, which nobody wants.
    pub async fn start_detached_exec(
        self: &Rc<Self>,
        exec: &Rc<Exec>,
        size: Option<TerminalSize>,
    ) -> Result<(), ExecError> {
        let (this, exec) = (Rc::clone(self), Rc::clone(exec));
        // Without who asked for it there has to be one who reads and waits.
        to_its_end(async move {
            let streams = this.start_exec(&exec, size).await?;
            tokio::task::spawn_local(streams.discard());
            Ok(())
        })
        .await
    }

    /// Starts it; what it writes waits to be read from the returned streams.
    pub async fn start_exec(
        self: &Rc<Self>,
        exec: &Rc<Exec>,
        size: Option<TerminalSize>,
    ) -> Result<Streams, ExecError> {
        let id = || exec.id.as_str().to_owned();
        match exec.state() {
            ExecState::Created => {}
            ExecState::Running => return Err(ExecError::Running { id: id() }),
            ExecState::Ended { .. } | ExecState::Failed { .. } => return Err(ExecError::Ended { id: id() }),
        }
        let entry = self.find(exec.container.as_str()).map_err(ExecError::Find)?;
        refuse_unless_running(&entry)?;
        let client = entry.client().ok_or_else(|| ExecError::NotRunning { id: entry.id.to_string() })?;
        let process = self.exec_process(&entry, exec, size)?;
        exec.state.send_replace(ExecState::Running);
        self.note_exec(&entry, exec, "exec_start", true);
        let started = async {
            let casemate_wire::ExecStarted { id, pid } = client.exec(&process).await?;
            exec.pid.set(pid);
            let process = ProcessRef::Exec(id);
            Ok((Streams::open(client.clone(), process.clone(), exec.request.tty).await?, process))
        };
        let (streams, process) = match started.await {
            Ok(started) => started,
            Err(failure) => {
                let failure: Failure = failure;
                // Docker's for whatever kept it from starting.
                let code = if failure.class == ErrorClass::CommandNotFound { 127 } else { 126 };
                exec.state.send_replace(ExecState::Failed { code });
                return Err(ExecError::Refused(failure));
            }
        };
        exec.running.send_replace(Some((client.clone(), process.clone())));
        let (this, exec) = (Rc::clone(self), Rc::clone(exec));
        tokio::task::spawn_local(async move {
            let code = match client.wait(&process).await {
                Ok(exited) => exited.status.code(),
                // Its container goes, and it with it.
                Err(_) => {
                    client.lost().await;
                    137
                }
            };
            exec.running.send_replace(None);
            exec.state.send_replace(ExecState::Ended { code });
            this.note_exec(&entry, &exec, "exec_die", false);
        });
        Ok(streams)
    }

    fn exec_process(&self, entry: &Entry, exec: &Exec, size: Option<TerminalSize>) -> Result<Process, ExecError> {
        let request = &exec.request;
        let container = entry.container();
        let terminal = request.tty.then(|| size.unwrap_or(TerminalSize { rows: 0, columns: 0 }));
        let made = self.engine.process(&container, request.command.clone(), terminal);
        let mut process = made.map_err(|error| ExecError::Refused(Failure::from_error(&error)))?;
        if request.privileged {
            process.capabilities = Capabilities::ALL;
            process.seccomp = None;
        }
        process.stdin = request.attach_stdin;
        if request.tty && !request.env.iter().any(|entry| entry.starts_with("TERM=")) {
            process.env.push("TERM=xterm".to_owned());
        }
        process.env.extend(request.env.iter().cloned());
        if let Some(dir) = &request.working_dir {
            process.cwd = dir.clone();
        }
        if let Some(user) = &request.user {
            process.user = user.clone();
        }
        Ok(process)
    }

    fn note_exec(&self, entry: &Entry, exec: &Exec, action: &str, with_command: bool) {
        let action = match with_command {
            true => format!("{action}: {}", exec.request.command.join(" ")),
            false => action.to_owned(),
        };
        let id = ("execID", exec.id.as_str().to_owned());
        match exec.state() {
            ExecState::Ended { code } => {
                self.note(entry, action, [id, ("exitCode", code.to_string())]);
            }
            _ => self.note(entry, action, [id]),
        }
    }
}

fn refuse_unless_running(entry: &Entry) -> Result<(), ExecError> {
    match entry.status() {
        Status::Running => Ok(()),
        Status::Paused => Err(ExecError::Paused { name: entry.name() }),
        Status::Restarting => Err(ExecError::Restarting { id: entry.id.to_string() }),
        _ => Err(ExecError::NotRunning { id: entry.id.to_string() }),
    }
}

impl Entry {
    /// The processes in it, as its own kernel knows them.
    pub async fn processes(&self) -> Result<Vec<casemate_wire::ContainerProcess>, Failure> {
        self.settled().await;
        let client = self.client().ok_or_else(|| not_running(self))?;
        Ok(client.processes().await?)
    }

    /// Those of the network that it is in, as its own kernel knows them.
    pub async fn sockets(&self) -> Result<casemate_wire::Sockets, Failure> {
        self.settled().await;
        let client = self.client().ok_or_else(|| not_running(self))?;
        Ok(client.sockets().await?)
    }

    pub async fn resize(&self, size: TerminalSize) -> Result<(), Failure> {
        self.settled().await;
        let client = self.client().ok_or_else(|| not_running(self))?;
        Ok(client.resize(&ProcessRef::Init, size).await?)
    }
}

fn not_running(entry: &Entry) -> Failure {
    Failure::new(ErrorClass::Conflict, format!("container {} is not running", entry.id))
}
