//! The container's first process: it builds the container around itself.

use std::convert::Infallible;
use std::os::fd::AsFd;

use casemate_model::Container;
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::process::{setsid, umask};

use super::become_command::{Streams, become_command};
use super::beneath::{Wanted, open_or_make};
use super::{cgroup_view, device_nodes, etc, hide, mounts, open_null, rootfs, terminal};
use crate::cgroup::Hierarchy;
use crate::command::Command;
use crate::error::SetupStep;
use crate::place::Place;
use crate::report::{AtStep, StepResult};
use crate::streams::{ChildEnds, ChildStreams};
use crate::sys;

#[derive(Debug)]
pub(crate) struct InitJob<'a> {
    pub(crate) container: &'a Container,
    pub(crate) command: &'a Command,
    pub(crate) place: &'a Place,
    /// The hierarchies of version 1 to show; `None` where there is one tree.
    pub(crate) hierarchies: Option<Vec<&'a Hierarchy>>,
    pub(crate) ends: &'a ChildEnds,
}

impl InitJob<'_> {
    pub(crate) fn run(self) -> StepResult<Infallible> {
        let container = self.container;
        // Only now: the namespace is rooted where its maker is.
        sys::unshare_cgroup_namespace().at(SetupStep::EnterNamespace, "cgroup")?;
        setsid().at(SetupStep::Prepare, "a session")?;
        // Nodes and directories get exactly the modes they are made with.
        umask(Mode::empty());

        rootfs::make_private()?;
        let etc_files = etc::EtcMounts::open(&self.place.dir, container.read_only)?;
        rootfs::enter(self.place, container.ephemeral)?;
        let root = open(c"/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let root = root.at(SetupStep::Prepare, "the root")?;
        let root = root.as_fd();

        mounts::proc_and_dev(root, container.limits.shm_size)?;
        device_nodes::make()?;
        mounts::sys(root)?;
        cgroup_view::mount(self.hierarchies.as_deref())?;
        etc_files.attach(root)?;
        open_or_make(root, &self.command.directory, Wanted::Directory)
            .at(SetupStep::MakeDirectory, &self.command.directory)?;
        name_and_network(&container.hostname)?;
        let streams = self.streams()?;
        hide::mask(&container.masked_paths)?;
        hide::make_read_only(&container.readonly_paths)?;
        if container.read_only {
            hide::make_root_read_only()?;
        }
        umask(Mode::from_raw_mode(0o022));
        become_command(self.command, root, streams, self.ends)
    }

    fn streams(&self) -> StepResult<Streams<'_>> {
        match &self.ends.streams {
            ChildStreams::Terminal { socket, size } => {
                let terminal = terminal::open(socket.as_fd(), *size)?;
                terminal::show_as_console(&terminal)?;
                Ok(Streams::Terminal(terminal))
            }
            ChildStreams::Pipes { stdin: Some(stdin), stdout, stderr } => Ok(Streams::Pipes { stdin, stdout, stderr }),
            ChildStreams::Pipes { stdin: None, stdout, stderr } => {
                let null = open_null().at(SetupStep::ConnectStreams, "/dev/null")?;
                Ok(Streams::NoInput { null, stdout, stderr })
            }
        }
    }
}

fn name_and_network(hostname: &str) -> StepResult<()> {
    rustix::system::sethostname(hostname.as_bytes()).at(SetupStep::SetHostname, hostname)?;
    let up = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
        .and_then(|socket| sys::bring_up_loopback(socket.as_fd()));
    match up {
        // A kernel without IPv4 has no loopback to bring up.
        Err(Errno::AFNOSUPPORT) => {}
        other => other.at(SetupStep::BringUp, "lo")?,
    }
    // What Docker gives every container with a network of its own: unprivileged
    // processes may listen below 1024 and ping, since nobody else is there.
    for (path, value) in [
        ("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0"),
        ("/proc/sys/net/ipv4/ping_group_range", "0 2147483647"),
    ] {
        let set = open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
            .and_then(|file| rustix::io::write(&file, value.as_bytes()));
        match set {
            // Built without it.
            Err(Errno::NOENT) => {}
            other => drop(other.at(SetupStep::SetParameter, path)?),
        }
    }
    Ok(())
}
