//! The user's input, output and signals, joined to a process in a container.

use std::io;

use casemate_model::{ErrorClass, Exited, Failure, OutputStream, ProcessRef, Signal};
use casemate_wire::{CallError, Client, Stream};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{AbortHandle, JoinError, JoinHandle, JoinSet, spawn_local};

use crate::terminal::{self, RawMode};

/// Passed on to a container without a terminal; with one, the keys go
/// through it. Those that the user's own terminal and children cause are not.
const PASSED_ON: [i32; 12] = [1, 2, 3, 10, 12, 14, 15, 16, 18, 23, 24, 30];

/// Ctrl-P, Ctrl-Q: Docker's keys for leaving a container alone.
const DETACH_KEYS: [u8; 2] = [0x10, 0x11];

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
    /// What it writes cannot be written here any more; the process goes on.
    ByOutput(OutputError),
}

/// An output of this program's own that takes no more, in the words of Docker's
/// CLI: `write /dev/stdout: broken pipe`.
#[derive(Debug, thiserror::Error)]
#[error("write {path}: {}", words(error))]
pub(crate) struct OutputError {
    path: &'static str,
    error: io::Error,
}

impl OutputError {
    pub(crate) fn is_broken_pipe(&self) -> bool {
        self.error.kind() == io::ErrorKind::BrokenPipe
    }
}

/// Go's words for what the kernel said: the C library's in lower case.
fn words(error: &io::Error) -> String {
    let text = error.to_string().to_lowercase();
    text.split(" (os error").next().unwrap_or_default().to_owned()
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

    /// Copies until the process has ended and its last output is out, or cannot
    /// be written.
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
        let mut outputs = JoinSet::new();
        outputs.spawn_local(copy_output(stdout, tokio::io::stdout(), "/dev/stdout"));
        if let Some(stderr) = stderr {
            outputs.spawn_local(copy_output(stderr, tokio::io::stderr(), "/dev/stderr"));
        }
        let ended = tokio::select! {
            exited = &mut exited => Ended::Exited(exited),
            Ok(()) = &mut detached => Ended::Detached(Detached::ByKeys),
            error = first_error(&mut outputs) => Ended::Detached(Detached::ByOutput(error)),
        };
        if matches!(ended, Ended::Exited(_)) {
            // How it ended is told whether or not its last output can be.
            while outputs.join_next().await.is_some() {}
        }
        outputs.abort_all();
        for task in side_tasks {
            task.abort();
        }
        drop(raw);
        match ended {
            Ended::Exited(Ok(exited)) => Ok(Detached::Exited(exited?)),
            Ended::Exited(Err(error)) => Err(Failure::new(ErrorClass::Internal, format!("cannot wait: {error}"))),
            Ended::Detached(detached) => Ok(detached),
        }
    }
}

enum Ended {
    Exited(Result<Result<Exited, CallError>, JoinError>),
    Detached(Detached),
}

/// The first output that cannot be written; for ever if all end as they should.
async fn first_error(outputs: &mut JoinSet<Result<(), OutputError>>) -> OutputError {
    while let Some(output) = outputs.join_next().await {
        if let Ok(Err(error)) = output {
            return error;
        }
    }
    std::future::pending().await
}

async fn copy_output(mut from: Stream, mut to: impl AsyncWrite + Unpin, path: &'static str) -> Result<(), OutputError> {
    let mut chunk = vec![0; 64 << 10];
    // Its keeper has gone, and its process with it: the wait for that tells.
    while let Ok(length @ 1..) = from.read(&mut chunk).await {
        let written = async {
            to.write_all(&chunk[..length]).await?;
            // A prompt without a line's end must be seen.
            to.flush().await
        };
        written.await.map_err(|error| OutputError { path, error })?;
    }
    Ok(())
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
