//! The host's own tables, read as an administrator would.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A process of the host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostProcess {
    pub pid: u32,
    /// Arguments, with blanks between.
    pub cmdline: String,
}

impl HostProcess {
    pub fn dir(&self) -> PathBuf {
        Path::new("/proc").join(self.pid.to_string())
    }

    pub fn status(&self, field: &str) -> Option<String> {
        status(&self.dir().join("status"), field)
    }
}

/// A field of a `status` file, without its name.
pub fn status(path: &Path, field: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    Some(line.split_ascii_whitespace().collect::<Vec<_>>().join(" "))
}

pub fn pids() -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("/proc");
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// Zombies and kernel threads are left out: they have no arguments.
pub fn processes() -> Vec<HostProcess> {
    pids().into_iter().filter_map(process).collect()
}

pub fn process(pid: u32) -> Option<HostProcess> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words = bytes.split(|byte| *byte == 0).filter(|word| !word.is_empty());
    let cmdline = words.map(String::from_utf8_lossy).collect::<Vec<_>>().join(" ");
    (!cmdline.is_empty()).then_some(HostProcess { pid, cmdline })
}

pub fn children(pid: u32) -> Vec<u32> {
    let parent = pid.to_string();
    pids()
        .into_iter()
        .filter(|pid| {
            status(&Path::new("/proc").join(pid.to_string()).join("status"), "PPid").as_deref() == Some(&parent)
        })
        .collect()
}

/// Lines of the mount table without the numbers that differ by reader.
pub fn mounts() -> BTreeSet<String> {
    let text = fs::read_to_string("/proc/self/mountinfo").expect("the mount table");
    text.lines().map(|line| line.splitn(4, ' ').nth(3).unwrap_or(line).to_owned()).collect()
}

/// Of this thread's network namespace, which `/proc/net` need not be, and
/// `/sys/class/net` is not.
pub fn links() -> BTreeSet<String> {
    let text = fs::read_to_string("/proc/thread-self/net/dev").expect("the table of links");
    text.lines().skip(2).filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned())).collect()
}

pub fn block_devices() -> BTreeSet<String> {
    names(Path::new("/sys/block"))
}

/// Loop devices in use, with what is behind them.
pub fn loops() -> BTreeSet<String> {
    let with_file = |name: String| {
        let file = fs::read_to_string(format!("/sys/block/{name}/loop/backing_file")).ok()?;
        Some(format!("{name}: {}", file.trim_end()))
    };
    block_devices().into_iter().filter_map(with_file).collect()
}

/// Control groups of containers, in every hierarchy.
pub fn cgroups() -> BTreeSet<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies = names(root).into_iter().map(|name| root.join(name)).chain([root.to_owned()]);
    hierarchies.map(|hierarchy| hierarchy.join("casemate")).flat_map(|dir| directories(&dir)).collect()
}

/// Names bound by Unix sockets of this thread's network namespace.
pub fn unix_sockets() -> BTreeSet<String> {
    let text = fs::read_to_string("/proc/thread-self/net/unix").expect("the table of Unix sockets");
    text.lines().skip(1).filter_map(|line| line.split_ascii_whitespace().nth(7)).map(str::to_owned).collect()
}

/// Places where programs leave files behind, and what is in them.
pub fn temporary_files() -> BTreeSet<PathBuf> {
    ["/tmp", "/var/tmp", "/dev/shm", "/dev/mqueue"]
        .iter()
        .flat_map(|dir| names(Path::new(dir)).into_iter().map(|name| Path::new(dir).join(name)))
        .collect()
}

/// All below the directory, itself left out.
pub fn files_below(dir: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut left = vec![dir.to_owned()];
    while let Some(dir) = left.pop() {
        for name in names(&dir) {
            let path = dir.join(name);
            if path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir()) {
                left.push(path.clone());
            }
            found.insert(path);
        }
    }
    found
}

fn directories(dir: &Path) -> Vec<PathBuf> {
    names(dir).into_iter().map(|name| dir.join(name)).filter(|path| path.is_dir()).collect()
}

pub fn names(dir: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Whether any of the files that the kernel shows of a process holds the text.
pub fn shows(pid: u32, files: &[&str], text: &str) -> bool {
    files.iter().any(|file| {
        let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        contains(&bytes, text.as_bytes())
    })
}

pub fn contains(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

/// What the process's descriptors are.
pub fn descriptors(pid: u32) -> Vec<(u32, PathBuf)> {
    let dir = PathBuf::from(format!("/proc/{pid}/fd"));
    let open = |name: String| Some((name.parse().ok()?, fs::read_link(dir.join(&name)).ok()?));
    names(&dir).into_iter().filter_map(open).collect()
}
