//! What is in a container's `/dev`.

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat, symlink};

use crate::error::SetupStep;
use crate::report::{AtStep, StepResult};

const NODES: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

const LINKS: [(&str, &str); 5] = [
    ("pts/ptmx", "/dev/ptmx"),
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
];

/// Fills the fresh `/dev`. With a umask of zero.
pub(crate) fn make() -> StepResult<()> {
    for (path, major, minor) in NODES {
        mknodat(CWD, path, FileType::CharacterDevice, Mode::from_raw_mode(0o666), makedev(major, minor))
            .at(SetupStep::MakeDevice, path)?;
    }
    for (target, path) in LINKS {
        symlink(target, path).at(SetupStep::MakeFile, path)?;
    }
    // As Docker has it, where the kernel has such a file.
    if rustix::fs::stat(c"/proc/kcore").is_ok() {
        symlink("/proc/kcore", "/dev/core").at(SetupStep::MakeFile, "/dev/core")?;
    }
    Ok(())
}
