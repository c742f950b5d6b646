//! Joining a container's input and outputs.
//!
//! A client attaches before it starts the container, so as to miss nothing:
//! what it gets then is a promise of streams, kept while the container is
//! prepared and before its command runs.

use std::rc::Rc;

use casemate_model::{Failure, OutputStream, ProcessRef};
use casemate_wire::{Client, Stream};
use tokio::sync::oneshot;

use super::entry::{Entry, Phase, Status};

/// A process's outputs, from now on. Its input is asked for separately: it
/// exists only when the process does.
#[derive(Debug)]
pub struct Streams {
    pub client: Client,
    pub process: ProcessRef,
    pub stdout: Stream,
    /// None where there is a terminal.
    pub stderr: Option<Stream>,
}

impl Streams {
    pub(crate) async fn open(client: Client, process: ProcessRef, terminal: bool) -> Result<Self, Failure> {
        let stdout = client.output(&process, OutputStream::Stdout).await?;
        let stderr = match terminal {
            true => None,
            false => Some(client.output(&process, OutputStream::Stderr).await?),
        };
        Ok(Self { client, process, stdout, stderr })
    }

    /// Reads what nobody wants to read, so that the process never waits.
    pub async fn discard(self) {
        let Self { mut stdout, stderr, .. } = self;
        let out = async { tokio::io::copy(&mut stdout, &mut tokio::io::sink()).await };
        let err = async {
            if let Some(mut stderr) = stderr {
                tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await.ok();
            }
        };
        let _ = tokio::join!(out, err);
    }
}

impl Entry {
    /// The streams of the container's init: those of the one that runs, or of
    /// the next that will. The receiver fails when that never starts.
    pub async fn attach(self: &Rc<Self>) -> Result<oneshot::Receiver<Streams>, Failure> {
        let (sender, receiver) = oneshot::channel();
        let running = match &*self.phase.borrow() {
            Phase::Up(client) => Some(client.clone()),
            Phase::Resting | Phase::Starting | Phase::Pausing(_) => None,
        };
        match running {
            Some(client) => {
                let streams = Streams::open(client, ProcessRef::Init, self.container().record.tty).await?;
                // The receiver is still here.
                let _ = sender.send(streams);
            }
            None => {
                let mut attaching = self.attaching.borrow_mut();
                attaching.retain(|sender| !sender.is_closed());
                attaching.push(sender);
            }
        }
        Ok(receiver)
    }

    /// Hands streams to all who wait for them still.
    pub(crate) async fn serve_attaching(&self, client: &Client) -> Result<(), Failure> {
        let waiting = self.attaching.take();
        for sender in waiting.into_iter().filter(|sender| !sender.is_closed()) {
            let streams = Streams::open(client.clone(), ProcessRef::Init, self.container().record.tty).await?;
            let _ = sender.send(streams);
        }
        Ok(())
    }

    /// Waits until the container's command runs; false if it never did.
    pub async fn started(&self) -> bool {
        let mut life = self.watch();
        let exits = life.borrow().exits;
        let settled = life.wait_for(|life| life.status.is_up() || life.exits != exits || life.removed).await;
        settled.is_ok_and(|life| life.status == Status::Running)
    }
}
