//! What a control group's processes used.

use std::collections::BTreeMap;

use casemate_model::{Bytes, Limits};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CgroupStats {
    pub cpu: CpuUse,
    pub memory: MemoryUse,
    pub disks: Vec<DiskUse>,
    /// Tasks, that is processes and threads.
    pub pids: u64,
    /// The limits that are in force.
    pub limits: Limits,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuUse {
    pub total_ns: u64,
    pub user_ns: u64,
    pub system_ns: u64,
    /// Periods of a quota that have passed, and those in which it was used up.
    pub periods: u64,
    pub throttled_periods: u64,
    pub throttled_ns: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// With the page cache.
    pub usage: Bytes,
    /// The most there ever was, where the kernel remembers.
    pub max_usage: Option<Bytes>,
    /// How often it was at its limit and nothing could be reclaimed.
    pub failures: u64,
    /// `memory.stat`, line by line.
    pub detail: Vec<(String, u64)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskUse {
    pub major: u32,
    pub minor: u32,
    pub read_bytes: u64,
    pub write_bytes: u64,
    pub reads: u64,
    pub writes: u64,
}

impl MemoryUse {
    /// Without the page cache that can be dropped at once, as `docker stats`
    /// shows it.
    pub fn without_cache(&self) -> Bytes {
        let value = |key: &str| self.detail.iter().find(|(name, _)| name == key).map(|(_, value)| *value);
        // Version 1 tells of the group alone and, in `total_`, of all below it.
        let cache = value("total_inactive_file").or_else(|| value("inactive_file")).unwrap_or(0);
        Bytes(self.usage.0.saturating_sub(cache))
    }
}

/// Lines of `key number`.
pub(crate) fn lines(text: &str) -> Vec<(String, u64)> {
    let pair = |line: &str| {
        let (key, value) = line.split_once(' ')?;
        Some((key.to_owned(), value.trim().parse().ok()?))
    };
    text.lines().filter_map(pair).collect()
}

/// `io.stat`: `8:0 rbytes=1 wbytes=2 rios=3 …` a disk.
pub(crate) fn unified_disks(text: &str) -> Vec<DiskUse> {
    let disk = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let (major, minor) = number_of(words.next()?)?;
        let mut disk = DiskUse { major, minor, ..DiskUse::default() };
        for word in words {
            let Some((key, value)) = word.split_once('=') else { continue };
            let field = match key {
                "rbytes" => &mut disk.read_bytes,
                "wbytes" => &mut disk.write_bytes,
                "rios" => &mut disk.reads,
                "wios" => &mut disk.writes,
                _ => continue,
            };
            *field = value.parse().ok()?;
        }
        Some(disk)
    };
    text.lines().filter_map(disk).collect()
}

/// The two files of version 1: `8:0 Read 1` a line, one of bytes and one of
/// operations.
pub(crate) fn split_disks(bytes: &str, operations: &str) -> Vec<DiskUse> {
    let mut disks: BTreeMap<(u32, u32), DiskUse> = BTreeMap::new();
    for (text, in_bytes) in [(bytes, true), (operations, false)] {
        for line in text.lines() {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            let &[device, operation, value] = fields.as_slice() else { continue };
            let (Some((major, minor)), Ok(value)) = (number_of(device), value.parse()) else { continue };
            let disk = disks.entry((major, minor)).or_insert(DiskUse { major, minor, ..DiskUse::default() });
            match (operation, in_bytes) {
                ("Read", true) => disk.read_bytes = value,
                ("Write", true) => disk.write_bytes = value,
                ("Read", false) => disk.reads = value,
                ("Write", false) => disk.writes = value,
                _ => {}
            }
        }
    }
    disks.into_values().collect()
}

fn number_of(device: &str) -> Option<(u32, u32)> {
    let (major, minor) = device.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_of_both_versions() {
        let disk = DiskUse { major: 8, minor: 16, read_bytes: 4096, write_bytes: 8192, reads: 1, writes: 2 };
        let unified = "8:16 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0 cost.usage=7\n253:0 \nx:y rbytes=1\n";
        assert_eq!(unified_disks(unified), [disk, DiskUse { major: 253, minor: 0, ..DiskUse::default() }]);
        let bytes = "8:16 Read 4096\n8:16 Write 8192\n8:16 Sync 1\n8:16 Total 12288\nTotal 12288\n";
        let operations = "8:16 Read 1\n8:16 Write 2\nTotal 3\n";
        assert_eq!(split_disks(bytes, operations), [disk]);
        assert_eq!(split_disks("Total 0\n", "Total 0\n"), []);
    }

    #[test]
    fn memory_without_what_can_be_dropped() {
        let of = |text| MemoryUse { usage: Bytes(100), detail: lines(text), ..MemoryUse::default() }.without_cache();
        assert_eq!(of("anon 5\ninactive_file 30\nbad\n"), Bytes(70));
        assert_eq!(of("inactive_file 10\ntotal_inactive_file 40\n"), Bytes(60));
        assert_eq!(of("inactive_file 400\n"), Bytes(0));
        assert_eq!(of(""), Bytes(100));
    }
}
