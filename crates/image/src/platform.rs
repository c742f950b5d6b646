//! What images are for, and which of an image's platforms fits best.

use std::fmt;
use std::str::FromStr;

use casemate_model::{Classify, ErrorClass};

use crate::Image;

/// In Go's spelling, as everywhere in images: `linux/arm64`, `linux/arm/v7`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    pub os: String,
    pub architecture: String,
    /// Absent if it is the architecture's usual one.
    pub variant: Option<String>,
}

/// The wording is Docker's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParsePlatformError {
    #[error("{text:?}: unknown operating system or architecture: invalid argument")]
    Unknown { text: String },
    #[error("{part:?} is an invalid component of {text:?}: invalid argument")]
    Component { part: String, text: String },
    #[error("{text:?}: cannot parse platform specifier: invalid argument")]
    Format { text: String },
}

impl Classify for ParsePlatformError {
    fn class(&self) -> ErrorClass {
        ErrorClass::InvalidArgument
    }
}

/// Those that a single word can mean.
const SYSTEMS: [&str; 9] =
    ["linux", "windows", "darwin", "freebsd", "netbsd", "openbsd", "solaris", "android", "plan9"];
const ARCHITECTURES: [&str; 12] =
    ["amd64", "386", "arm", "arm64", "loong64", "mips64", "mips64le", "ppc64", "ppc64le", "riscv64", "s390x", "wasm"];

impl Platform {
    /// What this host runs.
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "x86" => "386",
            "aarch64" => "arm64",
            "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
            "loongarch64" => "loong64",
            same => same,
        };
        Self { os: "linux".to_owned(), architecture: architecture.to_owned(), variant: None }
    }

    /// Whether an image is for it.
    pub fn runs(&self, image: &Image) -> bool {
        self.fitness(&image.os, &image.architecture, image.variant.as_deref()).is_some()
    }

    /// None if what is for the given platform is nothing for this one; of
    /// several the highest fits best.
    pub(crate) fn fitness(&self, os: &str, architecture: &str, variant: Option<&str>) -> Option<u8> {
        let offered = normalized(os, architecture, variant.unwrap_or_default());
        if (&offered.os, &offered.architecture) != (&self.os, &self.architecture) {
            return None;
        }
        match (&self.variant, &offered.variant) {
            (wanted, offered) if wanted == offered => Some(9),
            // One that is not told apart may be any.
            (Some(_), None) => Some(1),
            (wanted, Some(offered)) => match (self.architecture.as_str(), level(offered)) {
                // Older instructions are among newer ones.
                ("arm", Some(offered)) => {
                    let wanted = wanted.as_deref().and_then(level).unwrap_or(7);
                    (offered <= wanted).then_some(offered)
                }
                // Above the architecture's baseline is a last resort: the
                // processor may lack it.
                _ if wanted.is_none() => Some(1),
                _ => None,
            },
            (None, None) => Some(9),
        }
    }
}

/// `v7`: 7.
fn level(variant: &str) -> Option<u8> {
    variant.strip_prefix('v')?.parse().ok()
}

/// With one name for each thing, and without the variant that is meant anyway.
fn normalized(os: &str, architecture: &str, variant: &str) -> Platform {
    let lower = |text: &str| text.to_ascii_lowercase();
    let os = match lower(os).as_str() {
        "macos" => "darwin".to_owned(),
        same => same.to_owned(),
    };
    let (architecture, variant) = match (lower(architecture).as_str(), lower(variant).as_str()) {
        ("x86_64" | "x86-64", variant) => ("amd64".to_owned(), variant.to_owned()),
        ("i386", _) => ("386".to_owned(), String::new()),
        ("aarch64", variant) => ("arm64".to_owned(), variant.to_owned()),
        ("armhf", _) => ("arm".to_owned(), "v7".to_owned()),
        ("armel", _) => ("arm".to_owned(), "v6".to_owned()),
        (architecture, variant) => (architecture.to_owned(), variant.to_owned()),
    };
    let usual = match architecture.as_str() {
        "amd64" => "v1",
        "arm64" => "v8",
        "arm" => "v7",
        _ => "",
    };
    // Some leave the letter out.
    let with_v = format!("v{variant}");
    let variant = if level(&with_v).is_some() { with_v } else { variant };
    Platform { os, architecture, variant: Some(variant).filter(|variant| !variant.is_empty() && variant != usual) }
}

impl FromStr for Platform {
    type Err = ParsePlatformError;

    /// `linux/arm64/v8`, `linux/amd64`, or either word alone with this host's
    /// other.
    fn from_str(text: &str) -> Result<Self, ParsePlatformError> {
        let parts: Vec<&str> = text.split('/').collect();
        let is_component = |part: &&str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
        };
        if let Some(part) = parts.iter().find(|part| !is_component(part)) {
            return Err(ParsePlatformError::Component { part: (*part).to_owned(), text: text.to_owned() });
        }
        let host = Self::host();
        match parts.as_slice() {
            [word] => {
                let as_os = normalized(word, &host.architecture, "");
                let as_architecture = normalized(&host.os, word, "");
                if SYSTEMS.contains(&as_os.os.as_str()) {
                    Ok(as_os)
                } else if ARCHITECTURES.contains(&as_architecture.architecture.as_str()) {
                    Ok(as_architecture)
                } else {
                    Err(ParsePlatformError::Unknown { text: text.to_owned() })
                }
            }
            [os, architecture] => Ok(normalized(os, architecture, "")),
            [os, architecture, variant] => Ok(normalized(os, architecture, variant)),
            _ => Err(ParsePlatformError::Format { text: text.to_owned() }),
        }
    }
}

impl From<&Image> for Platform {
    fn from(image: &Image) -> Self {
        let Image { os, architecture, variant, .. } = image;
        Self { os: os.clone(), architecture: architecture.clone(), variant: variant.clone() }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.iter().try_for_each(|variant| write!(f, "/{variant}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Platform {
        text.parse().unwrap()
    }

    #[test]
    fn platforms_are_written_in_several_ways() {
        let host = Platform::host();
        for (text, expected) in [
            ("linux/amd64", "linux/amd64".to_owned()),
            ("Linux/x86_64", "linux/amd64".to_owned()),
            ("linux/arm64/v8", "linux/arm64".to_owned()),
            ("linux/aarch64", "linux/arm64".to_owned()),
            ("linux/arm/v7", "linux/arm".to_owned()),
            ("linux/arm/6", "linux/arm/v6".to_owned()),
            ("linux/armel", "linux/arm/v6".to_owned()),
            ("arm64", "linux/arm64".to_owned()),
            ("linux", format!("linux/{}", host.architecture)),
            ("windows/amd64", "windows/amd64".to_owned()),
        ] {
            assert_eq!(parse(text).to_string(), expected, "{text}");
        }
        for bad in ["", "nonsense", "linux/", "a/b/c/d", "linux/a b", "*"] {
            assert!(bad.parse::<Platform>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_best_that_runs_is_the_highest() {
        let best = |wanted: &str, offered: &[&'static str]| {
            let fitness = |text: &&str| {
                let offered = parse(text);
                parse(wanted).fitness(&offered.os, &offered.architecture, offered.variant.as_deref())
            };
            offered.iter().filter(|text| fitness(text).is_some()).max_by_key(|text| fitness(text)).copied()
        };
        assert_eq!(best("linux/amd64", &["linux/arm64", "linux/amd64/v3", "linux/amd64"]), Some("linux/amd64"));
        assert_eq!(best("linux/amd64", &["linux/amd64/v2"]), Some("linux/amd64/v2"));
        assert_eq!(best("linux/arm/v7", &["linux/arm/v5", "linux/arm/v6"]), Some("linux/arm/v6"));
        assert_eq!(best("linux/arm/v6", &["linux/arm/v7", "linux/arm/v5"]), Some("linux/arm/v5"));
        assert_eq!(best("linux/arm64", &["linux/amd64", "windows/arm64", "linux/arm"]), None);
    }
}
