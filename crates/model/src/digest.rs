//! Content digests. SHA-256 only: it is the one algorithm every registry and
//! every archive in use speaks.

use std::fmt;
use std::str::FromStr;

use crate::id::{hex, is_hex_of_length};

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(String);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid digest {0:?}: expected sha256: and 64 hexadecimal digits")]
pub struct ParseDigestError(pub String);

impl Digest {
    pub fn from_sha256(bytes: [u8; 32]) -> Self {
        Self(hex(&bytes))
    }

    /// The 64 hexadecimal digits, without the algorithm.
    pub fn hex(&self) -> &str {
        &self.0
    }

    /// The first 12 digits, as listings show it.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

impl FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, ParseDigestError> {
        match text.strip_prefix("sha256:") {
            Some(digits) if is_hex_of_length(digits, 64) => Ok(Self(digits.to_owned())),
            _ => Err(ParseDigestError(text.to_owned())),
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.short())
    }
}
