//! `--tmpfs`: a filesystem in memory at a place in the container.

use std::fmt;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tmpfs {
    /// Absolute.
    pub path: String,
    pub attributes: TmpfsAttributes,
    /// What tmpfs itself reads, in its own words (tmpfs(5)): each key once.
    pub parameters: Vec<(TmpfsKey, String)>,
}

/// By mount(8)'s names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TmpfsAttributes {
    pub read_only: bool,
    pub nosuid: bool,
    pub nodev: bool,
    pub noexec: bool,
    pub sync: bool,
    pub dirsync: bool,
    pub noatime: bool,
    pub nodiratime: bool,
    pub strictatime: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TmpfsKey {
    Size,
    Mode,
    Uid,
    Gid,
    Inodes,
    Blocks,
    Policy,
}

// Docker's words (moby/sys `mount`, moby `volume/mounts`).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTmpfs {
    #[error("invalid tmpfs option {0:?}")]
    Option(String),
    #[error("invalid mount path: '{0}' mount path must be absolute")]
    RelativePath(String),
    #[error("invalid specification: destination can't be '/'")]
    Root,
    #[error("invalid mount path: {0:?} holds a null byte")]
    NullByte(String),
}

impl TmpfsAttributes {
    /// What Docker gives where nothing else is asked for.
    pub const DOCKER_DEFAULT: Self = Self {
        read_only: false,
        nosuid: true,
        nodev: true,
        noexec: true,
        sync: false,
        dirsync: false,
        noatime: false,
        nodiratime: false,
        strictatime: false,
    };

    /// `false` for a word that is none of these.
    fn set(&mut self, word: &str) -> bool {
        let (attribute, value) = match word {
            "ro" => (&mut self.read_only, true),
            "rw" => (&mut self.read_only, false),
            "nosuid" => (&mut self.nosuid, true),
            "suid" => (&mut self.nosuid, false),
            "nodev" => (&mut self.nodev, true),
            "dev" => (&mut self.nodev, false),
            "noexec" => (&mut self.noexec, true),
            "exec" => (&mut self.noexec, false),
            "sync" => (&mut self.sync, true),
            "async" => (&mut self.sync, false),
            "dirsync" => (&mut self.dirsync, true),
            "noatime" => (&mut self.noatime, true),
            "atime" => (&mut self.noatime, false),
            "nodiratime" => (&mut self.nodiratime, true),
            "diratime" => (&mut self.nodiratime, false),
            "strictatime" => (&mut self.strictatime, true),
            "nostrictatime" => (&mut self.strictatime, false),
            _ => return false,
        };
        *attribute = value;
        true
    }
}

impl TmpfsKey {
    const ALL: [Self; 7] = [Self::Size, Self::Mode, Self::Uid, Self::Gid, Self::Inodes, Self::Blocks, Self::Policy];

    pub fn name(self) -> &'static str {
        match self {
            Self::Size => "size",
            Self::Mode => "mode",
            Self::Uid => "uid",
            Self::Gid => "gid",
            Self::Inodes => "nr_inodes",
            Self::Blocks => "nr_blocks",
            Self::Policy => "mpol",
        }
    }
}

/// Words that mean nothing here: the kernel's default, and how mounts spread
/// to other namespaces, which they do not.
const IDLE: [&str; 13] = [
    "",
    "defaults",
    "relatime",
    "norelatime",
    "mand",
    "nomand",
    "private",
    "rprivate",
    "shared",
    "rshared",
    "slave",
    "rslave",
    "unbindable",
];

impl Tmpfs {
    /// `options` as behind the colon of `--tmpfs /run:size=64m,exec`; a later
    /// one overrides an earlier.
    pub fn new(path: &str, options: &str) -> Result<Self, InvalidTmpfs> {
        if !path.starts_with('/') {
            return Err(InvalidTmpfs::RelativePath(path.to_owned()));
        }
        if path.contains('\0') {
            return Err(InvalidTmpfs::NullByte(path.to_owned()));
        }
        let mut depth = 0;
        for part in path.split('/').filter(|part| !matches!(*part, "" | ".")) {
            depth = if part == ".." { depth - 1i32 } else { depth.max(0) + 1 };
        }
        if depth <= 0 {
            return Err(InvalidTmpfs::Root);
        }
        let mut attributes = TmpfsAttributes::DOCKER_DEFAULT;
        let mut parameters: Vec<(TmpfsKey, String)> = Vec::new();
        for option in options.split(',') {
            if IDLE.contains(&option) || attributes.set(option) {
                continue;
            }
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            let key = TmpfsKey::ALL.into_iter().find(|key| key.name() == name);
            let key = key.filter(|_| !value.is_empty() && !value.contains('\0'));
            let key = key.ok_or_else(|| InvalidTmpfs::Option(name.to_owned()))?;
            parameters.retain(|(known, _)| *known != key);
            parameters.push((key, value.to_owned()));
        }
        Ok(Self { path: path.to_owned(), attributes, parameters })
    }

    /// All options, in a form that [`Tmpfs::new`] reads.
    pub fn options(&self) -> String {
        let TmpfsAttributes { read_only, nosuid, nodev, noexec, sync, dirsync, noatime, nodiratime, strictatime } =
            self.attributes;
        let pick = |is: bool, yes, no| if is { yes } else { no };
        let mut words = vec![
            pick(read_only, "ro", "rw"),
            pick(nosuid, "nosuid", "suid"),
            pick(nodev, "nodev", "dev"),
            pick(noexec, "noexec", "exec"),
        ];
        for (is, word) in [
            (sync, "sync"),
            (dirsync, "dirsync"),
            (noatime, "noatime"),
            (nodiratime, "nodiratime"),
            (strictatime, "strictatime"),
        ] {
            words.extend(is.then_some(word));
        }
        let words = words.into_iter().map(str::to_owned);
        words.chain(self.parameters()).collect::<Vec<_>>().join(",")
    }

    /// What is for tmpfs itself, each as `key=value`.
    pub fn parameters(&self) -> impl Iterator<Item = String> + '_ {
        self.parameters.iter().map(|(key, value)| format!("{}={value}", key.name()))
    }
}

impl fmt::Display for Tmpfs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.path, self.options())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_as_docker_merges_them() {
        let options = |text: &str| Tmpfs::new("/run", text).map(|t| t.options());
        for (given, all) in [
            ("", "rw,nosuid,nodev,noexec"),
            ("exec,size=64m", "rw,nosuid,nodev,exec,size=64m"),
            ("size=1m,ro,size=2m,rw,mode=1777", "rw,nosuid,nodev,noexec,size=2m,mode=1777"),
            ("suid,dev,noatime,uid=1,gid=2,nr_inodes=10", "rw,suid,dev,noexec,noatime,uid=1,gid=2,nr_inodes=10"),
            ("rshared,defaults", "rw,nosuid,nodev,noexec"),
        ] {
            assert_eq!(options(given).unwrap(), all, "{given}");
            assert_eq!(options(all).unwrap(), all);
        }
        for bad in ["bind", "remount", "huge=always", "size", "size=", "nonsense", "=1", "mode=7\0"] {
            let name = bad.split('=').next().unwrap();
            assert_eq!(options(bad), Err(InvalidTmpfs::Option(name.to_owned())), "{bad}");
        }
        assert_eq!(options("foo").unwrap_err().to_string(), "invalid tmpfs option \"foo\"");
    }

    #[test]
    fn places_below_the_root() {
        let place = |path: &str| Tmpfs::new(path, "").map(drop);
        for good in ["/run", "/a/../b", "/../a", "/a/b/.."] {
            assert_eq!(place(good), Ok(()), "{good}");
        }
        for root in ["/", "//", "/.", "/a/..", "/../..", "/a/../.."] {
            assert_eq!(place(root), Err(InvalidTmpfs::Root), "{root}");
        }
        assert_eq!(place("run").unwrap_err().to_string(), "invalid mount path: 'run' mount path must be absolute");
    }
}
