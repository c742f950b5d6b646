//! What this program can give its containers.

use casemate_model::Capabilities;
use rustix::thread::capabilities;

use crate::error::LaunchError;

/// What a container can be given here at all: not every kernel has all of
/// them, and not every root has what its kernel has.
pub fn available_capabilities() -> Result<Capabilities, LaunchError> {
    let own = capabilities(None).map_err(LaunchError::host("ask for this program's capabilities"))?;
    Ok(Capabilities::from_bits(own.permitted.bits()))
}
