//! What the fuzz targets do with their bytes.
//!
//! A target takes bytes as the other side of a trust boundary would send them
//! and panics if a promise of the crate under test does not hold. The promises
//! beyond "does not panic" are each target's own: see [`frames`] and
//! [`connection`]; all of them hold memory to a limit ([`memory`]).
//!
//! Time is paused in every target: when nothing is left to do but wait, the
//! clock jumps, so that a hang shows at once and no input is slow.

pub mod connection;
pub mod double;
pub mod frames;
pub mod memory;
pub mod mutate;
pub mod peer;
pub mod seeds;

use std::time::Duration;

use tokio::task::LocalSet;

/// More virtual time than anything may take that is not a hang.
pub const FOREVER: Duration = Duration::from_secs(24 * 3600);

/// Runs `future` with paused time; panics if it would wait forever.
pub fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime that opens no descriptor");
    let ended = LocalSet::new().block_on(&runtime, async { tokio::time::timeout(FOREVER, future).await });
    ended.unwrap_or_else(|_| panic!("waits for what never comes"))
}
