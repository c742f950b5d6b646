//! The guest's first file system: the agent as `/init` and little else, in the
//! kernel's own archive format ("newc", `initramfs/buffer-format` in its
//! documentation), not compressed: unpacking would cost the guest more than
//! copying costs the host.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use casemate_model::{Classify, ErrorClass};

#[derive(Debug, thiserror::Error)]
pub enum InitramfsError {
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} is too large for an initramfs")]
    TooLarge { path: PathBuf },
    #[error("cannot write {path}")]
    Write { path: PathBuf, source: io::Error },
}

impl Classify for InitramfsError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Read { .. } => ErrorClass::Unavailable,
            Self::TooLarge { .. } | Self::Write { .. } => ErrorClass::Internal,
        }
    }
}

/// Writes the initramfs whose `/init` is `agent` to `out`, all or nothing. With
/// a `reaper`, its `/docker-init` is that: the program that the agent puts
/// before a container's command where that is asked for.
pub fn write_initramfs(agent: &Path, reaper: Option<&Path>, out: &Path) -> Result<(), InitramfsError> {
    let read = |path: &Path| fs::read(path).map_err(|source| InitramfsError::Read { path: path.to_owned(), source });
    let (init, reaper) = (read(agent)?, reaper.map(read).transpose()?);
    let archive =
        archive(&init, reaper.as_deref()).ok_or_else(|| InitramfsError::TooLarge { path: agent.to_owned() })?;
    store(&archive, out).map_err(|source| InitramfsError::Write { path: out.to_owned(), source })
}

fn store(archive: &[u8], out: &Path) -> io::Result<()> {
    let directory = match out.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(archive)?;
    // VM processes read it, each as a user of its own.
    file.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
    file.as_file().sync_all()?;
    let file: File = file.persist(out)?;
    drop(file);
    Ok(())
}

const DIRECTORY: u32 = 0o040_755;
const EXECUTABLE: u32 = 0o100_755;
const CHARACTER_DEVICE: u32 = 0o020_666;
const LINK: u32 = 0o120_777;

struct Entry<'a> {
    name: &'a str,
    mode: u32,
    /// Major and minor number.
    device: (u32, u32),
    content: &'a [u8],
}

/// `None` if the content's length does not fit the format.
fn archive(init: &[u8], reaper: Option<&[u8]>) -> Option<Vec<u8>> {
    let entry = |name, mode, content| Entry { name, mode, device: (0, 0), content };
    let device = |name, device| Entry { name, mode: CHARACTER_DEVICE, device, content: b"" };
    let mut entries = vec![
        entry("dev", DIRECTORY, b""),
        // The kernel opens `/dev/console` for the standard streams of `/init`,
        // before anything is mounted. The guest has no terminal to be its
        // console; with this, what the agent says when it panics comes out
        // where the kernel's own words do. A link, because the kernel brings a
        // device of that name, which only something of another type replaces.
        entry("dev/console", LINK, b"kmsg"),
        device("dev/kmsg", (1, 11)),
        device("dev/null", (1, 3)),
        entry("init", EXECUTABLE, init),
    ];
    entries.extend(reaper.map(|reaper| entry("docker-init", EXECUTABLE, reaper)));
    entries.push(entry("TRAILER!!!", 0, b""));
    let mut archive = Vec::with_capacity(init.len() + 1024);
    for (index, entry) in entries.iter().enumerate() {
        append(&mut archive, u32::try_from(index).ok()? + 1, entry)?;
    }
    Some(archive)
}

fn append(archive: &mut Vec<u8>, inode: u32, entry: &Entry<'_>) -> Option<()> {
    let length = u32::try_from(entry.content.len()).ok()?;
    let name_length = u32::try_from(entry.name.len()).ok()? + 1;
    let links = if entry.mode == DIRECTORY { 2 } else { 1 };
    let (major, minor) = entry.device;
    // ino, mode, uid, gid, nlink, mtime, filesize, device, its number if it is
    // one, length of the name, checksum (unused)
    let fields = [inode, entry.mode, 0, 0, links, 0, length, 0, 0, major, minor, name_length, 0];
    archive.extend_from_slice(b"070701");
    for field in fields {
        archive.extend_from_slice(format!("{field:08x}").as_bytes());
    }
    archive.extend_from_slice(entry.name.as_bytes());
    archive.push(0);
    pad(archive);
    archive.extend_from_slice(entry.content);
    pad(archive);
    Some(())
}

/// Headers and contents begin at multiples of four.
fn pad(archive: &mut Vec<u8>) {
    archive.resize(archive.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Unpacked {
        name: String,
        mode: u32,
        device: (u32, u32),
        content: Vec<u8>,
    }

    /// By the format's rules.
    fn unpack(mut archive: &[u8]) -> Vec<Unpacked> {
        let mut entries = Vec::new();
        loop {
            let (header, _) = archive.split_at(110);
            assert_eq!(&header[..6], b"070701");
            let field = |index: usize| {
                let digits = std::str::from_utf8(&header[6 + index * 8..][..8]).unwrap();
                u32::from_str_radix(digits, 16).unwrap()
            };
            let (length, name_length) = (field(6) as usize, field(11) as usize);
            let name = &archive[110..110 + name_length];
            assert_eq!(name.last(), Some(&0));
            let name = String::from_utf8(name[..name_length - 1].to_vec()).unwrap();
            archive = &archive[(110 + name_length).next_multiple_of(4)..];
            if name == "TRAILER!!!" {
                assert!(archive.is_empty());
                return entries;
            }
            let content = archive[..length].to_vec();
            entries.push(Unpacked { name, mode: field(1), device: (field(9), field(10)), content });
            archive = &archive[length.next_multiple_of(4)..];
        }
    }

    #[test]
    fn the_archive_holds_the_agent_and_the_devices_it_starts_with() {
        let with_reaper = unpack(&archive(b"\x7fELF!", Some(b"reaps")).unwrap());
        let archive = archive(b"\x7fELF!", None).unwrap();
        let entry = |name: &str, mode, device, content: &[u8]| Unpacked {
            name: name.to_owned(),
            mode,
            device,
            content: content.to_vec(),
        };
        let expected = [
            entry("dev", 0o040_755, (0, 0), b""),
            entry("dev/console", 0o120_777, (0, 0), b"kmsg"),
            entry("dev/kmsg", 0o020_666, (1, 11), b""),
            entry("dev/null", 0o020_666, (1, 3), b""),
            entry("init", 0o100_755, (0, 0), b"\x7fELF!"),
        ];
        assert_eq!(unpack(&archive), expected);
        assert_eq!(with_reaper[..5], expected);
        assert_eq!(with_reaper[5], entry("docker-init", 0o100_755, (0, 0), b"reaps"));
    }

    #[test]
    fn the_file_is_replaced_whole_and_readable_by_all() {
        let directory = tempfile::tempdir().unwrap();
        let (agent, out) = (directory.path().join("agent"), directory.path().join("out.cpio"));
        fs::write(&agent, b"#!agent").unwrap();
        fs::write(&out, b"old").unwrap();
        write_initramfs(&agent, None, &out).unwrap();
        assert_eq!(fs::read(&out).unwrap(), archive(b"#!agent", None).unwrap());
        assert_eq!(fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
        assert!(matches!(
            write_initramfs(&directory.path().join("none"), None, &out),
            Err(InitramfsError::Read { .. })
        ));
    }
}
