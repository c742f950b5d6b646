//! The command line.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

/// Measures Casemate's starts and idle containers against runc, Docker and a
/// bare virtual machine
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Cli {
    /// Where Casemate is installed: bin/casemate and lib/casemate are below it
    #[arg(long, env = "CASEMATE_BENCH_PREFIX", default_value = "/usr/local", value_name = "DIR")]
    pub(crate) prefix: PathBuf,
    /// Rounds that count, after one that does not
    #[arg(long, default_value = "11", value_name = "N")]
    pub(crate) runs: NonZeroUsize,
    /// Idle containers at once for the memory figures
    #[arg(long, default_value = "10", value_name = "N")]
    pub(crate) containers: NonZeroU32,
    /// Quiet time before each start, so that what the one before it left running in the background does not count
    #[arg(long, default_value = "150", value_name = "MS")]
    pause_ms: u64,
    /// Directory for images and containers, on a disk that overlayfs can write to
    #[arg(long, default_value = "/var/tmp", value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Print every figure as JSON instead of the tables
    #[arg(long)]
    pub(crate) json: bool,
    /// Do not show progress
    #[arg(long)]
    pub(crate) quiet: bool,
}

impl Cli {
    pub(crate) fn pause(&self) -> Duration {
        Duration::from_millis(self.pause_ms)
    }
}
