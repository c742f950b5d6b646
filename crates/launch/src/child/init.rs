//! The container's first process: it builds the container around itself.

use std::convert::Infallible;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use casemate_model::{Container, Ipc, Namespace};
use casemate_tree::beneath::{Wanted, open_or_make};
use rustix::fs::{Mode, OFlags, open};
use rustix::process::{setsid, umask};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::become_command::{Streams, become_command};
use super::cgroup_view::View;
use super::{device_nodes, etc, hide, mounts, open_null, parameters, rootfs, set_oom_score, terminal, tmpfs};
use crate::cage::NetworkNamespace;
use crate::cgroup::Hierarchy;
use crate::command::{Command, REAPER};
use crate::device::DeviceNode;
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
    /// The groups of version 1 to show; `None` where there is one tree.
    pub(crate) split: Option<Vec<(&'a Hierarchy, &'a Path)>>,
    pub(crate) devices: &'a [DeviceNode],
    /// A mount of the program that goes before the command.
    pub(crate) reaper: Option<BorrowedFd<'a>>,
    pub(crate) network: &'a NetworkNamespace,
    pub(crate) ends: &'a ChildEnds,
}

impl InitJob<'_> {
    pub(crate) fn run(self) -> StepResult<Infallible> {
        let container = self.container;
        let own_cgroups = container.namespaces.cgroup == Namespace::Own;
        if own_cgroups {
            // Only now: the namespace is rooted where its maker is.
            sys::unshare_cgroup_namespace().at(SetupStep::EnterNamespace, "cgroup")?;
        }
        if let Some(network) = self.network.given() {
            // Before sysfs is mounted, which shows the links of its mounter's.
            move_into_link_name_space(network, Some(LinkNameSpaceType::Network))
                .at(SetupStep::EnterNamespace, "network")?;
        }
        set_oom_score(self.command.oom_score_adj)?;
        setsid().at(SetupStep::Prepare, "a session")?;
        // Nodes and directories get exactly the modes they are made with.
        umask(Mode::empty());

        rootfs::make_private()?;
        let etc_files = etc::EtcMounts::open(&self.place.dir, container.read_only)?;
        let groups = View::open(self.split.as_deref(), own_cgroups)?;
        let host_shm = (container.namespaces.ipc == Ipc::Host).then(mounts::open_host_shm).transpose()?;
        rootfs::enter(self.place, container.ephemeral)?;
        let root = open(c"/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let root = root.at(SetupStep::Prepare, "the root")?;
        let root = root.as_fd();

        mounts::proc_and_dev(root, container, host_shm.as_ref())?;
        device_nodes::make()?;
        device_nodes::add(root, self.devices)?;
        mounts::sys(root, container.privileged)?;
        groups.mount(container.privileged)?;
        tmpfs::mount_all(root, &container.tmpfs)?;
        etc_files.attach(root)?;
        if let Some(reaper) = self.reaper {
            etc::attach(root, reaper, REAPER)?;
        }
        open_or_make(root, &self.command.directory, Wanted::Directory)
            .at(SetupStep::MakeDirectory, &self.command.directory)?;
        parameters::set(container, self.network)?;
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
