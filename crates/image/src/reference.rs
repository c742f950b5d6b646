//! Image references, by the grammar of the distribution project and with the
//! defaults that Docker fills in: `busybox` is `docker.io/library/busybox`.
//!
//! A reference is text until it parses; what has parsed is normalised, so two
//! spellings of one image compare equal. The only failure is
//! [`ParseReferenceError`].

use std::fmt;
use std::str::FromStr;

use casemate_model::{Classify, Digest, ErrorClass};

const DEFAULT_DOMAIN: &str = "docker.io";
/// What Docker called its registry before; still in old archives.
const LEGACY_DEFAULT_DOMAIN: &str = "index.docker.io";
const OFFICIAL_PREFIX: &str = "library/";
const DEFAULT_TAG: &str = "latest";
/// The distribution grammar's own limit on a repository's name.
const MAX_NAME: usize = 255;
const MAX_TAG: usize = 128;

/// A repository with at most a tag and a digest.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// The wording is Docker's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseReferenceError {
    #[error("invalid reference format")]
    Format { text: String },
    #[error("invalid reference format: repository name ({name}) must be lowercase")]
    Uppercase { name: String },
    #[error("invalid repository name ({text}), cannot specify 64-byte hexadecimal strings")]
    LooksLikeId { text: String },
    #[error("repository name must not be more than {MAX_NAME} characters")]
    TooLong { text: String },
    #[error("unsupported digest algorithm")]
    Digest { text: String },
}

impl Classify for ParseReferenceError {
    fn class(&self) -> ErrorClass {
        ErrorClass::InvalidArgument
    }
}

impl Reference {
    /// The registry's host, with its port if one was given.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository's path within its registry: `library/busybox`.
    pub fn path(&self) -> &str {
        &self.path
    }

    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The repository as people write it: `busybox`, `ghcr.io/a/b`.
    pub fn repository(&self) -> String {
        if self.domain != DEFAULT_DOMAIN {
            return format!("{}/{}", self.domain, self.path);
        }
        match self.path.strip_prefix(OFFICIAL_PREFIX) {
            Some(name) if !name.contains('/') && !is_id(name) => name.to_owned(),
            // Without its domain `docker.io/my.site/x` would name a host `my.site`.
            _ if split_domain(&self.path).is_some() => format!("{}/{}", self.domain, self.path),
            _ => self.path.clone(),
        }
    }

    /// With everything that people leave out: `docker.io/library/busybox:latest`.
    pub fn canonical(&self) -> String {
        self.with_suffixes(format!("{}/{}", self.domain, self.path))
    }

    /// This reference with the tag `latest` if it has neither tag nor digest.
    pub fn or_latest(mut self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some(DEFAULT_TAG.to_owned());
        }
        self
    }

    /// What remains without the tag: the repository, with its digest if any.
    pub fn without_tag(&self) -> Self {
        Self { tag: None, ..self.clone() }
    }

    /// The repository with this digest alone.
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// The repository with this tag alone; none if that is no tag.
    pub fn with_tag(&self, tag: &str) -> Option<Self> {
        is_tag(tag).then(|| Self { tag: Some(tag.to_owned()), digest: None, ..self.clone() })
    }

    /// Whether both name the same repository, whatever their tags and digests.
    pub fn same_repository(&self, other: &Self) -> bool {
        self.domain == other.domain && self.path == other.path
    }

    fn with_suffixes(&self, mut text: String) -> String {
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(&digest.to_string());
        }
        text
    }
}

/// The familiar form: `busybox:latest`.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.with_suffixes(self.repository()))
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.canonical())
    }
}

impl FromStr for Reference {
    type Err = ParseReferenceError;

    fn from_str(text: &str) -> Result<Self, ParseReferenceError> {
        let format = || ParseReferenceError::Format { text: text.to_owned() };
        if is_id(text) {
            return Err(ParseReferenceError::LooksLikeId { text: text.to_owned() });
        }
        let (named, digest) = match text.split_once('@') {
            Some((named, digest)) => (named, Some(parse_digest(digest, text)?)),
            None => (text, None),
        };
        // A colon before the last slash belongs to a port.
        let path_start = named.rfind('/').map_or(0, |slash| slash + 1);
        let (name, tag) = match named[path_start..].find(':') {
            Some(colon) => (&named[..path_start + colon], Some(&named[path_start + colon + 1..])),
            None => (named, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(format());
        }
        let (domain, path) = split_domain(name).unwrap_or((DEFAULT_DOMAIN, name));
        let domain = if domain == LEGACY_DEFAULT_DOMAIN { DEFAULT_DOMAIN } else { domain };
        if !is_domain(domain) {
            return Err(format());
        }
        if path.len() > MAX_NAME {
            return Err(ParseReferenceError::TooLong { text: text.to_owned() });
        }
        if !is_path(path) {
            let lower = path.to_ascii_lowercase();
            if lower != path && is_path(&lower) {
                return Err(ParseReferenceError::Uppercase { name: name.to_owned() });
            }
            return Err(format());
        }
        let official = domain == DEFAULT_DOMAIN && !path.contains('/');
        Ok(Self {
            domain: domain.to_owned(),
            path: if official { format!("{OFFICIAL_PREFIX}{path}") } else { path.to_owned() },
            tag: tag.map(str::to_owned),
            digest,
        })
    }
}

fn parse_digest(digest: &str, text: &str) -> Result<Digest, ParseReferenceError> {
    digest.parse().map_err(|_| match digest.split_once(':') {
        Some((algorithm, hex)) if algorithm != "sha256" && hex.len() >= 32 => {
            ParseReferenceError::Digest { text: text.to_owned() }
        }
        _ => ParseReferenceError::Format { text: text.to_owned() },
    })
}

/// The registry's host and the rest, if the first component can only be a host.
fn split_domain(name: &str) -> Option<(&str, &str)> {
    let (first, rest) = name.split_once('/')?;
    let is_host =
        first.contains(['.', ':']) || first == "localhost" || first.bytes().any(|byte| byte.is_ascii_uppercase());
    is_host.then_some((first, rest))
}

fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_domain(domain: &str) -> bool {
    let (host, port) = match domain.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => {
            let is_address = !address.is_empty() && address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':');
            return is_address && (rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port));
        }
        None => match domain.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (domain, None),
        },
    };
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    host.split('.').all(is_label) && port.is_none_or(is_port)
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_tag(tag: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= MAX_TAG
        && tag.bytes().next().is_some_and(is_word)
        && tag.bytes().all(|byte| is_word(byte) || matches!(byte, b'.' | b'-'))
}

fn is_path(path: &str) -> bool {
    path.split('/').all(is_path_component)
}

/// Runs of lower-case letters and digits, between them `.`, `_`, `__` or dashes.
fn is_path_component(component: &str) -> bool {
    let is_alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = component.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    is_alphanumeric(*first)
        && is_alphanumeric(*last)
        && component
            .split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            .all(|separator| matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|b| b == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn canonical(text: &str) -> String {
        text.parse::<Reference>().map(|reference| reference.or_latest().canonical()).unwrap()
    }

    #[test]
    fn dockers_defaults_are_filled_in() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (text, expected) in [
            ("busybox", "docker.io/library/busybox:latest".to_owned()),
            ("busybox:1.36", "docker.io/library/busybox:1.36".to_owned()),
            ("user/app", "docker.io/user/app:latest".to_owned()),
            ("docker.io/busybox", "docker.io/library/busybox:latest".to_owned()),
            ("index.docker.io/library/busybox", "docker.io/library/busybox:latest".to_owned()),
            ("localhost/a", "localhost/a:latest".to_owned()),
            ("localhost:5000/a:b", "localhost:5000/a:b".to_owned()),
            ("ghcr.io/a/b/c", "ghcr.io/a/b/c:latest".to_owned()),
            ("Host/a", "Host/a:latest".to_owned()),
            ("[::1]:5000/a", "[::1]:5000/a:latest".to_owned()),
            ("a__b-c--d.e_f", "docker.io/library/a__b-c--d.e_f:latest".to_owned()),
            (&format!("busybox@{digest}"), format!("docker.io/library/busybox@{digest}")),
            (&format!("busybox:1@{digest}"), format!("docker.io/library/busybox:1@{digest}")),
        ] {
            assert_eq!(canonical(text), expected, "{text}");
        }
    }

    #[test]
    fn malformed_references_are_refused_with_dockers_words() {
        for bad in [
            "",
            ":",
            "a:",
            ":a",
            "a/",
            "/a",
            "a//b",
            "a b",
            "-a",
            "a-",
            "a..b",
            "a___b",
            "a:-x",
            "é",
            "a@",
            "a@sha256:12",
            "http://a/b",
            "a:b:c",
            "..",
            "a/../b",
            "-.io/a",
            "[::1/a",
            &format!("a:{}", "t".repeat(129)),
        ] {
            assert!(
                matches!(bad.parse::<Reference>(), Err(ParseReferenceError::Format { .. })),
                "{bad}: {:?}",
                bad.parse::<Reference>()
            );
        }
        let error = "Busybox".parse::<Reference>().unwrap_err();
        assert_eq!(error.to_string(), "invalid reference format: repository name (Busybox) must be lowercase");
        assert!(matches!("a".repeat(64).parse::<Reference>(), Err(ParseReferenceError::LooksLikeId { .. })));
        assert!(matches!("b".repeat(65 * 4).parse::<Reference>(), Err(ParseReferenceError::TooLong { .. })));
        assert!(matches!(
            format!("a@sha512:{}", "0".repeat(128)).parse::<Reference>(),
            Err(ParseReferenceError::Digest { .. })
        ));
    }

    #[test]
    fn the_familiar_form_reads_back() {
        for (text, familiar) in [
            ("docker.io/library/busybox:latest", "busybox:latest"),
            ("docker.io/user/app:1", "user/app:1"),
            ("docker.io/my.site/app:1", "docker.io/my.site/app:1"),
            ("docker.io/library/a/b", "library/a/b"),
            ("quay.io/x:y", "quay.io/x:y"),
        ] {
            let reference: Reference = text.parse().unwrap();
            assert_eq!(reference.to_string(), familiar);
            assert_eq!(familiar.parse(), Ok(reference));
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "\\PC{0,300}") {
            let _ = text.parse::<Reference>();
        }

        #[test]
        fn near_references_parse_to_what_reads_back(
            text in "([a-zA-Z0-9.\\-]{1,8}(:[0-9]{1,5})?/)?[a-z0-9]{1,70}([._\\-]{1,2}[a-z0-9]{1,3}){0,2}(/[a-z0-9]{1,4}){0,2}(:[a-zA-Z0-9_.\\-]{1,10})?(@sha256:[0-9a-f]{64})?"
        ) {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert_eq!(reference.to_string().parse(), Ok(reference.clone()));
                prop_assert_eq!(reference.canonical().parse(), Ok(reference));
            }
        }
    }
}
