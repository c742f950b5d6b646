//! Having everything in a control group stand still.
//!
//! Where there is a unified tree its own freezer is used, which tells when it
//! is done and lets killed processes die. Elsewhere it is the hierarchy of that
//! name, which does neither.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use super::CgroupError;
use super::file::{read, try_write};
use super::removal::{V1_RETRY, is_gone, wait_for};

/// Processes stop at once, unless one hangs in the kernel (a dead network
/// filesystem): then waiting longer does not help.
const DEADLINE: Duration = Duration::from_secs(10);

pub(crate) fn freeze(unified: Option<&Path>, v1: Option<&Path>) -> Result<(), CgroupError> {
    let frozen = match (unified, v1) {
        (Some(dir), _) => freeze_unified(dir),
        (None, Some(dir)) => freeze_v1(dir),
        (None, None) => Err(CgroupError::NotMounted),
    };
    if frozen.is_err() {
        // Half of it frozen is worse than none.
        let _ = thaw(unified, v1);
    }
    frozen
}

pub(crate) fn thaw(unified: Option<&Path>, v1: Option<&Path>) -> Result<(), CgroupError> {
    match (unified, v1) {
        (Some(dir), _) => set(&dir.join("cgroup.freeze"), "0"),
        (None, Some(dir)) => set(&dir.join("freezer.state"), "THAWED"),
        (None, None) => Err(CgroupError::NotMounted),
    }
}

fn set(path: &Path, state: &str) -> Result<(), CgroupError> {
    match try_write(path, state) {
        Err(source) if source.kind() == io::ErrorKind::NotFound => {
            let path = path.parent().unwrap_or(path).to_owned();
            Err(CgroupError::NoController { controller: "freezer", path })
        }
        Err(source) => Err(CgroupError::Io { operation: "write", path: path.to_owned(), source }),
        Ok(()) => Ok(()),
    }
}

fn freeze_unified(dir: &Path) -> Result<(), CgroupError> {
    let deadline = Instant::now() + DEADLINE;
    let path = dir.join("cgroup.events");
    let failed = |source| CgroupError::Io { operation: "read", path: path.clone(), source };
    let mut file = File::open(&path).map_err(failed)?;
    set(&dir.join("cgroup.freeze"), "1")?;
    loop {
        let mut text = String::new();
        match file.rewind().and_then(|()| file.read_to_string(&mut text)) {
            Ok(_) if text.lines().any(|line| line == "frozen 1") => return Ok(()),
            // Each read is what the next event counts from.
            Ok(_) => wait_for(&file, PollFlags::PRI, deadline, dir, || still_running(dir))?,
            Err(error) if is_gone(&error) => return Ok(()),
            Err(error) => return Err(failed(error)),
        }
    }
}

/// The kernel freezes those that are there; who was just being born is seen to
/// by asking again, which is also what its documentation says to do.
fn freeze_v1(dir: &Path) -> Result<(), CgroupError> {
    let deadline = Instant::now() + DEADLINE;
    let path = dir.join("freezer.state");
    loop {
        set(&path, "FROZEN")?;
        match read(&path)?.trim() {
            "FROZEN" => return Ok(()),
            _ if Instant::now() >= deadline => return Err(still_running(dir)),
            _ => std::thread::sleep(V1_RETRY),
        }
    }
}

fn still_running(dir: &Path) -> CgroupError {
    CgroupError::NotFrozen { path: dir.to_owned(), seconds: DEADLINE.as_secs() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// The way of kernels without a unified tree, which a hybrid one has too.
    #[test]
    fn the_hierarchy_of_version_1() {
        let root = Path::new("/sys/fs/cgroup/freezer");
        if !rustix::process::geteuid().is_root() || !root.join("cgroup.procs").exists() {
            return;
        }
        let dir = root.join(format!("casemate-freezer-test-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        try_write(&dir.join("cgroup.procs"), &child.id().to_string()).unwrap();
        freeze(None, Some(&dir)).unwrap();
        assert_eq!(read(&dir.join("freezer.state")).unwrap(), "FROZEN\n");
        freeze(None, Some(&dir)).unwrap();
        // Killed, it is still to be thawed before it ends.
        super::super::removal::destroy(None, std::slice::from_ref(&dir)).unwrap();
        assert!(!child.wait().unwrap().success() && !dir.exists());
        assert!(matches!(freeze(None, Some(&dir)), Err(CgroupError::NoController { .. })));
    }
}
