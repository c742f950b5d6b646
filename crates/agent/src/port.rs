//! The virtio-serial port to the keeper.

use std::fs;
use std::io;

use casemate_supervisor::FdStream;
use rustix::fs::{Mode, OFlags};

/// The name the VM's command line gives the port.
const NAME: &str = "agent";

const PORTS: &str = "/sys/class/virtio-ports";

pub(crate) fn open() -> io::Result<FdStream> {
    for entry in fs::read_dir(PORTS)? {
        let entry = entry?;
        if fs::read_to_string(entry.path().join("name"))?.trim_end() == NAME {
            let device = std::path::Path::new("/dev").join(entry.file_name());
            let fd = rustix::fs::open(device, OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty())?;
            return FdStream::new(fd);
        }
    }
    Err(io::Error::new(io::ErrorKind::NotFound, format!("no port named {NAME:?} in {PORTS}")))
}
