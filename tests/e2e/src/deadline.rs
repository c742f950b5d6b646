//! Waiting for what has no event of its own, with an end.

use std::fmt::Display;
use std::time::{Duration, Instant};

/// Nothing takes longer on a host that works, even under software emulation
/// with both processors busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How often a condition is looked at. Short against everything waited for.
const STEP: Duration = Duration::from_millis(5);

/// Waits until the condition gives a value; its last complaint is the failure.
pub fn eventually<T, E: Display>(what: &str, within: Duration, condition: impl FnMut() -> Result<T, E>) -> T {
    match try_eventually(within, condition) {
        Ok(value) => value,
        Err(complaint) => panic!("{what}: not within {within:?}: {complaint}"),
    }
}

pub fn try_eventually<T, E>(within: Duration, mut condition: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    let deadline = Instant::now() + within;
    loop {
        match condition() {
            Ok(value) => return Ok(value),
            Err(complaint) if Instant::now() >= deadline => return Err(complaint),
            Err(_) => std::thread::sleep(STEP),
        }
    }
}
