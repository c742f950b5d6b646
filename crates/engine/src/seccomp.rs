//! The seccomp program of a container, compiled once.
//!
//! Compiling Docker's profile takes about ten milliseconds, and the result is
//! the same for all containers with the same capabilities. It is kept beside
//! the containers; its name tells what went into it.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::Path;

use casemate_model::{Capabilities, Seccomp};
use casemate_seccomp::{KernelVersion, Profile};

use crate::error::StartError;

/// What the default profile says beside its rules: nothing.
const NOTHING_SAID: Seccomp = Seccomp { program: Vec::new(), log: false, allow_speculation: true };

/// The program for Docker's default profile.
pub(crate) fn docker_default(root: &Path, capabilities: Capabilities) -> Result<Seccomp, StartError> {
    let mut hasher = DefaultHasher::new();
    let kernel = rustix::system::uname();
    (casemate_seccomp::DOCKER_DEFAULT, capabilities.bits(), kernel.release(), env!("CARGO_PKG_VERSION"))
        .hash(&mut hasher);
    let path = root.join(format!("seccomp-{:016x}", hasher.finish()));
    match fs::read(&path) {
        Ok(program) => return Ok(Seccomp { program, ..NOTHING_SAID }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(path = %path.display(), %error, "compiled profile not read"),
    }
    // The guest's kernel is newer than any rule of the profile asks for, as
    // is every host's: one version serves both places.
    let kernel = KernelVersion::of_this_host().map_err(StartError::Kernel)?;
    let profile = Profile::docker_default().map_err(StartError::Profile)?;
    let program = profile.compile(capabilities, kernel).map_err(StartError::Seccomp)?;
    if let Err(error) = keep(&path, &program.program) {
        tracing::warn!(path = %path.display(), %error, "compiled profile not kept");
    }
    Ok(program)
}

/// The program for a profile of the user's.
pub(crate) fn given(json: &str, capabilities: Capabilities) -> Result<Seccomp, StartError> {
    let kernel = KernelVersion::of_this_host().map_err(StartError::Kernel)?;
    let profile = Profile::parse(json).map_err(StartError::Profile)?;
    profile.compile(capabilities, kernel).map_err(StartError::Seccomp)
}

/// Whole or not at all: another command may read it at any moment.
fn keep(path: &Path, program: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension(std::process::id().to_string());
    fs::write(&temporary, program)?;
    fs::rename(&temporary, path)
}
