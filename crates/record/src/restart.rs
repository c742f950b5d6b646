//! What a container's restarts are decided by: written by the daemon, also
//! while the container runs.

use serde::{Deserialize, Serialize};

use crate::file::VERSION;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartRecord {
    pub version: u32,
    /// Restarts by policy since the user started it.
    pub count: u32,
    /// It stands still because the user wants it to.
    pub stopped_by_user: bool,
}

impl RestartRecord {
    pub fn new() -> Self {
        Self { version: VERSION, count: 0, stopped_by_user: false }
    }
}

impl Default for RestartRecord {
    fn default() -> Self {
        Self::new()
    }
}
