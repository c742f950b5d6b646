//! The virtio-serial port to the keeper.

use std::io;

use casemate_supervisor::FdStream;
use rustix::fs::{Mode, OFlags};

/// The only port of the only such device, at the number that the VM's command
/// line gives it (`crates/vm`).
const PORT: &str = "/dev/vport0p1";

pub(crate) fn open() -> io::Result<FdStream> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
    FdStream::new(rustix::fs::open(PORT, flags, Mode::empty())?)
}
