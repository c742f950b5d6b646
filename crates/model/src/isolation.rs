//! Docker's `HostConfig.Isolation`: which wall stands around a container.

use std::fmt;
use std::str::FromStr;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Isolation {
    /// Namespaces, cgroups and seccomp on the host's kernel.
    Process,
    /// A utility VM with a kernel of its own, for this container alone.
    Hyperv,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid isolation ({0}): supported are 'default', 'process' and 'hyperv'")]
pub struct UnknownIsolation(pub String);

impl Isolation {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Hyperv => "hyperv",
        }
    }

    /// Reads the flag's value as Docker does: in any case, with `default` and
    /// the empty string for "whatever the engine's default is" (`None`).
    pub fn parse_or_default(text: &str) -> Result<Option<Self>, UnknownIsolation> {
        match text.to_ascii_lowercase().as_str() {
            "" | "default" => Ok(None),
            "process" => Ok(Some(Self::Process)),
            "hyperv" => Ok(Some(Self::Hyperv)),
            _ => Err(UnknownIsolation(text.to_owned())),
        }
    }
}

impl FromStr for Isolation {
    type Err = UnknownIsolation;

    fn from_str(text: &str) -> Result<Self, UnknownIsolation> {
        Self::parse_or_default(text)?.ok_or_else(|| UnknownIsolation(text.to_owned()))
    }
}

impl fmt::Display for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
