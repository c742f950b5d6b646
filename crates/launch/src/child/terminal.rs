//! A terminal of the container's own devpts; its master goes to the parent.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use casemate_model::TerminalSize;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, fstat, fstatfs, makedev, openat2};
use rustix::io::Errno;
use rustix::mount::mount_bind;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, ptsname, unlockpt};

use crate::error::SetupStep;
use crate::report::{AtStep, StepResult};

/// `DEVPTS_SUPER_MAGIC` of linux/magic.h.
const DEVPTS_MAGIC: u64 = 0x1cd1;

/// The slave, and its path.
pub(crate) struct Terminal {
    pub(crate) slave: OwnedFd,
    path: std::ffi::CString,
}

/// Opens a new terminal and hands its master over.
pub(crate) fn open(socket: BorrowedFd<'_>, size: TerminalSize) -> StepResult<Terminal> {
    let step = SetupStep::OpenTerminal;
    let master = open_master().at(step, "/dev/pts/ptmx")?;
    unlockpt(&master).at(step, "unlock it")?;
    // By the master, not by a path: there the container could have put
    // something else.
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = ioctl_tiocgptpeer(&master, flags).at(step, "its other side")?;
    let path = ptsname(&master, Vec::new()).at(step, "its name")?;
    resize(slave.as_fd(), size).at(step, "its size")?;
    send(socket, master.as_fd()).at(step, "hand it over")?;
    Ok(Terminal { slave, path })
}

/// The multiplexer of a devpts, and nothing that only looks like it.
fn open_master() -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master = openat2(CWD, c"/dev/pts/ptmx", flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)?;
    let genuine = fstatfs(&master)?.f_type as u64 == DEVPTS_MAGIC && fstat(&master)?.st_rdev == makedev(5, 2);
    if genuine { Ok(master) } else { Err(Errno::NOTTY) }
}

pub(crate) fn resize(terminal: BorrowedFd<'_>, size: TerminalSize) -> Result<(), Errno> {
    let size = rustix::termios::Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(terminal, size)
}

fn send(socket: BorrowedFd<'_>, master: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [master];
    if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(Errno::NOBUFS);
    }
    sendmsg(socket, &[IoSlice::new(b"t")], &mut control, SendFlags::empty()).map(drop)
}

/// Docker's containers find their terminal at `/dev/console` too. Only for the
/// init, before anybody else can meddle with `/dev`.
pub(crate) fn show_as_console(terminal: &Terminal) -> StepResult<()> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(c"/dev/console", flags, Mode::from_raw_mode(0o600)).at(SetupStep::MakeFile, "/dev/console")?;
    mount_bind(terminal.path.as_c_str(), c"/dev/console").at(SetupStep::Mount, "/dev/console")
}
