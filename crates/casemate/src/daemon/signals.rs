//! SIGHUP, SIGTERM and SIGINT.

use std::future::pending;
use std::io;

use tokio::signal::unix::{self, SignalKind};

pub(super) enum Signal {
    Reload,
    Stop,
}

pub(super) struct Signals {
    hangup: unix::Signal,
    terminate: unix::Signal,
    interrupt: unix::Signal,
}

impl Signals {
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            hangup: unix::signal(SignalKind::hangup())?,
            terminate: unix::signal(SignalKind::terminate())?,
            interrupt: unix::signal(SignalKind::interrupt())?,
        })
    }

    pub(super) async fn next(&mut self) -> Signal {
        tokio::select! {
            Some(()) = self.hangup.recv() => Signal::Reload,
            Some(()) = self.terminate.recv() => Signal::Stop,
            Some(()) = self.interrupt.recv() => Signal::Stop,
            // No more signals come.
            else => pending().await,
        }
    }

    pub(super) async fn stop_again(&mut self) {
        while !matches!(self.next().await, Signal::Stop) {}
    }
}
