//! Another process in a running container. The container is hostile by now:
//! what it shows is looked at before it is used, and nothing of the host's is
//! open when its namespaces are joined.

use std::convert::Infallible;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{Mode, OFlags, open};
use rustix::process::{setsid, umask};
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};

use super::become_command::{Streams, become_command};
use super::{open_null, set_oom_score, terminal};
use crate::command::Command;
use crate::error::SetupStep;
use crate::report::{AtStep, StepResult};
use crate::streams::{ChildEnds, ChildStreams};

#[derive(Debug)]
pub(crate) struct ExecJob<'a> {
    /// The container's init. The child was cloned into its pid namespace.
    pub(crate) init: BorrowedFd<'a>,
    pub(crate) command: &'a Command,
    pub(crate) ends: &'a ChildEnds,
}

impl ExecJob<'_> {
    pub(crate) fn run(self) -> StepResult<Infallible> {
        setsid().at(SetupStep::Prepare, "a session")?;
        set_oom_score(self.command.oom_score_adj)?;
        let namespaces = ThreadNameSpaceType::MOUNT
            | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME
            | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION
            | ThreadNameSpaceType::NETWORK
            | ThreadNameSpaceType::CONTROL_GROUP;
        // Root and working directory become those of the mount namespace.
        move_into_thread_name_spaces(self.init, namespaces).at(SetupStep::JoinContainer, "the container")?;
        let root = open(c"/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let root = root.at(SetupStep::Prepare, "the root")?;
        let streams = match &self.ends.streams {
            ChildStreams::Terminal { socket, size } => Streams::Terminal(terminal::open(socket.as_fd(), *size)?),
            ChildStreams::Pipes { stdin: Some(stdin), stdout, stderr } => Streams::Pipes { stdin, stdout, stderr },
            ChildStreams::Pipes { stdin: None, stdout, stderr } => {
                let null = open_null().at(SetupStep::ConnectStreams, "/dev/null")?;
                Streams::NoInput { null, stdout, stderr }
            }
        };
        umask(Mode::from_raw_mode(0o022));
        become_command(self.command, root.as_fd(), streams, self.ends)
    }
}
