//! The user's input, output and signals, joined to a process in a container.

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use casemate_client::{Client, Hijacked, Outputs, path};
use casemate_model::{DetachKeys, OutputStream, Signal};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{JoinSet, spawn_local};

use crate::report::{self, CliError};
use crate::terminal::{self, RawMode};

/// Passed on to a container without a terminal; with one, the keys go
/// through it. Those that the user's own terminal and children cause are not.
const PASSED_ON: [i32; 12] = [1, 2, 3, 10, 12, 14, 15, 16, 18, 23, 24, 30];

/// Signals that ask for an end.
const GIVE_UP: u32 = 3;

/// What is joined: the streams are open, nothing is read yet. The user's
/// terminal is raw as long as this lives, so that no key ends this program while
/// the container is being started.
#[derive(Debug)]
pub(crate) struct Session {
    streams: Hijacked,
    terminal: bool,
    stdin: bool,
    raw: Option<RawMode>,
    keys: DetachKeys,
}

/// How it was over.
#[derive(Debug)]
pub(crate) enum Parted {
    /// Its outputs have come to their end.
    Ended,
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

impl Session {
    /// With a `terminal` in the container and with the user's input, or without.
    pub(crate) fn new(streams: Hijacked, terminal: bool, stdin: bool, keys: Option<DetachKeys>) -> Self {
        let raw = (terminal && stdin).then(RawMode::enter).flatten();
        Self { streams, terminal, stdin, raw, keys: keys.unwrap_or_default() }
    }

    /// Copies until the process has closed its outputs, or they cannot be
    /// written.
    pub(crate) async fn run(self) -> Result<Parted, CliError> {
        let Self { streams: Hijacked { reader, writer }, terminal, stdin, raw, keys } = self;
        let watched = raw.is_some().then_some(keys);
        let input = async {
            match stdin {
                true => copy_input(writer, watched).await,
                false => std::future::pending().await,
            }
        };
        let mut outputs = Outputs::new(reader, terminal);
        tokio::select! {
            parted = copy_outputs(&mut outputs) => parted,
            () = input => Ok(Parted::ByKeys),
        }
    }
}

/// Writes what comes to this program's own outputs.
pub(crate) async fn copy_outputs<R: AsyncRead + Unpin>(outputs: &mut Outputs<R>) -> Result<Parted, CliError> {
    let (mut stdout, mut stderr) = (tokio::io::stdout(), tokio::io::stderr());
    loop {
        let next = outputs.next().await;
        let next = next.map_err(|source| CliError::Read { what: "the container's output".into(), source })?;
        let written = match next {
            None => return Ok(Parted::Ended),
            Some((OutputStream::Stdout, bytes)) => (write(&mut stdout, bytes).await, "/dev/stdout"),
            Some((OutputStream::Stderr, bytes)) => (write(&mut stderr, bytes).await, "/dev/stderr"),
        };
        if let (Err(error), path) = written {
            return Ok(Parted::ByOutput(OutputError { path, error }));
        }
    }
}

async fn write(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    to.write_all(bytes).await?;
    // A prompt without a line's end must be seen.
    to.flush().await
}

/// Returns when the detach keys have been pressed.
async fn copy_input(mut to: impl AsyncWrite + Unpin, watched: Option<DetachKeys>) {
    let mut from = tokio::io::stdin();
    let mut chunk = vec![0; 64 << 10];
    let mut matcher = watched.as_ref().map(DetachKeys::matcher);
    while let Ok(length @ 1..) = from.read(&mut chunk).await {
        let bytes = &chunk[..length];
        let written = match &mut matcher {
            None => to.write_all(bytes).await,
            Some(matcher) => match matcher.pass(bytes) {
                Some(passed) => to.write_all(&passed).await,
                None => return,
            },
        };
        if written.is_err() {
            // It takes none any more; what it writes is still of interest.
            return std::future::pending().await;
        }
    }
    let _ = to.shutdown().await;
    std::future::pending().await
}

/// What goes on beside a session, and ends when this is dropped.
pub(crate) type Beside = JoinSet<()>;

/// Keeps the terminal of a process as large as the user's. `of` is where it is
/// told: `/containers/ID` or `/exec/ID`.
pub(crate) fn follow_size(client: &Client, of: &str) -> Beside {
    let (client, of) = (client.clone(), of.to_owned());
    let mut beside = Beside::new();
    beside.spawn_local(async move {
        let Ok(mut changed) = signal(SignalKind::window_change()) else {
            return;
        };
        loop {
            if let Some(size) = terminal::size() {
                let call = client.post(format!("{of}/resize")).query("h", size.rows).query("w", size.columns);
                if let Err(error) = call.send().await {
                    tracing::debug!(error = casemate_model::chain(&error), "resize");
                }
            }
            if changed.recv().await.is_none() {
                return;
            }
        }
    });
    beside
}

/// Passes this program's signals on to a container. A container that does not
/// heed them keeps nobody here: the third that asks for an end ends the program,
/// as with Docker's CLI.
pub(crate) fn pass_signals_on(client: &Client, id: &str) -> Beside {
    let mut beside = Beside::new();
    let asked = Rc::new(Cell::new(0));
    for number in PASSED_ON {
        let (Ok(mut received), Ok(passed)) = (signal(SignalKind::from_raw(number)), Signal::from_number(number.into()))
        else {
            continue;
        };
        let asks = [Signal::INT, Signal::TERM].contains(&passed);
        let (client, kill, asked) = (client.clone(), path(&["containers", id, "kill"]), Rc::clone(&asked));
        beside.spawn_local(async move {
            while received.recv().await.is_some() {
                asked.set(asked.get() + u32::from(asks));
                if asks && asked.get() == GIVE_UP {
                    report::warn("got 3 SIGTERM/SIGINTs, forcefully exiting");
                    std::process::exit(1);
                }
                let (client, kill) = (client.clone(), kill.clone());
                // Signals do not wait for each other.
                spawn_local(async move {
                    if let Err(error) = client.post(kill).query("signal", passed).send().await {
                        tracing::debug!(error = casemate_model::chain(&error), "signal");
                    }
                });
            }
        });
    }
    beside
}
