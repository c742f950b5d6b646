//! The user's terminal: its size, and raw mode while a container has it.

use std::io;
use std::os::fd::AsFd;

use casemate_model::TerminalSize;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// The size of the terminal on standard output, if there is one.
pub(crate) fn size() -> Option<TerminalSize> {
    let size = tcgetwinsize(io::stdout()).or_else(|_| tcgetwinsize(io::stdin())).ok()?;
    Some(TerminalSize { rows: size.ws_row, columns: size.ws_col })
}

/// Columns, where this is a terminal that has any.
pub(crate) fn width(fd: impl AsFd) -> Option<usize> {
    let size = tcgetwinsize(fd).ok()?;
    (size.ws_col > 0).then_some(usize::from(size.ws_col))
}

/// Raw mode on standard input; dropping it brings back what was.
#[derive(Debug)]
pub(crate) struct RawMode(Termios);

impl RawMode {
    /// `None` where standard input is no terminal.
    pub(crate) fn enter() -> Option<Self> {
        let before = tcgetattr(io::stdin()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw).ok()?;
        Some(Self(before))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // There is nothing to do about a terminal that has gone.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}
