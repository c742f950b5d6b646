//! How a container or an exec ended.

use crate::Signal;

/// How a process ended, as `wait` tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    Code(u8),
    Signal(Signal),
}

impl ExitStatus {
    /// The shell's and Docker's one number: the code, or 128 plus the signal.
    pub fn code(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128u8.saturating_add(signal.number()),
        }
    }
}

/// The end of a process, with what the number does not tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exited {
    pub status: ExitStatus,
    /// The kernel killed a process of the container for want of memory.
    pub oom_killed: bool,
    /// Why it ended, where it was not the process's own doing (the VM died,
    /// the keeper was killed).
    pub reason: Option<String>,
}
