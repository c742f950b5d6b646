//! Where this kernel's control groups are: one unified tree (version 2), one
//! tree per set of controllers (version 1), or both at once (hybrid).

use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use super::CgroupError;

const MOUNT_POINT: &str = "/sys/fs/cgroup";
/// `CGROUP2_SUPER_MAGIC` of linux/magic.h.
const CGROUP2_MAGIC: u64 = 0x6367_7270;

/// How this kernel's control groups are set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgroupVersion {
    V1,
    /// Controllers in trees of version 1, and a tree of version 2 without any.
    Hybrid,
    V2,
}

/// One tree of version 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    pub(crate) mount: PathBuf,
    /// Mount options that name it: controllers, or `name=…`.
    pub(crate) controllers: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Hierarchies {
    Unified(PathBuf),
    Split { v1: Vec<Hierarchy>, unified: Option<PathBuf> },
}

impl Hierarchies {
    pub(crate) fn of_this_kernel() -> Result<Self, CgroupError> {
        // The usual case, and the hot one in the VM: one call.
        if rustix::fs::statfs(MOUNT_POINT).is_ok_and(|s| s.f_type as u64 == CGROUP2_MAGIC) {
            return Ok(Self::Unified(PathBuf::from(MOUNT_POINT)));
        }
        let path = Path::new("/proc/self/mountinfo");
        let mounts =
            fs::read(path).map_err(|source| CgroupError::Io { operation: "read", path: path.to_owned(), source })?;
        Self::from_mountinfo(&mounts)
    }

    fn from_mountinfo(mounts: &[u8]) -> Result<Self, CgroupError> {
        let mut v1: Vec<Hierarchy> = Vec::new();
        let mut unified = None;
        for line in mounts.split(|b| *b == b'\n') {
            let Some((mount, kind, options)) = parse_mount(line) else { continue };
            if !mount.starts_with(MOUNT_POINT) {
                continue;
            }
            match kind {
                b"cgroup2" => unified = Some(mount),
                b"cgroup" => {
                    let controllers = controllers(options);
                    if !controllers.is_empty() && v1.iter().all(|h| h.controllers != controllers) {
                        v1.push(Hierarchy { mount, controllers });
                    }
                }
                _ => {}
            }
        }
        match (v1.is_empty(), unified) {
            (true, Some(unified)) => Ok(Self::Unified(unified)),
            (true, None) => Err(CgroupError::NotMounted),
            (false, unified) => Ok(Self::Split { v1, unified }),
        }
    }

    pub(crate) fn version(&self) -> CgroupVersion {
        match self {
            Self::Unified(_) => CgroupVersion::V2,
            Self::Split { unified: Some(_), .. } => CgroupVersion::Hybrid,
            Self::Split { unified: None, .. } => CgroupVersion::V1,
        }
    }
}

/// Mount point, filesystem type and superblock options of a line of mountinfo
/// (proc(5)).
fn parse_mount(line: &[u8]) -> Option<(PathBuf, &[u8], &[u8])> {
    let mut fields = line.split(|b| *b == b' ');
    let mount = fields.nth(4)?;
    fields.find(|field| *field == b"-")?;
    let kind = fields.next()?;
    let options = fields.nth(1)?;
    Some((PathBuf::from(std::ffi::OsString::from_vec(unescape(mount))), kind, options))
}

/// The kernel writes blanks and backslashes in paths as `\040` and so on.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let digits = tail.get(..3).filter(|d| first == b'\\' && d.iter().all(|b| (b'0'..=b'7').contains(b)));
        match digits {
            Some(d) => {
                plain.push(d.iter().fold(0u8, |n, b| n.wrapping_mul(8).wrapping_add(b - b'0')));
                rest = &tail[3..];
            }
            None => {
                plain.push(first);
                rest = tail;
            }
        }
    }
    plain
}

/// The options that name a hierarchy, without those that tune it.
fn controllers(options: &[u8]) -> Vec<String> {
    const TUNING: [&str; 9] =
        ["rw", "ro", "noprefix", "clone_children", "cpuset_v2_mode", "xattr", "favordynmods", "seclabel", "none"];
    let options = String::from_utf8_lossy(options);
    let named = options.split(',').filter(|o| !TUNING.contains(o) && !o.starts_with("release_agent="));
    named.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hybrid_pure_and_absent() {
        let hybrid = b"31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
            32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
            33 31 0:29 / /sys/fs/cgroup/again rw - cgroup cgroup rw,cpu,cpuacct\n\
            34 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,release_agent=/x,name=systemd\n\
            35 31 0:38 / /sys/fs/cgroup/uni\\040fied rw - cgroup2 cgroup2 rw\n\
            36 31 0:38 / /elsewhere rw - cgroup2 cgroup2 rw\n";
        let found = Hierarchies::from_mountinfo(hybrid).unwrap();
        assert_eq!(found.version(), CgroupVersion::Hybrid);
        let Hierarchies::Split { v1, unified } = found else { panic!("not split") };
        assert_eq!(unified, Some(PathBuf::from("/sys/fs/cgroup/uni fied")));
        assert_eq!(v1.len(), 2);
        assert_eq!(v1[0].controllers, ["cpu", "cpuacct"]);
        assert_eq!(v1[1].controllers, ["name=systemd"]);
        assert!(matches!(Hierarchies::from_mountinfo(b"a b\n\n"), Err(CgroupError::NotMounted)));
        let unified = b"31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(Hierarchies::from_mountinfo(unified).unwrap().version(), CgroupVersion::V2);
    }
}
