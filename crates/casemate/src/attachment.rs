//! What `--network` and the flags beside it say: to which networks a container
//! is attached, and as what.
//!
//! As docker/cli reads them (`opts/network.go`, and `parseNetworkOpts` in
//! `cli/command/container/opts.go`). No I/O.

use std::collections::BTreeMap;
use std::num::IntErrorKind;
use std::str::FromStr;

use serde_json::{Map, Value, json};

use crate::cli::NetworkArgs;

/// The network of a container that names none: the daemon has one for it.
const DEFAULT: &str = "default";

/// One network, and what is said of a container in it. What is not said is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attachment {
    pub(crate) network: String,
    pub(crate) aliases: Vec<String>,
    pub(crate) links: Vec<String>,
    pub(crate) ipv4: String,
    pub(crate) ipv6: String,
    pub(crate) link_local: Vec<String>,
    pub(crate) mac: String,
    pub(crate) driver_opts: BTreeMap<String, String>,
    pub(crate) gw_priority: i64,
}

/// In Docker's words, and those of Go's `encoding/csv`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AttachmentError {
    #[error("parse error on line 1, column {column}: bare \" in non-quoted-field")]
    BareQuote { column: usize },
    #[error("parse error on line 1, column {column}: extraneous or missing \" in quoted-field")]
    Quote { column: usize },
    #[error("invalid field {0}")]
    Field(String),
    #[error("invalid field key {0}")]
    Key(String),
    #[error("network name/id is not specified")]
    NoNetwork,
    #[error("invalid key value pair format in driver options")]
    DriverOpt,
    #[error("invalid gw-priority ({0}): invalid syntax")]
    NoPriority(String),
    #[error("invalid gw-priority ({0}): value out of range")]
    Priority(String),
    #[error("{0} is not a valid mac address")]
    Mac(String),
    #[error("empty string specified for links")]
    EmptyLink,
    #[error("bad format for links: {0}")]
    Link(String),
    #[error("no name set for network")]
    NoName,
    #[error("network-scoped aliases are only supported for user-defined networks")]
    Aliases,
    #[error("network {0:?} is specified multiple times")]
    Twice(String),
    #[error("conflicting options: cannot attach both user-defined and non-user-defined network-modes")]
    Kinds,
    #[error("conflicting options: cannot specify both {flag} and per-network {option}")]
    Both { flag: &'static str, option: &'static str },
}

impl FromStr for Attachment {
    type Err = AttachmentError;

    /// A name, or `name=NAME,alias=…,…`.
    fn from_str(text: &str) -> Result<Self, AttachmentError> {
        let mut attachment = Self::default();
        if !is_long(text) {
            attachment.network = text.to_owned();
            return Ok(attachment);
        }
        for field in record(text)? {
            attachment.set(&field)?;
        }
        if attachment.network.is_empty() {
            return Err(AttachmentError::NoNetwork);
        }
        Ok(attachment)
    }
}

impl Attachment {
    /// Small letters, values too: so Docker's CLI has it.
    fn set(&mut self, field: &str) -> Result<(), AttachmentError> {
        let lower = field.to_lowercase();
        let (key, value) = match lower.split_once('=') {
            Some((key, value)) if !key.is_empty() => (key.trim(), value.trim()),
            _ => return Err(AttachmentError::Field(field.to_owned())),
        };
        match key {
            "name" => self.network = value.to_owned(),
            "alias" => self.aliases.push(value.to_owned()),
            "ip" => self.ipv4 = value.to_owned(),
            "ip6" => self.ipv6 = value.to_owned(),
            "mac-address" => self.mac = mac_address(value)?,
            "link-local-ip" => self.link_local.push(value.to_owned()),
            "driver-opt" => {
                let (name, value) = value.split_once('=').ok_or(AttachmentError::DriverOpt)?;
                if name.is_empty() {
                    return Err(AttachmentError::DriverOpt);
                }
                self.driver_opts.insert(name.trim().to_owned(), value.trim().to_owned());
            }
            "gw-priority" => self.gw_priority = priority(value)?,
            _ => return Err(AttachmentError::Key(key.to_owned())),
        }
        Ok(())
    }

    /// With what the flags say that are older than `name=…`; they are of the first
    /// network.
    fn with_flags(mut self, args: &NetworkArgs) -> Result<Self, AttachmentError> {
        let NetworkArgs { network_alias, ip, ip6, mac_address, link, link_local_ip, .. } = args;
        let one = |own: &mut String, given: &Option<String>, flag, option| match given {
            Some(given) if !given.is_empty() && !own.is_empty() => Err(AttachmentError::Both { flag, option }),
            Some(given) if !given.is_empty() => {
                own.clone_from(given);
                Ok(())
            }
            _ => Ok(()),
        };
        let several = |own: &mut Vec<String>, given: &Vec<String>, flag, option| match given.as_slice() {
            [] => Ok(()),
            _ if !own.is_empty() => Err(AttachmentError::Both { flag, option }),
            _ => {
                own.clone_from(given);
                Ok(())
            }
        };
        several(&mut self.aliases, network_alias, "--network-alias", "alias")?;
        one(&mut self.ipv4, ip, "--ip", "IPv4 address")?;
        one(&mut self.ipv6, ip6, "--ip6", "IPv6 address")?;
        one(&mut self.mac, mac_address, "--mac-address", "MAC address")?;
        several(&mut self.link_local, link_local_ip, "--link-local-ip", "link-local IP addresses")?;
        if is_user_defined(&self.network) {
            // Elsewhere a link is the container's and not the endpoint's.
            self.links.clone_from(link);
        }
        Ok(self)
    }

    fn check(&self) -> Result<(), AttachmentError> {
        if self.network.trim().is_empty() {
            return Err(AttachmentError::NoName);
        }
        match self.aliases.is_empty() || is_user_defined(&self.network) {
            true => Ok(()),
            false => Err(AttachmentError::Aliases),
        }
    }

    /// The API's `EndpointSettings`, as far as something is said.
    pub(crate) fn endpoint(&self) -> Value {
        let Self { network: _, aliases, links, ipv4, ipv6, link_local, mac, driver_opts, gw_priority } = self;
        let ipam = [("IPv4Address", json!(ipv4)), ("IPv6Address", json!(ipv6)), ("LinkLocalIPs", json!(link_local))];
        said([
            ("IPAMConfig", said(ipam)),
            ("Aliases", json!(aliases)),
            ("Links", json!(links)),
            ("MacAddress", json!(mac)),
            ("DriverOpts", json!(driver_opts)),
            ("GwPriority", json!(gw_priority)),
        ])
    }
}

/// What is not empty.
fn said<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let is_empty = |value: &Value| [json!(""), json!([]), json!({}), json!(0)].contains(value);
    let said = fields.into_iter().filter(|(_, value)| !is_empty(value));
    said.map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>().into()
}

/// `HostConfig.NetworkMode`: the first network.
pub(crate) fn network_mode(args: &NetworkArgs) -> &str {
    args.network.first().map_or(DEFAULT, |first| &first.network)
}

/// `NetworkingConfig.EndpointsConfig`: what is said of the container in each of
/// its networks. Of one network by itself nothing need be said.
pub(crate) fn endpoints(args: &NetworkArgs) -> Result<Value, AttachmentError> {
    let default = [Attachment { network: DEFAULT.to_owned(), ..Attachment::default() }];
    let named = args.network.as_slice();
    let mut endpoints = Map::new();
    for (index, attachment) in if named.is_empty() { &default } else { named }.iter().enumerate() {
        let mut attachment = attachment.clone();
        if index == 0 {
            attachment = attachment.with_flags(args)?;
        }
        attachment.check()?;
        if endpoints.contains_key(&attachment.network) {
            return Err(AttachmentError::Twice(attachment.network));
        }
        let endpoint = attachment.endpoint();
        if named.len() != 1 || endpoint != json!({}) {
            endpoints.insert(attachment.network, endpoint);
        }
    }
    let user_defined = named.iter().filter(|attachment| is_user_defined(&attachment.network)).count();
    if ![0, named.len()].contains(&user_defined) {
        return Err(AttachmentError::Kinds);
    }
    Ok(endpoints.into())
}

/// By its name: what has none of its own are ways of having no network.
fn is_user_defined(network: &str) -> bool {
    let is_container = network.split_once(':').is_some_and(|(kind, _)| kind == "container");
    !is_container && ![DEFAULT, "bridge", "host", "none"].contains(&network)
}

/// One `--link`: `CONTAINER[:ALIAS]`.
pub(crate) fn link(text: &str) -> Result<String, AttachmentError> {
    match text.matches(':').count() {
        _ if text.is_empty() => Err(AttachmentError::EmptyLink),
        0 | 1 => Ok(text.to_owned()),
        _ => Err(AttachmentError::Link(text.to_owned())),
    }
}

/// A hardware address in one of the forms that Go's `net.ParseMAC` knows, or none
/// at all. Which the daemon can give, it says.
pub(crate) fn mac_address(text: &str) -> Result<String, AttachmentError> {
    let trimmed = text.trim();
    let (separator, digits) = match trimmed.find([':', '-', '.']).map(|at| &trimmed[at..=at]) {
        Some(".") => (".", 4),
        Some(separator) => (separator, 2),
        None if text.is_empty() => return Ok(String::new()),
        None => return Err(AttachmentError::Mac(text.to_owned())),
    };
    let groups: Vec<&str> = trimmed.split(separator).collect();
    let is_group = |group: &&str| group.len() == digits && group.bytes().all(|byte| byte.is_ascii_hexdigit());
    match [6, 8, 20].contains(&(groups.len() * digits / 2)) && groups.iter().all(is_group) {
        true => Ok(text.to_owned()),
        false => Err(AttachmentError::Mac(text.to_owned())),
    }
}

fn priority(text: &str) -> Result<i64, AttachmentError> {
    text.parse().map_err(|error: std::num::ParseIntError| match error.kind() {
        IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => AttachmentError::Priority(text.to_owned()),
        _ => AttachmentError::NoPriority(text.to_owned()),
    })
}

/// Whether it has `x=y` in it anywhere: no name has.
fn is_long(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.as_bytes().windows(3).any(|three| is_word(three[0]) && three[1] == b'=' && is_word(three[2]))
}

/// The fields of one record of CSV.
fn record(text: &str) -> Result<Vec<String>, AttachmentError> {
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        // Columns are counted from one.
        let column = |rest: &str| text.len() - rest.len() + 1;
        let mut field = String::new();
        if let Some(quoted) = rest.strip_prefix('"') {
            rest = quoted;
            loop {
                let Some((inside, after)) = rest.split_once('"') else {
                    return Err(AttachmentError::Quote { column: text.len() + 1 });
                };
                field.push_str(inside);
                rest = after;
                match after.as_bytes().first() {
                    Some(b'"') => {
                        field.push('"');
                        rest = &after[1..];
                    }
                    None | Some(b',') => break,
                    Some(_) => return Err(AttachmentError::Quote { column: column(after) - 1 }),
                }
            }
        } else {
            let (plain, after) = rest.split_at(rest.find(',').unwrap_or(rest.len()));
            if let Some(at) = plain.find('"') {
                return Err(AttachmentError::BareQuote { column: column(rest) + at });
            }
            field.push_str(plain);
            rest = after;
        }
        fields.push(field);
        match rest.strip_prefix(',') {
            Some(next) => rest = next,
            None => return Ok(fields),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_of_network() {
        let named = |network: &str| Attachment { network: network.to_owned(), ..Attachment::default() };
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        for (text, expected) in [
            ("", named("")),
            ("Web", named("Web")),
            ("container:box", named("container:box")),
            ("name=", named("name=")),
            // So Docker's CLI has it.
            ("name=Web", named("web")),
            ("\"name=web\"", named("web")),
        ] {
            assert_eq!(text.parse::<Attachment>().unwrap(), expected, "{text}");
        }
        let long = "name=web,alias=a,ip=10.0.0.2,alias=B, ip6 = fd00::2,mac-address=02:42:0A:00:00:02,link-local-ip=fe80::1,\
                    link-local-ip=169.254.1.1,driver-opt=com.docker.network.endpoint.ifname=Eth7,\"driver-opt=a=b,\"\"c\",\
                    gw-priority=-7";
        let expected = Attachment {
            aliases: texts(&["a", "b"]),
            ipv4: "10.0.0.2".to_owned(),
            ipv6: "fd00::2".to_owned(),
            link_local: texts(&["fe80::1", "169.254.1.1"]),
            mac: "02:42:0a:00:00:02".to_owned(),
            driver_opts: [("com.docker.network.endpoint.ifname", "eth7"), ("a", "b,\"c")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            gw_priority: -7,
            ..named("web")
        };
        assert_eq!(long.parse::<Attachment>().unwrap(), expected);
    }

    #[test]
    fn what_means_nothing_is_refused_in_dockers_words() {
        for (text, expected) in [
            ("name=a,b", "invalid field b"),
            ("name=a,=b", "invalid field =b"),
            ("name=a,b=c", "invalid field key b"),
            ("alias=x", "network name/id is not specified"),
            ("name= ,alias=b", "network name/id is not specified"),
            ("name=a,driver-opt=x", "invalid key value pair format in driver options"),
            ("name=a,driver-opt==x", "invalid key value pair format in driver options"),
            ("name=a,gw-priority=x", "invalid gw-priority (x): invalid syntax"),
            ("name=a,gw-priority=", "invalid gw-priority (): invalid syntax"),
            (
                "name=a,gw-priority=99999999999999999999",
                "invalid gw-priority (99999999999999999999): value out of range",
            ),
            ("name=a,mac-address=zz", "zz is not a valid mac address"),
            ("na\"me=a", "parse error on line 1, column 3: bare \" in non-quoted-field"),
            ("name=a,al\"ias=b", "parse error on line 1, column 10: bare \" in non-quoted-field"),
            ("\"name=a", "parse error on line 1, column 8: extraneous or missing \" in quoted-field"),
            ("\"name=a\"b,c=d", "parse error on line 1, column 8: extraneous or missing \" in quoted-field"),
        ] {
            assert_eq!(text.parse::<Attachment>().unwrap_err().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn hardware_addresses_as_go_knows_them() {
        for good in [
            "",
            "02:42:0a:00:00:02",
            "02-42-0A-00-00-02",
            "0242.0a00.0002",
            " 02:42:0a:00:00:02 ",
            "02:42:0a:00:00:02:00:01",
            "0242.0a00.0002.0001",
        ] {
            assert_eq!(mac_address(good).unwrap(), good);
        }
        for bad in [
            " ",
            "x",
            "02420a000002",
            "02:42:0a:00:00",
            "02:42:0a:00:00:0",
            "02:42:0a:00:00:0g",
            "02:42:0a:00-00:02",
            "0242.0a00",
            "+2:42:0a:00:00:02",
        ] {
            assert_eq!(mac_address(bad).unwrap_err().to_string(), format!("{bad} is not a valid mac address"));
        }
    }

    #[test]
    fn links_have_two_parts_at_most() {
        assert_eq!(link("db:d").unwrap(), "db:d");
        assert_eq!(link("db").unwrap(), "db");
        assert_eq!(link("").unwrap_err().to_string(), "empty string specified for links");
        assert_eq!(link("a:b:c").unwrap_err().to_string(), "bad format for links: a:b:c");
    }
}
