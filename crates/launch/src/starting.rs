//! A process on its way to its command, and one that executes it.
//!
//! ```text
//!   Starting ──finish──▶ Child ──(pidfd)──▶ status
//!       └──(report)──▶ error, child reaped
//! ```

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use casemate_model::{ExitStatus, Signal, TerminalSize};
use rustix::io::{Errno, IoSliceMut};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::{WaitId, WaitIdOptions, waitid};

use crate::cage::InitState;
use crate::error::LaunchError;
use crate::report;
use crate::streams::{ParentEnds, ParentStreams, Stdio};
use crate::sys;

/// A clone that is becoming the command. Dropped, it is killed and reaped.
#[derive(Debug)]
pub struct Starting {
    report: OwnedFd,
    /// Taken when it has started.
    running: Option<(Child, ParentStreams)>,
    /// To be told that the init runs; `None` for other processes.
    init: Option<Rc<InitState>>,
}

/// A process that executes its command.
///
/// Dropped before its end is known it is killed, and reaped if that is done at
/// once. (An init's is done when all other processes of its container are
/// reaped, which may be up to the caller.)
#[derive(Debug)]
pub struct Child {
    pid: u32,
    pidfd: OwnedFd,
    io: Option<Stdio>,
    status: Option<ExitStatus>,
}

impl Starting {
    pub(crate) fn new(pid: u32, pidfd: OwnedFd, ends: ParentEnds, init: Option<Rc<InitState>>) -> Self {
        let ParentEnds { report, streams } = ends;
        Self { report, running: Some((Child { pid, pidfd, io: None, status: None }, streams)), init }
    }

    /// Readable, or at its end, when the command is executed or could not be,
    /// and not before.
    pub fn report(&self) -> BorrowedFd<'_> {
        self.report.as_fd()
    }

    /// Returns the running process, or why there is none; waits until that is
    /// known. After a failure the child is gone.
    ///
    /// A process that is killed by a signal in the middle of its start may
    /// count as started; its status tells.
    pub fn finish(mut self) -> Result<Child, LaunchError> {
        let record = read_report(&self.report).map_err(LaunchError::host("read a child's report"))?;
        if !record.is_empty() {
            return Err(report::read(&record));
        }
        let terminal = match &self.running {
            Some((_, ParentStreams::Terminal(socket))) => {
                Some(receive_terminal(socket).ok_or(LaunchError::DiedInSetup)?)
            }
            _ => None,
        };
        // Only here is it taken, and this takes all of it.
        let (mut child, streams) = self.running.take().ok_or(LaunchError::DiedInSetup)?;
        child.io = match (streams, terminal) {
            (ParentStreams::Pipes { stdin, stdout, stderr }, _) => Some(Stdio::Pipes { stdin, stdout, stderr }),
            (ParentStreams::Terminal(_), master) => master.map(Stdio::Terminal),
        };
        if let Some(init) = &self.init {
            init.set_running();
        }
        Ok(child)
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some((child, _)) = &mut self.running {
            // Nothing can have been executed in its container before it was
            // running, so its end waits for nobody.
            let _ = child.signal(Signal::KILL);
            let _ = child.wait();
        }
    }
}

/// At most one record; more than that is garbage anyway.
pub(crate) fn read_report(fd: &OwnedFd) -> Result<Vec<u8>, Errno> {
    let mut record = vec![0; report::LONGEST + 1];
    let mut length = 0;
    while length < record.len() {
        match rustix::io::read(fd, &mut record[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    record.truncate(length);
    Ok(record)
}

/// The terminal's master, which the child sent before it executed anything.
fn receive_terminal(socket: &OwnedFd) -> Option<OwnedFd> {
    let mut byte = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut control, flags).ok()?;
    control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    })
}

impl Child {
    /// One that executes no command.
    pub(crate) fn without_streams(pid: u32, pidfd: OwnedFd) -> Self {
        Self { pid, pidfd, io: None, status: None }
    }

    /// As the caller's pid namespace numbers it.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Readable when the process has ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Its streams, once.
    pub fn take_io(&mut self) -> Option<Stdio> {
        self.io.take()
    }

    /// How it ended, if it did. May be asked again.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.wait_with(WaitIdOptions::EXITED | WaitIdOptions::NOHANG)
    }

    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        loop {
            if let Some(status) = self.wait_with(WaitIdOptions::EXITED)? {
                return Ok(status);
            }
        }
    }

    fn wait_with(&mut self, options: WaitIdOptions) -> io::Result<Option<ExitStatus>> {
        if self.status.is_none() {
            self.status = match waitid(WaitId::PidFd(self.pidfd.as_fd()), options) {
                Ok(Some(ended)) => exit_status(ended.exit_status(), ended.terminating_signal()),
                Ok(None) | Err(Errno::INTR) => None,
                Err(errno) => return Err(errno.into()),
            };
        }
        Ok(self.status)
    }

    /// To a process that has ended already it means nothing, and is no failure.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        match sys::send_signal(self.pidfd.as_fd(), signal.number().into()) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.status.is_none() {
            let _ = self.signal(Signal::KILL);
            let _ = self.try_wait();
        }
    }
}

fn exit_status(code: Option<i32>, signal: Option<i32>) -> Option<ExitStatus> {
    match (code, signal) {
        // The kernel keeps eight bits of an exit code.
        (Some(code), _) => Some(ExitStatus::Code(code as u8)),
        (None, Some(signal)) => Signal::from_number(signal.into()).ok().map(ExitStatus::Signal),
        (None, None) => None,
    }
}

/// Tells a process's terminal its size, and the process that it changed.
pub fn resize(terminal: impl AsFd, size: TerminalSize) -> io::Result<()> {
    let size = rustix::termios::Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(terminal, size).map_err(io::Error::from)
}
