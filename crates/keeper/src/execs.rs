//! The processes that were started in a running container besides its init.
//!
//! ```text
//!   start ──▶ running ──▶ over, its outputs too ──▶ its exit code is kept
//! ```
//!
//! One that has started runs to its end whatever becomes of its client, as in
//! Docker: its outputs wait for a first client, and when all have left they are
//! read and forgotten.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use casemate_model::{ErrorClass, ExecId, Exited, Failure, OutputStream, Process, ProcessRef};
use casemate_wire::{ExecStarted, MAX_EXECS};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use crate::attach::Outputs;
use crate::backend::Backend;
use crate::pump::{Source, pump};
use crate::{state, to_its_end};

/// Ended ones whose exit codes are kept for those who ask late.
const ENDED_EXECS: usize = 256;

/// Who started an exec reads its outputs at once. One that has ended, and that
/// nobody has come for after this long, was started by somebody who has gone.
const UNATTENDED: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct Execs {
    known: RefCell<HashMap<ExecId, Rc<Exec>>>,
    ended: RefCell<VecDeque<ExecId>>,
    room: Arc<Semaphore>,
}

#[derive(Debug)]
pub(crate) struct Exec {
    pub(crate) outputs: Outputs,
    exited: watch::Sender<Option<Exited>>,
}

impl Exec {
    /// Returns when it has ended, at once if it has.
    pub(crate) async fn exited(&self) -> Exited {
        state::exited(&self.exited).await
    }
}

impl Execs {
    pub(crate) fn new() -> Rc<Self> {
        let room = Arc::new(Semaphore::new(MAX_EXECS));
        Rc::new(Self { known: RefCell::default(), ended: RefCell::default(), room })
    }

    /// Returns when its command has been executed.
    pub(crate) async fn start(
        self: &Rc<Self>,
        backend: Backend,
        process: Process,
        outputs: Outputs,
    ) -> Result<ExecStarted, Failure> {
        let place = Arc::clone(&self.room).try_acquire_owned().map_err(|_| too_many())?;
        let this = Rc::clone(self);
        // A process that runs and that nobody knows of could not be looked after.
        to_its_end(async move {
            let started = backend.exec(&process).await?;
            let id = started.id.clone();
            let exec = Rc::new(Exec { outputs, exited: watch::channel(None).0 });
            this.known.borrow_mut().insert(id.clone(), Rc::clone(&exec));
            let has_terminal = process.terminal.is_some();
            tokio::task::spawn_local(this.see_through(backend, id, exec, has_terminal, place));
            Ok(started)
        })
        .await
    }

    pub(crate) fn known(&self, id: &ExecId) -> Result<Rc<Exec>, Failure> {
        let known = self.known.borrow().get(id).cloned();
        known.ok_or_else(|| Failure::new(ErrorClass::NotFound, format!("No such exec instance: {}", id.as_str())))
    }

    async fn see_through(
        self: Rc<Self>,
        backend: Backend,
        id: ExecId,
        exec: Rc<Exec>,
        has_terminal: bool,
        place: OwnedSemaphorePermit,
    ) {
        let process = ProcessRef::Exec(id.clone());
        let mut copying = JoinSet::new();
        for stream in [OutputStream::Stdout, OutputStream::Stderr] {
            if has_terminal && stream == OutputStream::Stderr {
                exec.outputs.of(stream).end();
                continue;
            }
            copying.spawn_local(copy(backend.clone(), process.clone(), Rc::clone(&exec), stream));
        }
        let exited = backend.wait(&process).await.unwrap_or_else(state::unseen);
        exec.exited.send_replace(Some(exited));
        self.forget_oldest(id);
        while copying.join_next().await.is_some() {}
        // Until now its streams had theirs.
        drop(place);
    }

    /// Keeps the table from growing for ever in a container that is exec'ed
    /// into all day.
    fn forget_oldest(&self, ended: ExecId) {
        let mut all = self.ended.borrow_mut();
        all.push_back(ended);
        if all.len() > ENDED_EXECS
            && let Some(oldest) = all.pop_front()
        {
            self.known.borrow_mut().remove(&oldest);
        }
    }
}

/// Copies an output to its clients, from the first one's coming on.
async fn copy(backend: Backend, process: ProcessRef, exec: Rc<Exec>, stream: OutputStream) {
    let output = exec.outputs.of(stream);
    match backend.output(&process, stream).await {
        Ok(reader) => {
            tokio::select! {
                () = output.attended() => {}
                () = async { exec.exited().await; tokio::time::sleep(UNATTENDED).await } => {}
            }
            pump(Source::new(reader, exec.exited.subscribe()), Rc::clone(output), None).await;
        }
        Err(failure) => {
            tracing::warn!(error = failure.message, "an exec's output is not to be had");
            output.end();
        }
    }
}

fn too_many() -> Failure {
    Failure::new(
        ErrorClass::ResourceExhausted,
        format!("{MAX_EXECS} commands run in this container by exec, which is the most at a time"),
    )
}
