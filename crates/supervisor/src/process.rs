//! One process that is looked after.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use casemate_launch::{Child, Starting, Stdio};
use casemate_model::{ErrorClass, ExitStatus, Exited, Failure, OutputStream, Signal, TerminalSize};
use tokio::io::unix::AsyncFd;
use tokio::sync::watch::{Sender, channel};

use crate::fd::{FdStream, watch};

#[derive(Debug)]
pub(crate) struct Supervised {
    pid: u32,
    /// `None` when it has ended: of a process that is over nothing is held but
    /// how it ended, and for a while what it wrote.
    running: RefCell<Option<Running>>,
    streams: RefCell<Streams>,
    exited: Sender<Option<Exited>>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    /// Kept besides what is handed out: it can be resized.
    terminal: Option<FdStream>,
}

/// What has not been handed out yet.
#[derive(Debug, Default)]
struct Streams {
    stdin: Option<FdStream>,
    stdout: Option<FdStream>,
    stderr: Option<FdStream>,
}

/// Readable when the process has ended.
pub(crate) type PidFd = AsyncFd<OwnedFd>;

impl Supervised {
    /// Waits until the command has been executed, or says why it was not. What
    /// comes with it tells the process's end, to [`Self::ended`].
    pub(crate) async fn after_start(starting: Starting, deadline: Duration) -> Result<(Self, PidFd), Failure> {
        let report = starting.report().try_clone_to_owned().map_err(|error| failed("watch the start", &error))?;
        let report = watch(report).map_err(|error| failed("watch the start", &error))?;
        if tokio::time::timeout(deadline, report.readable()).await.is_err() {
            return Err(Failure::new(
                ErrorClass::Timeout,
                format!("the container's process did not start within {} s", deadline.as_secs()),
            ));
        }
        drop(report);
        let mut child = starting.finish().map_err(|error| Failure::from_error(&error))?;
        let watched = |error: io::Error| failed("watch the process", &error);
        let pidfd = child.pidfd().try_clone_to_owned().map_err(watched)?;
        let pidfd = watch(pidfd).map_err(watched)?;
        let stream = |fd: OwnedFd| FdStream::new(fd).map_err(watched);
        let (terminal, streams) = match child.take_io() {
            Some(Stdio::Terminal(master)) => {
                let terminal = stream(master)?;
                let streams = Streams { stdin: Some(terminal.clone()), stdout: Some(terminal.clone()), stderr: None };
                (Some(terminal), streams)
            }
            Some(Stdio::Pipes { stdin, stdout, stderr }) => {
                let stdin = stdin.map(stream).transpose()?;
                (None, Streams { stdin, stdout: Some(stream(stdout)?), stderr: Some(stream(stderr)?) })
            }
            None => unreachable!("nobody else has taken the streams of a child just started"),
        };
        let pid = child.pid();
        let (exited, _) = channel(None);
        let running = RefCell::new(Some(Running { child, terminal }));
        Ok((Self { pid, running, streams: RefCell::new(streams), exited }, pidfd))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits for the kernel to say that the process ended, and reaps it.
    pub(crate) async fn ended(&self, pidfd: PidFd) -> ExitStatus {
        loop {
            let Ok(mut guard) = pidfd.readable().await else {
                return ExitStatus::Signal(Signal::KILL);
            };
            let Some(Running { child, .. }) = &mut *self.running.borrow_mut() else {
                unreachable!("this is what ends it");
            };
            match child.try_wait() {
                Ok(Some(status)) => return status,
                Ok(None) => guard.clear_ready(),
                Err(error) => {
                    tracing::error!(pid = self.pid, %error, "cannot wait for a process");
                    return ExitStatus::Signal(Signal::KILL);
                }
            }
        }
    }

    /// It is over: nobody signals, resizes or feeds it any more.
    pub(crate) fn set_exited(&self, exited: Exited) {
        self.running.take();
        self.streams.borrow_mut().stdin.take();
        self.exited.send_replace(Some(exited));
    }

    /// Nobody has come for what it wrote.
    pub(crate) fn drop_outputs(&self) {
        self.streams.take();
    }

    pub(crate) fn has_untaken_outputs(&self) -> bool {
        let streams = self.streams.borrow();
        streams.stdout.is_some() || streams.stderr.is_some()
    }

    pub(crate) fn is_running(&self) -> bool {
        self.exited.borrow().is_none()
    }

    pub(crate) async fn exited(&self) -> Exited {
        let mut receiver = self.exited.subscribe();
        // The sender is `self`: it cannot go away while this waits.
        match receiver.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(exited)) => exited.clone(),
            _ => Exited { status: ExitStatus::Signal(Signal::KILL), oom_killed: false, reason: None },
        }
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<(), Failure> {
        match &*self.running.borrow() {
            Some(running) => running.child.signal(signal).map_err(|error| failed("send the signal", &error)),
            None => Err(not_running()),
        }
    }

    pub(crate) fn resize(&self, size: TerminalSize) -> Result<(), Failure> {
        match &*self.running.borrow() {
            Some(Running { terminal: Some(terminal), .. }) => {
                casemate_launch::resize(terminal, size).map_err(|error| failed("resize the terminal", &error))
            }
            Some(Running { terminal: None, .. }) => {
                Err(Failure::new(ErrorClass::Conflict, "the process has no terminal"))
            }
            None => Err(not_running()),
        }
    }

    pub(crate) fn take_stdin(&self) -> Result<FdStream, Failure> {
        self.streams.borrow_mut().stdin.take().ok_or_else(|| taken("input"))
    }

    pub(crate) fn take_output(&self, stream: OutputStream) -> Result<FdStream, Failure> {
        let mut streams = self.streams.borrow_mut();
        match stream {
            OutputStream::Stdout => streams.stdout.take(),
            OutputStream::Stderr => streams.stderr.take(),
        }
        .ok_or_else(|| taken("output"))
    }
}

pub(crate) fn not_running() -> Failure {
    Failure::new(ErrorClass::Conflict, "container is not running")
}

fn taken(what: &str) -> Failure {
    Failure::new(ErrorClass::Conflict, format!("the process has no such {what}, or somebody else has it"))
}

fn failed(what: &str, error: &io::Error) -> Failure {
    Failure::new(ErrorClass::Internal, format!("cannot {what}: {error}"))
}
