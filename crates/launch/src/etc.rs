//! The files of `/etc` that are the engine's, as they lie beside the container's
//! root. The container may write to them.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use casemate_model::EtcFiles;

use crate::error::LaunchError;

const HOSTS: &str = "hosts";
const HOSTNAME: &str = "hostname";
const RESOLV_CONF: &str = "resolv.conf";

/// One that the container has made longer, in bytes, is left as it is.
const LONGEST: u64 = 1 << 20;

pub(crate) fn write(dir: &Path, etc: &EtcFiles) -> Result<(), LaunchError> {
    for (name, text) in [(HOSTS, &etc.hosts), (HOSTNAME, &etc.hostname), (RESOLV_CONF, &etc.resolv_conf)] {
        let path = dir.join(name);
        let readable_by_all = || fs::set_permissions(&path, Permissions::from_mode(0o644));
        fs::write(&path, text).and_then(|()| readable_by_all()).map_err(|error| failed(dir, name, error))?;
    }
    Ok(())
}

/// In place: the container has them mounted. `written` is what was written last,
/// and what differs from that is somebody else's: of hosts, those lines stay, and
/// `resolv.conf` as a whole, as in Docker.
pub(crate) fn rewrite(
    dir: &Path,
    written: &mut EtcFiles,
    hosts: String,
    resolv_conf: String,
) -> Result<(), LaunchError> {
    let amended = |current: &str| Some(amend(current, &written.hosts, &hosts));
    rewrite_one(dir, HOSTS, amended).map_err(|error| failed(dir, HOSTS, error))?;
    let unless_changed = |current: &str| (current == written.resolv_conf).then(|| resolv_conf.clone());
    rewrite_one(dir, RESOLV_CONF, unless_changed).map_err(|error| failed(dir, RESOLV_CONF, error))?;
    (written.hosts, written.resolv_conf) = (hosts, resolv_conf);
    Ok(())
}

fn rewrite_one(dir: &Path, name: &str, new: impl FnOnce(&str) -> Option<String>) -> io::Result<()> {
    let path = dir.join(name);
    // Somebody in the container may hold a lease, which an opening would wait for.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let mut file = match OpenOptions::new().read(true).write(true).custom_flags(flags).open(path) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
        opened => opened?,
    };
    let Some(current) = read(&mut file)? else { return Ok(()) };
    match new(&current) {
        Some(new) if new != current => {
            // In this order, so that something is there if there is no room.
            file.rewind()?;
            file.write_all(new.as_bytes())?;
            file.set_len(new.len() as u64)
        }
        _ => Ok(()),
    }
}

/// None if it is no text, or too much of it.
fn read(file: &mut File) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes)?;
    let is_too_long = bytes.len() as u64 > LONGEST;
    Ok(String::from_utf8(bytes).ok().filter(|_| !is_too_long))
}

/// Without the lines that are not in `now` any more, and with those that are new.
fn amend(current: &str, before: &str, now: &str) -> String {
    if current == before {
        return now.to_owned();
    }
    let is_in = |text: &str, line: &str| text.lines().any(|other| other == line);
    let stays = |line: &&str| !is_in(before, line) || is_in(now, line);
    let is_new = |line: &&str| !is_in(before, line) && !is_in(current, line);
    let lines = current.lines().filter(stays).chain(now.lines().filter(is_new));
    lines.flat_map(|line| [line, "\n"]).collect()
}

fn failed(dir: &Path, name: &str, source: io::Error) -> LaunchError {
    LaunchError::File { operation: "write", path: dir.join(name), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_else_has_written_stays() {
        let dir = tempfile::tempdir().unwrap();
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
        let mut written =
            EtcFiles { hosts: "1\ta\n2\tb\n".into(), hostname: "a\n".into(), resolv_conf: "nameserver 1\n".into() };
        write(dir.path(), &written).unwrap();
        rewrite(dir.path(), &mut written, "1\ta\n3\tc\n".into(), "nameserver 2\n".into()).unwrap();
        assert_eq!((&*read(HOSTS), &*read(RESOLV_CONF)), ("1\ta\n3\tc\n", "nameserver 2\n"));

        fs::write(dir.path().join(HOSTS), "9\town\n1\ta\n3\tc").unwrap();
        fs::write(dir.path().join(RESOLV_CONF), "nameserver 9\n").unwrap();
        rewrite(dir.path(), &mut written, "1\ta\n4\td\n".into(), "nameserver 3\n".into()).unwrap();
        assert_eq!((&*read(HOSTS), &*read(RESOLV_CONF)), ("9\town\n1\ta\n4\td\n", "nameserver 9\n"));
        assert_eq!((&*written.hosts, &*written.resolv_conf), ("1\ta\n4\td\n", "nameserver 3\n"));
    }

    #[test]
    fn what_is_not_text_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let mut written = EtcFiles { hosts: "1\n".into(), hostname: String::new(), resolv_conf: "1\n".into() };
        write(dir.path(), &written).unwrap();
        let long = vec![b'x'; 2 << 20];
        fs::write(dir.path().join(HOSTS), [0xff, 0xfe]).unwrap();
        fs::write(dir.path().join(RESOLV_CONF), &long).unwrap();
        rewrite(dir.path(), &mut written, "2\n".into(), "2\n".into()).unwrap();
        assert_eq!(fs::read(dir.path().join(HOSTS)).unwrap(), [0xff, 0xfe]);
        assert_eq!(fs::read(dir.path().join(RESOLV_CONF)).unwrap(), long);
    }
}
