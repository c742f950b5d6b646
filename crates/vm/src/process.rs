//! The running VM process, and how it ended.
//!
//! ```text
//! spawn ──▶ running ──(guest reboots or panics, QEMU fails, a signal)──▶ ended, collected
//!              └──── drop: killed and collected ────────────────────────────▲
//! ```

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::{Signal, WaitId, WaitIdOptions, WaitIdStatus, pidfd_send_signal, waitid};

use crate::console;

/// A VM process that this process started and must collect.
#[derive(Debug)]
pub struct Vm {
    pid: u32,
    pidfd: OwnedFd,
    /// QEMU's standard output and error. Its end of the pipe does not block,
    /// so that nobody needs to read before the end.
    messages: File,
    ended: Option<Ended>,
}

/// How the VM process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    pub end: End,
    /// The last that QEMU itself had to say, fit to print; often empty.
    pub messages: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// 0: the guest rebooted, wanted or after a panic.
    Code(i32),
    Signal(i32),
}

/// Lines of QEMU's own that are kept.
const MESSAGE_LINES: usize = 10;

impl Vm {
    pub(crate) fn new(pid: u32, pidfd: OwnedFd, messages: OwnedFd) -> Self {
        Self { pid, pidfd, messages: messages.into(), ended: None }
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Becomes readable when the process has ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Ends it at once. Nothing to do if it has ended.
    pub fn kill(&self) -> io::Result<()> {
        match pidfd_send_signal(&self.pidfd, Signal::KILL) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// How it ended, if it has.
    pub fn try_wait(&mut self) -> io::Result<Option<Ended>> {
        self.collect(WaitIdOptions::NOHANG)
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> io::Result<Ended> {
        loop {
            if let Some(ended) = self.collect(WaitIdOptions::empty())? {
                return Ok(ended);
            }
        }
    }

    fn collect(&mut self, options: WaitIdOptions) -> io::Result<Option<Ended>> {
        if self.ended.is_none() {
            let status = match waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED | options) {
                Ok(None) | Err(Errno::INTR) => return Ok(None),
                Ok(Some(status)) => status,
                Err(errno) => return Err(errno.into()),
            };
            self.ended = Some(Ended { end: End::from(status), messages: self.read_messages() });
        }
        Ok(self.ended.clone())
    }

    /// All that is in the pipe, which holds 64 KiB.
    fn read_messages(&mut self) -> String {
        let mut bytes = Vec::new();
        // Whatever cannot be read is missing from a message, no more.
        let _ = self.messages.read_to_end(&mut bytes);
        console::last_lines(&bytes, MESSAGE_LINES)
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        if self.ended.is_none() {
            // It cannot refuse to end; and if it is gone, there is nobody to tell.
            let _ = self.kill();
            let _ = self.wait();
        }
    }
}

impl From<WaitIdStatus> for End {
    fn from(status: WaitIdStatus) -> Self {
        match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Self::Code(code),
            (None, Some(signal)) => Self::Signal(signal),
            // The kernel reports ends in these two ways only.
            (None, None) => Self::Code(-1),
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.end {
            End::Code(code) => write!(f, "exited with code {code}")?,
            End::Signal(signal) => write!(f, "was killed by signal {signal}")?,
        }
        match self.messages.lines().last() {
            Some(message) => write!(f, ": {message}"),
            None => Ok(()),
        }
    }
}
