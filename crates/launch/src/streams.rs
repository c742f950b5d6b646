//! The descriptors between a process and whoever looks after it.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use casemate_model::TerminalSize;
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::command::Command;

/// Input and outputs of a started process, all blocking and close-on-exec.
#[derive(Debug)]
pub enum Stdio {
    /// The master side: both directions.
    Terminal(OwnedFd),
    Pipes {
        stdin: Option<OwnedFd>,
        stdout: OwnedFd,
        stderr: OwnedFd,
    },
}

/// What the parent keeps while its child starts.
#[derive(Debug)]
pub(crate) struct ParentEnds {
    /// Ends without a byte when the command is executed.
    pub(crate) report: OwnedFd,
    pub(crate) streams: ParentStreams,
}

#[derive(Debug)]
pub(crate) enum ParentStreams {
    /// The terminal's master will arrive here.
    Terminal(OwnedFd),
    Pipes {
        stdin: Option<OwnedFd>,
        stdout: OwnedFd,
        stderr: OwnedFd,
    },
}

#[derive(Debug)]
pub(crate) struct ChildEnds {
    pub(crate) report: OwnedFd,
    pub(crate) streams: ChildStreams,
}

#[derive(Debug)]
pub(crate) enum ChildStreams {
    Terminal { socket: OwnedFd, size: TerminalSize },
    Pipes { stdin: Option<OwnedFd>, stdout: OwnedFd, stderr: OwnedFd },
}

impl ChildEnds {
    pub(crate) fn descriptors(&self) -> Vec<RawFd> {
        let streams: Vec<BorrowedFd<'_>> = match &self.streams {
            ChildStreams::Terminal { socket, .. } => vec![socket.as_fd()],
            ChildStreams::Pipes { stdin, stdout, stderr } => {
                stdin.iter().chain([stdout, stderr]).map(AsFd::as_fd).collect()
            }
        };
        streams.iter().chain([&self.report.as_fd()]).map(AsRawFd::as_raw_fd).collect()
    }
}

pub(crate) fn make(command: &Command) -> Result<(ParentEnds, ChildEnds), Errno> {
    let (report, child_report) = pipe()?;
    let (parent, child) = match command.terminal {
        Some(size) => {
            let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
            let theirs = above_stdio(theirs)?;
            (ParentStreams::Terminal(ours), ChildStreams::Terminal { socket: theirs, size })
        }
        None => {
            let input = if command.stdin { Some(pipe()?) } else { None };
            let (stdin, our_stdin) = input.unzip();
            let (our_stdout, stdout) = pipe()?;
            let (our_stderr, stderr) = pipe()?;
            (
                ParentStreams::Pipes { stdin: our_stdin, stdout: our_stdout, stderr: our_stderr },
                ChildStreams::Pipes { stdin, stdout, stderr },
            )
        }
    };
    Ok((ParentEnds { report, streams: parent }, ChildEnds { report: child_report, streams: child }))
}

/// Reading and writing end.
fn pipe() -> Result<(OwnedFd, OwnedFd), Errno> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    Ok((above_stdio(read)?, above_stdio(write)?))
}

/// A program that closed its own standard streams gets their numbers for new
/// descriptors; the child puts the streams there, one after the other.
fn above_stdio(fd: OwnedFd) -> Result<OwnedFd, Errno> {
    if fd.as_raw_fd() > 2 { Ok(fd) } else { fcntl_dupfd_cloexec(&fd, 3) }
}
