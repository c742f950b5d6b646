//! The guest's network cards.

use std::os::fd::OwnedFd;

use casemate_model::MacAddress;

/// One of them, and what its frames are written to and read from: a tap, whose
/// link is there as long as the VM is.
#[derive(Debug)]
pub struct Nic {
    pub mac: MacAddress,
    pub tap: OwnedFd,
}

impl Nic {
    /// As many as there are transports that nothing else sits on.
    pub const MOST: usize = 5;
}
