//! Watching a VM: its process, its console, its agent's pulse.

use std::cell::{Cell, RefCell};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Duration;

use casemate_model::{ErrorClass, Failure};
use casemate_supervisor::FdStream;
use casemate_vm::{ConsoleTail, Ended, Vm};
use casemate_wire::frame::FrameError;
use casemate_wire::{CallError, Client, Lost};
use tokio::io::AsyncReadExt;
use tokio::sync::watch;

/// Of the console: what a kernel's panic and its call trace take.
const CONSOLE_TAIL: usize = 16 << 10;
const CONSOLE_LINES: usize = 12;

/// What Linux begins a panic with.
const PANIC: &str = "Kernel panic";

/// A VM process on its way out is waited for this long, to learn why it went.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What an agent is asked takes milliseconds; the longest is the start of a
/// process, which has 60 seconds in the guest itself.
const ANSWER_DEADLINE: Duration = Duration::from_secs(90);

/// How a VM ends: asked to, or found out.
#[derive(Debug)]
pub(crate) struct Ending {
    vm: RefCell<Vm>,
    console: RefCell<ConsoleTail>,
    /// Why this side killed it.
    verdict: RefCell<Option<String>>,
    /// The agent has answered: from here on an exit is a container's end.
    up: Cell<bool>,
    /// The VM process stands still: nobody's time runs.
    frozen: watch::Sender<bool>,
    ended: watch::Sender<Option<Ended>>,
}

impl Ending {
    pub(crate) fn new(vm: Vm) -> Self {
        Self {
            vm: RefCell::new(vm),
            console: RefCell::new(ConsoleTail::new(CONSOLE_TAIL)),
            verdict: RefCell::default(),
            up: Cell::new(false),
            frozen: watch::channel(false).0,
            ended: watch::channel(None).0,
        }
    }

    pub(crate) fn set_up(&self) {
        self.up.set(true);
    }

    pub(crate) fn set_frozen(&self, frozen: bool) {
        self.frozen.send_replace(frozen);
    }

    pub(crate) fn is_frozen(&self) -> bool {
        *self.frozen.borrow()
    }

    /// Waits until the guest had this much time without a pause in it.
    pub(crate) async fn has_run(&self, time: Duration) {
        // The sender is `self`.
        let mut frozen = self.frozen.subscribe();
        loop {
            let _ = frozen.wait_for(|frozen| !*frozen).await;
            tokio::select! {
                () = tokio::time::sleep(time) => return,
                _ = frozen.wait_for(|frozen| *frozen) => {}
            }
        }
    }

    /// Kills the VM; the first reason given is the one that counts.
    pub(crate) fn end(&self, reason: &str) {
        if self.has_ended() {
            return;
        }
        self.verdict.borrow_mut().get_or_insert_with(|| reason.to_owned());
        if let Err(error) = self.vm.borrow().kill() {
            tracing::error!(%error, "cannot kill the VM process");
        }
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.borrow().is_some()
    }

    /// Waits for the VM process's end.
    pub(crate) async fn ended(&self) {
        // The sender is `self`.
        let _ = self.ended.subscribe().wait_for(Option::is_some).await;
    }

    /// Why the VM ended or is about to, once its connection is lost.
    pub(crate) async fn reason(&self) -> String {
        if tokio::time::timeout(LAST_WORDS, self.ended()).await.is_err() {
            self.end("the guest closed its connection");
            self.ended().await;
        }
        if let Some(panic) = panic_line(&self.console_lines()) {
            return format!("the guest's kernel panicked: {panic}");
        }
        if let Some(verdict) = &*self.verdict.borrow() {
            return verdict.clone();
        }
        match &*self.ended.borrow() {
            Some(ended) => format!("the VM process {ended}"),
            None => "the VM process ended".to_owned(),
        }
    }

    /// The same as an error, with the console's last lines while it boots.
    pub(crate) async fn failure(&self) -> Failure {
        let reason = self.reason().await;
        let console = self.console_lines();
        if self.up.get() || console.is_empty() {
            return Failure::new(ErrorClass::Unavailable, reason);
        }
        Failure::new(ErrorClass::Unavailable, format!("{reason}; the console's last lines:\n{console}"))
    }

    /// The agent's answer, or why the VM has none.
    pub(crate) async fn answered<T>(&self, call: impl Future<Output = Result<T, CallError>>) -> Result<T, Failure> {
        let answer = tokio::select! {
            answer = call => Some(answer),
            () = self.has_run(ANSWER_DEADLINE) => None,
        };
        match answer {
            Some(Ok(answer)) => return Ok(answer),
            Some(Err(error @ (CallError::Refused(_) | CallError::Full))) => return Err(error.into()),
            Some(Err(CallError::Lost(_) | CallError::Frame(FrameError::Io(_)))) => {}
            Some(Err(error)) => self.end(&format!("the guest broke the protocol: {}", casemate_model::chain(&error))),
            None => self.end(&format!("the guest did not answer for {} s", ANSWER_DEADLINE.as_secs())),
        }
        Err(self.failure().await)
    }

    /// The last lines; of a panic those that led to it, not its trace.
    fn console_lines(&self) -> String {
        let all = self.console.borrow().last_lines(usize::MAX);
        let lines: Vec<&str> = all.lines().collect();
        let panic = lines.iter().rposition(|line| line.contains(PANIC));
        let end = panic.map_or(lines.len(), |at| at + 1);
        lines[end.saturating_sub(CONSOLE_LINES)..end].join("\n")
    }
}

fn panic_line(console: &str) -> Option<&str> {
    let at = console.rfind(PANIC)?;
    console[at..].lines().next()
}

/// Reaps the VM process.
pub(crate) async fn process(ending: Rc<Ending>) {
    let pidfd = match ending.vm.borrow().pidfd().as_fd().try_clone_to_owned() {
        Ok(pidfd) => casemate_supervisor::watch(pidfd),
        Err(error) => Err(error),
    };
    let waited = match pidfd {
        Ok(pidfd) => pidfd.readable().await.map(drop),
        Err(error) => Err(error),
    };
    if let Err(error) = waited {
        tracing::error!(%error, "cannot watch the VM process");
    }
    let ended = ending.vm.borrow_mut().wait();
    match ended {
        Ok(ended) => drop(ending.ended.send_replace(Some(ended))),
        Err(error) => tracing::error!(%error, "cannot wait for the VM process"),
    }
}

/// Keeps the console's tail. Reads for ever: a guest that prints without end
/// costs its own time and the tail's memory.
pub(crate) async fn console(ending: Rc<Ending>, mut console: FdStream) {
    let mut bytes = [0; 4096];
    while let Ok(length @ 1..) = console.read(&mut bytes).await {
        ending.console.borrow_mut().push(&bytes[..length]);
    }
}

/// A guest whose connection breaks is of no use any more.
pub(crate) async fn connection(ending: Rc<Ending>, client: Client) {
    match client.lost().await {
        Lost::Protocol(error) => ending.end(&format!("the guest broke the protocol: {error}")),
        Lost::Closed | Lost::Io(_) => drop(ending.reason().await),
    }
}

/// Asks the agent, three times a deadline, whether it lives. One whose VM
/// stands still need not answer.
pub(crate) async fn health(ending: Rc<Ending>, client: Client, deadline: Duration) {
    loop {
        ending.has_run(deadline / 3).await;
        let answer = tokio::select! {
            answer = client.facts() => Some(answer),
            () = ending.has_run(deadline) => None,
        };
        match answer {
            // An agent that cannot say is one that answers.
            Some(Ok(_) | Err(CallError::Refused(_) | CallError::Full)) => {}
            // The connection's watcher says why.
            Some(Err(CallError::Lost(_) | CallError::Frame(FrameError::Io(_)))) => return,
            Some(Err(error)) => {
                ending.end(&format!("the guest broke the protocol: {}", casemate_model::chain(&error)));
                return;
            }
            None => {
                ending.end(&format!("the guest's agent did not answer for {} ms", deadline.as_millis()));
                return;
            }
        }
    }
}
