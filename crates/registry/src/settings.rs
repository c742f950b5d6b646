//! How registries are reached: what dockerd's configuration says of it.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

#[derive(Clone, Debug)]
pub struct Settings {
    pub insecure: InsecureRegistries,
    /// Asked before Docker Hub, in this order.
    pub mirrors: Vec<Mirror>,
    /// Directories in which `<host[:port]>/*.crt` are authorities to trust, and
    /// `*.cert` with `*.key` what to show the registry.
    pub certificates: Vec<PathBuf>,
    pub user_agent: String,
    /// How long a registry may take to answer, or to send the next bytes.
    pub patience: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            insecure: InsecureRegistries::default(),
            mirrors: Vec::new(),
            certificates: vec!["/etc/docker/certs.d".into()],
            user_agent: concat!("casemate/", env!("CARGO_PKG_VERSION")).to_owned(),
            // Registries that fetch from another one first are slow to begin.
            patience: Duration::from_secs(60),
        }
    }
}

/// Registries that may have unknown certificates, or speak plain HTTP: this
/// host's own always, and those that the user names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InsecureRegistries {
    hosts: BTreeSet<String>,
    networks: Vec<Network>,
}

/// Addresses that begin with these bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    bits: u8,
}

/// The wording is dockerd's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseSettingError {
    #[error("invalid index name ({text}). Cannot begin or end with a hyphen")]
    Hyphen { text: String },
    #[error("insecure registry {text} should not contain '://'")]
    Scheme { text: String },
    #[error("insecure registry {text} is not valid: invalid host {text:?}")]
    Host { text: String },
    #[error("invalid mirror: no scheme specified for {text:?}: must use either 'https://' or 'http://'")]
    MirrorWithoutScheme { text: String },
    #[error("invalid mirror: {text:?} is not a valid URI")]
    MirrorUrl { text: String },
    #[error("invalid mirror: unsupported scheme {scheme:?} in {text:?}: must use either 'https://' or 'http://'")]
    MirrorScheme { scheme: String, text: String },
    #[error("invalid mirror: query or fragment at end of the URI {text:?}")]
    MirrorQuery { text: String },
    #[error("invalid mirror: username/password not allowed in URI")]
    MirrorUser,
}

impl Default for InsecureRegistries {
    fn default() -> Self {
        let networks = vec![
            Network { address: Ipv4Addr::LOCALHOST.into(), bits: 8 },
            Network { address: Ipv6Addr::LOCALHOST.into(), bits: 128 },
        ];
        Self { hosts: BTreeSet::new(), networks }
    }
}

impl InsecureRegistries {
    /// Not even those of this host.
    pub fn none() -> Self {
        Self { hosts: BTreeSet::new(), networks: Vec::new() }
    }

    /// From the values of `insecure-registries`: `host`, `host:port` or a
    /// network in CIDR notation.
    pub fn parse<'a>(values: impl IntoIterator<Item = &'a str>) -> Result<Self, ParseSettingError> {
        let mut registries = Self::default();
        for text in values {
            if text.starts_with('-') || text.ends_with('-') {
                return Err(ParseSettingError::Hyphen { text: text.to_owned() });
            }
            let host = match text.split_once("://") {
                Some((scheme, host)) if matches!(scheme.to_ascii_lowercase().as_str(), "http" | "https") => host,
                Some(_) => return Err(ParseSettingError::Scheme { text: text.to_owned() }),
                None => text,
            };
            match parse_network(host) {
                Some(network) => registries.networks.push(network),
                None if is_host(host) => drop(registries.hosts.insert(host.to_owned())),
                None => return Err(ParseSettingError::Host { text: text.to_owned() }),
            }
        }
        Ok(registries)
    }

    /// Those that are named.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        self.hosts.iter().map(String::as_str)
    }

    /// In CIDR notation, this host's own among them.
    pub fn networks(&self) -> Vec<String> {
        self.networks.iter().map(|Network { address, bits }| format!("{address}/{bits}")).collect()
    }

    /// `registry` is `host` or `host:port`.
    pub(crate) fn names(&self, registry: &str) -> bool {
        self.hosts.contains(registry)
    }

    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(address.to_canonical()))
    }
}

impl Network {
    fn contains(&self, address: IpAddr) -> bool {
        let shared = match (self.address, address) {
            (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
            (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
            _ => return false,
        };
        shared >= u32::from(self.bits)
    }
}

fn parse_network(text: &str) -> Option<Network> {
    let (address, bits) = text.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let bits: u8 = bits.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    (bits <= most).then_some(Network { address, bits })
}

fn is_host(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok() || Url::parse(&format!("https://{text}/")).is_ok_and(|url| is_bare(&url))
}

/// Nothing but host and port.
fn is_bare(url: &Url) -> bool {
    url.path() == "/" && url.query().is_none() && url.fragment().is_none() && url.username().is_empty()
}

/// A registry that has copies of Docker Hub's images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror(Url);

impl fmt::Display for Mirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Mirror {
    /// From a value of `registry-mirrors`.
    pub fn parse(text: &str) -> Result<Self, ParseSettingError> {
        let text = || text.to_owned();
        if text().split_once("://").is_none_or(|(scheme, _)| scheme.is_empty()) {
            return Err(ParseSettingError::MirrorWithoutScheme { text: text() });
        }
        let mut url: Url = text().parse().map_err(|_| ParseSettingError::MirrorUrl { text: text() })?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(ParseSettingError::MirrorScheme { scheme: url.scheme().to_owned(), text: text() });
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(ParseSettingError::MirrorQuery { text: text() });
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(ParseSettingError::MirrorUser);
        }
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        Ok(Self(url))
    }

    pub(crate) fn url(&self) -> &Url {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_is_insecure_by_default_and_others_by_name_or_network() {
        let none = InsecureRegistries::default();
        for (address, expected) in
            [("127.0.0.1", true), ("127.9.9.9", true), ("::1", true), ("::ffff:127.0.0.1", true), ("128.0.0.1", false)]
        {
            assert_eq!(none.contains(address.parse().unwrap()), expected, "{address}");
        }
        let some = InsecureRegistries::parse(["reg.example:5000", "10.1.0.0/16", "fd00::/8", "http://old.example"]);
        let some = some.unwrap();
        assert!(some.names("reg.example:5000") && !some.names("reg.example") && some.names("old.example"));
        assert!(some.contains("10.1.255.255".parse().unwrap()) && !some.contains("10.2.0.0".parse().unwrap()));
        assert!(some.contains("fdff::1".parse().unwrap()) && !some.contains("fe80::1".parse().unwrap()));
    }

    #[test]
    fn malformed_settings_are_refused() {
        for bad in ["-x", "x-", "ftp://x", "a b", "a/b", "10.0.0.0/33", "", "x:99999"] {
            assert!(InsecureRegistries::parse([bad]).is_err(), "{bad:?}");
        }
        for bad in ["mirror:5000", "://x", "ftp://x", "http://x/?a", "http://x/#a", "http://u:p@x/", "http://"] {
            assert!(Mirror::parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(Mirror::parse("https://m.example/hub").unwrap().url().as_str(), "https://m.example/hub/");
    }
}
