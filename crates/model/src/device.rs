//! Devices that a container is given, and what it may do with them.

use std::fmt;
use std::str::FromStr;

/// `--device`: a device of the host, where the container finds it, and what
/// it may do. A directory stands for all devices in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    pub host_path: String,
    /// Absolute.
    pub path: String,
    pub access: DeviceAccess,
}

/// What may be done with a device: any of `r`, `w` and `m` (making a node).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceAccess {
    pub read: bool,
    pub write: bool,
    pub mknod: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid device access mode: '{0}'")]
pub struct InvalidDeviceAccess(pub String);

impl DeviceAccess {
    pub const ALL: Self = Self { read: true, write: true, mknod: true };
}

impl FromStr for DeviceAccess {
    type Err = InvalidDeviceAccess;

    fn from_str(text: &str) -> Result<Self, InvalidDeviceAccess> {
        let mut access = Self { read: false, write: false, mknod: false };
        for letter in text.chars() {
            let known = match letter {
                'r' => &mut access.read,
                'w' => &mut access.write,
                'm' => &mut access.mknod,
                _ => return Err(InvalidDeviceAccess(text.to_owned())),
            };
            if std::mem::replace(known, true) {
                return Err(InvalidDeviceAccess(text.to_owned()));
            }
        }
        if text.is_empty() { Err(InvalidDeviceAccess(text.to_owned())) } else { Ok(access) }
    }
}

impl fmt::Display for DeviceAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters = [(self.read, "r"), (self.write, "w"), (self.mknod, "m")];
        letters.iter().filter(|(has, _)| *has).try_for_each(|(_, letter)| f.write_str(letter))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    All,
    Block,
    Character,
}

/// `--device-cgroup-rule`: devices that a container may use once it has nodes
/// of them, as `c 10:* rwm`. A number that is absent stands for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceRule {
    pub kind: DeviceKind,
    pub major: Option<u32>,
    pub minor: Option<u32>,
    pub access: DeviceAccess,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid device cgroup rule format: '{0}'")]
pub struct InvalidDeviceRule(pub String);

impl DeviceRule {
    pub const EVERYTHING: Self = Self { kind: DeviceKind::All, major: None, minor: None, access: DeviceAccess::ALL };
}

impl FromStr for DeviceRule {
    type Err = InvalidDeviceRule;

    fn from_str(text: &str) -> Result<Self, InvalidDeviceRule> {
        let bad = || InvalidDeviceRule(text.to_owned());
        let fields: Vec<&str> = text.split(' ').collect();
        let [kind, numbers, access] = fields.as_slice() else { return Err(bad()) };
        let (major, minor) = numbers.split_once(':').ok_or_else(bad)?;
        let number = |digits: &str| match digits {
            "*" => Ok(None),
            _ if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().map(Some).map_err(|_| bad()),
            _ => Err(bad()),
        };
        Ok(Self {
            kind: match *kind {
                "a" => DeviceKind::All,
                "b" => DeviceKind::Block,
                "c" => DeviceKind::Character,
                _ => return Err(bad()),
            },
            major: number(major)?,
            minor: number(minor)?,
            access: access.parse().map_err(|_| bad())?,
        })
    }
}

impl fmt::Display for DeviceRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            DeviceKind::All => 'a',
            DeviceKind::Block => 'b',
            DeviceKind::Character => 'c',
        };
        let number = |n: Option<u32>| n.map_or("*".to_owned(), |n| n.to_string());
        write!(f, "{kind} {}:{} {}", number(self.major), number(self.minor), self.access)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_in_dockers_words() {
        for rule in ["c 10:200 rwm", "b *:* m", "a *:* rwm", "c 1:* r", "b 8:0 rw"] {
            assert_eq!(rule.parse::<DeviceRule>().unwrap().to_string(), rule);
        }
        assert_eq!("c 1:2 mr".parse::<DeviceRule>().unwrap().to_string(), "c 1:2 rm");
        for bad in
            ["", "c", "d 1:2 r", "c 1 r", "c 1:2", "c 1:2 x", "c 1:2 rr", "c -1:2 r", "c 1:99999999999 r", "c  1:2 r"]
        {
            assert_eq!(bad.parse::<DeviceRule>(), Err(InvalidDeviceRule(bad.to_owned())), "{bad}");
        }
        assert_eq!("".parse::<DeviceAccess>().unwrap_err().to_string(), "invalid device access mode: ''");
    }
}
