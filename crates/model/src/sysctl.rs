//! `--sysctl`: kernel parameters of a container's own.

use std::fmt;

/// A parameter that the kernel keeps for each namespace, and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sysctl {
    name: String,
    value: String,
    namespace: SysctlNamespace,
}

/// Which namespace a parameter belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SysctlNamespace {
    Ipc,
    Network,
    Uts,
}

// The words of runc (libcontainer `validate`), which Docker passes on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSysctl {
    #[error("sysctl {name:?} is not in a separate kernel namespace")]
    NotNamespaced { name: String },
    #[error("sysctl {name:?} is not allowed as it conflicts with the OCI \"hostname\" field")]
    Hostname { name: String },
    #[error("the value of sysctl {name:?} holds a null byte")]
    NullByte { name: String },
}

const IPC: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

impl Sysctl {
    /// `name` is written with dots or with slashes, as sysctl(8) takes it.
    pub fn new(name: &str, value: &str) -> Result<Self, InvalidSysctl> {
        let dotted = with_dots(name);
        let not_namespaced = || InvalidSysctl::NotNamespaced { name: dotted.clone() };
        // Each is to be a name below /proc/sys and lead to nowhere else.
        let sound = |part: &str| !part.is_empty() && part != "/" && part != "//" && !part.contains('\0');
        if !dotted.split('.').all(sound) {
            return Err(not_namespaced());
        }
        let namespace = match dotted.as_str() {
            "kernel.domainname" => SysctlNamespace::Uts,
            "kernel.hostname" => return Err(InvalidSysctl::Hostname { name: dotted }),
            known if IPC.contains(&known) || known.starts_with("fs.mqueue.") => SysctlNamespace::Ipc,
            network if network.starts_with("net.") => SysctlNamespace::Network,
            _ => return Err(not_namespaced()),
        };
        if value.contains('\0') {
            return Err(InvalidSysctl::NullByte { name: dotted });
        }
        Ok(Self { name: dotted, value: value.to_owned(), namespace })
    }

    /// With dots between its parts.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn value(&self) -> &str {
        &self.value
    }

    pub fn namespace(&self) -> SysctlNamespace {
        self.namespace
    }

    /// Its file, relative to `/proc/sys`.
    pub fn path(&self) -> String {
        swapped(&self.name)
    }
}

impl fmt::Display for Sysctl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.value)
    }
}

/// Whichever separator comes first is the one that separates; the other is
/// then part of a name (`net/ipv4/conf/eth0.100/rp_filter`).
fn with_dots(name: &str) -> String {
    match name.find(['.', '/']) {
        Some(at) if name[at..].starts_with('/') => swapped(name),
        _ => name.to_owned(),
    }
}

fn swapped(name: &str) -> String {
    let swap = |c| match c {
        '.' => '/',
        '/' => '.',
        c => c,
    };
    name.chars().map(swap).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_of_namespaces_only() {
        let make = |name: &str| Sysctl::new(name, "1").map(|s| (s.path(), s.namespace()));
        for (name, path, namespace) in [
            ("net.ipv4.ip_forward", "net/ipv4/ip_forward", SysctlNamespace::Network),
            ("net/ipv4/conf/eth0.100/rp_filter", "net/ipv4/conf/eth0.100/rp_filter", SysctlNamespace::Network),
            ("net.ipv4.conf.eth0/100.rp_filter", "net/ipv4/conf/eth0.100/rp_filter", SysctlNamespace::Network),
            ("kernel.sem", "kernel/sem", SysctlNamespace::Ipc),
            ("fs.mqueue.msg_max", "fs/mqueue/msg_max", SysctlNamespace::Ipc),
            ("kernel.domainname", "kernel/domainname", SysctlNamespace::Uts),
        ] {
            assert_eq!(make(name), Ok((path.to_owned(), namespace)), "{name}");
        }
        let refused = |name: &str| make(name).unwrap_err().to_string();
        for name in ["kernel.panic", "vm.swappiness", "", "net", "user.max_user_namespaces", "kernel.sem.x"] {
            assert_eq!(refused(name), format!("sysctl {name:?} is not in a separate kernel namespace"));
        }
        assert!(refused("kernel.hostname").ends_with("conflicts with the OCI \"hostname\" field"));
        // Ways out of `net`.
        for name in ["net.//.kernel.panic", "net/../kernel/panic", "net..x", "net./.x", "net.x.", "net.a\0b"] {
            assert!(make(name).is_err(), "{name}");
        }
        assert!(Sysctl::new("kernel.sem", "1\0").is_err());
        assert_eq!(Sysctl::new("net.x", "a b").unwrap().to_string(), "net.x=a b");
    }
}
