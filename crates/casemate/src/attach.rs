//! The user's input, output and signals, joined to a process in a container.

use std::io;
use std::time::Duration;

use casemate_model::{ErrorClass, Exited, Failure, OutputStream, ProcessRef, Signal};
use casemate_wire::{CallError, Client, Stream};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle, spawn_local};

use crate::terminal::{self, RawMode};

/// Passed on to a container without a terminal; with one, the keys go
/// through it. Those that the user's own terminal and children cause are not.
const PASSED_ON: [i32; 12] = [1, 2, 3, 10, 12, 14, 15, 16, 18, 23, 24, 30];

/// Ctrl-P, Ctrl-Q: Docker's keys for leaving a container alone.
const DETACH_KEYS: [u8; 2] = [0x10, 0x11];

/// How long the output of an ended process may pause before it is taken for
/// over: dockerd's patience for the same.
const LAST_OUTPUT: Duration = Duration::from_secs(2);

/// What is joined: the streams are open, nothing is read yet.
#[derive(Debug)]
pub(crate) struct Attachment {
    client: Client,
    process: ProcessRef,
    terminal: bool,
    stdin: bool,
    stdout: Stream,
    stderr: Option<Stream>,
    /// Asked for from the beginning: a process may be over before the rest is
    /// set up, and its keeper with it.
    exited: JoinHandle<Result<Exited, CallError>>,
}

/// How it was over.
#[derive(Debug)]
pub(crate) enum Detached {
    Exited(Exited),
    /// The user pressed the detach keys; the process goes on.
    ByKeys,
}

impl Attachment {
    /// Opens the process's outputs. For an init, before it is started.
    pub(crate) async fn open(
        client: Client,
        process: ProcessRef,
        terminal: bool,
        stdin: bool,
    ) -> Result<Self, Failure> {
        let (waiter, waited_for) = (client.clone(), process.clone());
        let exited = spawn_local(async move { waiter.wait(&waited_for).await });
        let stdout = client.output(&process, OutputStream::Stdout).await?;
        let stderr = match terminal {
            true => None,
            false => Some(client.output(&process, OutputStream::Stderr).await?),
        };
        Ok(Self { client, process, terminal, stdin, stdout, stderr, exited })
    }

    /// Copies until the process has ended and its last output is out.
    pub(crate) async fn run(self) -> Result<Detached, Failure> {
        let Self { client, process, terminal, stdin, stdout, stderr, mut exited } = self;
        let input = match stdin {
            // One that is over by now takes no input; how it ended is told below.
            true => client.stdin(&process).await.ok(),
            false => None,
        };
        let raw = (terminal && stdin).then(RawMode::enter).flatten();
        let mut side_tasks = Vec::new();
        if terminal {
            side_tasks.push(spawn_local(follow_size(client.clone(), process.clone())).abort_handle());
        } else {
            side_tasks.extend(pass_signals_on(&client, &process));
        }
        let (detach, mut detached) = tokio::sync::oneshot::channel();
        if let Some(input) = input {
            side_tasks.push(spawn_local(copy_input(input, raw.is_some(), detach)).abort_handle());
        }
        let (ended_sender, ended_receiver) = watch::channel(false);
        let out = spawn_local(copy_output(stdout, tokio::io::stdout(), ended_receiver.clone()));
        let err = stderr.map(|stderr| spawn_local(copy_output(stderr, tokio::io::stderr(), ended_receiver)));
        let ended = tokio::select! {
            exited = &mut exited => Some(exited),
            Ok(()) = &mut detached => None,
        };
        if ended.is_some() {
            // An init takes all others with it, and their outputs end. What an
            // exec left behind in the container may keep its outputs open.
            if matches!(process, ProcessRef::Exec(_)) {
                ended_sender.send_replace(true);
            }
            finish(out).await;
            if let Some(err) = err {
                finish(err).await;
            }
        }
        for task in side_tasks {
            task.abort();
        }
        drop(raw);
        match ended {
            Some(Ok(exited)) => Ok(Detached::Exited(exited?)),
            Some(Err(error)) => Err(Failure::new(ErrorClass::Internal, format!("cannot wait: {error}"))),
            None => Ok(Detached::ByKeys),
        }
    }
}

async fn finish(copying: JoinHandle<io::Result<()>>) {
    match copying.await {
        Ok(Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => tracing::debug!(%error, "output"),
        _ => {}
    }
}

/// Copies to the end, or until nothing has come for a while after the process
/// has ended.
async fn copy_output(
    mut from: Stream,
    mut to: impl AsyncWrite + Unpin,
    mut ended: watch::Receiver<bool>,
) -> io::Result<()> {
    let mut chunk = vec![0; 64 << 10];
    loop {
        let silence = async {
            match ended.wait_for(|ended| *ended).await {
                Ok(_) => tokio::time::sleep(LAST_OUTPUT).await,
                // Nobody will ever say so.
                Err(_) => std::future::pending().await,
            }
        };
        let length = tokio::select! {
            length = from.read(&mut chunk) => length?,
            () = silence => 0,
        };
        if length == 0 {
            return to.flush().await;
        }
        to.write_all(&chunk[..length]).await?;
        // A prompt without a line's end must be seen.
        to.flush().await?;
    }
}

async fn copy_input(mut to: Stream, watch_keys: bool, detach: tokio::sync::oneshot::Sender<()>) {
    let mut from = tokio::io::stdin();
    let mut chunk = vec![0; 64 << 10];
    let mut first_key_held = false;
    while let Ok(length @ 1..) = from.read(&mut chunk).await {
        let bytes = &chunk[..length];
        if watch_keys && let Some(passed) = without_detach_keys(bytes, &mut first_key_held) {
            if to.write_all(&passed).await.is_err() {
                return;
            }
            continue;
        } else if watch_keys {
            let _ = detach.send(());
            return;
        }
        if to.write_all(bytes).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}

/// The bytes to pass on, or `None` when the detach keys are complete. The
/// first of the two keys is held back until the next byte is known.
fn without_detach_keys(bytes: &[u8], held: &mut bool) -> Option<Vec<u8>> {
    let mut passed = Vec::with_capacity(bytes.len() + 1);
    for byte in bytes {
        match (std::mem::take(held), *byte) {
            (true, key) if key == DETACH_KEYS[1] => return None,
            (was_held, key) => {
                if was_held {
                    passed.push(DETACH_KEYS[0]);
                }
                if key == DETACH_KEYS[0] {
                    *held = true;
                } else {
                    passed.push(key);
                }
            }
        }
    }
    Some(passed)
}

/// Keeps the container's terminal as large as the user's.
async fn follow_size(client: Client, process: ProcessRef) {
    let Ok(mut changed) = signal(SignalKind::window_change()) else {
        return;
    };
    loop {
        if let Some(size) = terminal::size()
            && let Err(error) = client.resize(&process, size).await
        {
            tracing::debug!(error = casemate_model::chain(&error), "resize");
        }
        if changed.recv().await.is_none() {
            return;
        }
    }
}

fn pass_signals_on(client: &Client, process: &ProcessRef) -> Vec<AbortHandle> {
    let mut tasks = Vec::new();
    for number in PASSED_ON {
        let Ok(mut received) = signal(SignalKind::from_raw(number)) else {
            continue;
        };
        let Ok(passed) = Signal::from_number(number.into()) else {
            continue;
        };
        let (client, process) = (client.clone(), process.clone());
        let task = spawn_local(async move {
            while received.recv().await.is_some() {
                if let Err(error) = client.signal(&process, passed).await {
                    tracing::debug!(error = casemate_model::chain(&error), "signal");
                }
            }
        });
        tasks.push(task.abort_handle());
    }
    tasks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detach_keys_are_found_across_reads_and_other_keys_pass() {
        let mut held = false;
        assert_eq!(without_detach_keys(b"ls\r", &mut held), Some(b"ls\r".to_vec()));
        assert_eq!(without_detach_keys(b"\x10", &mut held), Some(Vec::new()));
        assert_eq!(without_detach_keys(b"x", &mut held), Some(b"\x10x".to_vec()));
        assert_eq!(without_detach_keys(b"\x10\x10", &mut held), Some(b"\x10".to_vec()));
        assert_eq!(without_detach_keys(b"\x11", &mut held), None);
    }
}
