//! The container's names, and kernel parameters of its namespaces.

use std::os::fd::{AsFd, BorrowedFd};

use casemate_model::{Container, Namespace, Sysctl};
use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat2};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use crate::cage::NetworkNamespace;
use crate::error::SetupStep;
use crate::report::{AtStep, StepResult};
use crate::sys;

pub(crate) fn set(container: &Container, network: &NetworkNamespace) -> StepResult<()> {
    if container.namespaces.uts == Namespace::Own {
        let name = &container.hostname;
        rustix::system::sethostname(name.as_bytes()).at(SetupStep::SetHostname, name)?;
        let domain = &container.domainname;
        if !domain.is_empty() {
            rustix::system::setdomainname(domain.as_bytes()).at(SetupStep::SetDomainname, domain)?;
        }
    }
    if !matches!(network, NetworkNamespace::Host) {
        bring_up_loopback()?;
        open_ports()?;
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    if container.sysctls.is_empty() {
        return Ok(());
    }
    let directory = open(c"/proc/sys", flags, Mode::empty()).at(SetupStep::SetParameter, "/proc/sys")?;
    container.sysctls.iter().try_for_each(|sysctl| write_in(directory.as_fd(), sysctl))
}

fn bring_up_loopback() -> StepResult<()> {
    let up = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
        .and_then(|socket| sys::bring_up_loopback(socket.as_fd()));
    match up {
        // A kernel without IPv4 has no loopback to bring up.
        Err(Errno::AFNOSUPPORT) => Ok(()),
        other => other.at(SetupStep::BringUp, "lo"),
    }
}

/// What Docker gives every container with a network of its own: unprivileged
/// processes may listen below 1024 and ping, since nobody else is there.
fn open_ports() -> StepResult<()> {
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

fn write_in(directory: BorrowedFd<'_>, sysctl: &Sysctl) -> StepResult<()> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    openat2(directory, sysctl.path(), OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty(), resolve)
        .and_then(|file| rustix::io::write(&file, sysctl.value().as_bytes()))
        .map(drop)
        .at(SetupStep::SetParameter, sysctl.name())
}
