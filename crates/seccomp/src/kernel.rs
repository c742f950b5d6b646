//! Kernel versions, as far as profiles tell them apart.

use std::fmt;
use std::str::FromStr;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelVersion {
    pub major: u32,
    pub minor: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid kernel version {0:?}")]
pub struct ParseKernelVersionError(pub String);

impl KernelVersion {
    /// The kernel this program runs on.
    pub fn of_this_host() -> Result<Self, ParseKernelVersionError> {
        rustix::system::uname().release().to_string_lossy().parse()
    }
}

impl FromStr for KernelVersion {
    type Err = ParseKernelVersionError;

    /// The first two numbers of `6.12.3-amd64` or `4.8`.
    fn from_str(text: &str) -> Result<Self, ParseKernelVersionError> {
        let bad = || ParseKernelVersionError(text.to_owned());
        let (major, rest) = text.split_once('.').ok_or_else(bad)?;
        let minor = rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
        Ok(Self { major: major.parse().map_err(|_| bad())?, minor: minor.parse().map_err(|_| bad())? })
    }
}

impl fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        assert_eq!("6.12.3-amd64".parse(), Ok(KernelVersion { major: 6, minor: 12 }));
        assert_eq!("4.8".parse(), Ok(KernelVersion { major: 4, minor: 8 }));
        assert_eq!("6.1-rc1".parse(), Ok(KernelVersion { major: 6, minor: 1 }));
        assert!(KernelVersion { major: 4, minor: 10 } > KernelVersion { major: 4, minor: 9 });
        for bad in ["", "6", "6.", "a.b", "-1.2", "6.x"] {
            assert!(bad.parse::<KernelVersion>().is_err(), "{bad}");
        }
        assert!(KernelVersion::of_this_host().is_ok());
    }
}
