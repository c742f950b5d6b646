//! `-p [[ADDRESS:]PORTS:]PORTS[/PROTOCOL]`, its long form
//! `published=PORTS,target=PORTS,protocol=PROTOCOL`, and `--expose PORTS[/PROTOCOL]`.
//!
//! As docker/cli (`convertToStandardNotation` in `cli/command/container/opts.go`)
//! and go-connections (`nat.ParsePortSpec`) read them. Where their versions
//! differ, a third number in a range and a second protocol are refused.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde_json::{Map, Value, json};

use super::split_protocol;

/// A container's port, as the API names it: `80/tcp`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Port {
    number: u16,
    protocol: String,
}

/// Where a port is published. What is not said, the daemon chooses.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Binding {
    address: Option<IpAddr>,
    /// Of a wider range than one, any that is free.
    host: Option<PortRange>,
}

/// What one `-p` publishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Published(Vec<(Port, Binding)>);

/// What one `--expose` exposes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exposed(Vec<Port>);

/// `80`, or `80-90`; both ends belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PortRange {
    first: u16,
    last: u16,
}

/// In Docker's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PortError {
    #[error("invalid publish opts format (should be name=value but got '{0}')")]
    Option(String),
    #[error("invalid IP address: {0}")]
    Address(String),
    #[error("invalid IP address {address}: address {address}:: {reason}")]
    Brackets { address: String, reason: &'static str },
    #[error("no port specified: {0}<empty>")]
    NoPort(String),
    #[error("invalid containerPort: {0}")]
    ContainerPort(String),
    #[error("invalid hostPort: {0}")]
    HostPort(String),
    #[error("invalid ranges specified for container and host Ports: {container} and {host}")]
    Lengths { container: String, host: String },
    #[error("invalid proto: {0}")]
    Protocol(String),
    #[error("invalid port format for --expose: {0}")]
    ExposedAddress(String),
    #[error("invalid range format for --expose: {ports}, error: {reason}")]
    Exposed { ports: String, reason: RangeError },
}

/// In the words of Docker and of Go's `strconv`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RangeError {
    #[error("empty string specified for ports")]
    Empty,
    #[error("strconv.ParseUint: parsing {0:?}: invalid syntax")]
    NoNumber(String),
    #[error("strconv.ParseUint: parsing {0:?}: value out of range")]
    TooLarge(String),
    #[error("invalid range specified for port: {0}")]
    Backwards(String),
}

impl FromStr for Published {
    type Err = PortError;

    fn from_str(text: &str) -> Result<Self, PortError> {
        let short = if text.contains('=') { in_short(text)? } else { text.to_owned() };
        let mut parts = short.rsplitn(3, ':');
        let [container, host, address] = [(); 3].map(|()| parts.next().unwrap_or_default());
        let (container, protocol) = split_protocol(container);
        let address = parse_address(address)?;
        if container.is_empty() {
            return Err(PortError::NoPort(short));
        }
        let target: PortRange = container.parse().map_err(|_| PortError::ContainerPort(container.to_owned()))?;
        let source: Option<PortRange> = match host {
            "" => None,
            host => Some(host.parse().map_err(|_| PortError::HostPort(host.to_owned()))?),
        };
        if let Some(source) = source
            && source.length() != target.length()
            && target.length() != 1
        {
            return Err(PortError::Lengths { container: container.to_owned(), host: host.to_owned() });
        }
        if !["tcp", "udp", "sctp"].contains(&protocol.as_str()) {
            return Err(PortError::Protocol(protocol));
        }
        let binding = |number: u16| {
            let host = source.map(|source| match target.length() {
                1 => source,
                _ => PortRange::one(source.first + (number - target.first)),
            });
            (Port { number, protocol: protocol.clone() }, Binding { address, host })
        };
        Ok(Self((target.first..=target.last).map(binding).collect()))
    }
}

impl FromStr for Exposed {
    type Err = PortError;

    /// A protocol that is none is for the daemon to refuse.
    fn from_str(text: &str) -> Result<Self, PortError> {
        if text.contains(':') {
            return Err(PortError::ExposedAddress(text.to_owned()));
        }
        let (ports, protocol) = split_protocol(text);
        let range: Result<PortRange, _> = ports.parse();
        let range = range.map_err(|reason| PortError::Exposed { ports: text.to_owned(), reason })?;
        let port = |number| Port { number, protocol: protocol.clone() };
        Ok(Self((range.first..=range.last).map(port).collect()))
    }
}

impl Published {
    /// The API's `PortBindings` of all of them.
    pub(crate) fn bindings(all: &[Self]) -> Value {
        let mut bindings: BTreeMap<&Port, Vec<Value>> = BTreeMap::new();
        for (port, Binding { address, host }) in all.iter().flat_map(|published| &published.0) {
            let text = |said: Option<String>| said.unwrap_or_default();
            bindings.entry(port).or_default().push(json!({
                "HostIp": text(address.map(|address| address.to_string())),
                "HostPort": text(host.map(|host| host.to_string())),
            }));
        }
        bindings.into_iter().map(|(port, bindings)| (port.to_string(), bindings.into())).collect::<Map<_, _>>().into()
    }
}

impl Exposed {
    /// The API's `ExposedPorts`: what is published is exposed too.
    pub(crate) fn ports(all: &[Self], published: &[Published]) -> Value {
        let published = published.iter().flat_map(|published| &published.0).map(|(port, _)| port);
        let exposed = all.iter().flat_map(|exposed| &exposed.0);
        published.chain(exposed).map(|port| (port.to_string(), json!({}))).collect::<Map<_, _>>().into()
    }
}

impl PortRange {
    fn one(number: u16) -> Self {
        Self { first: number, last: number }
    }

    fn length(self) -> u32 {
        u32::from(self.last - self.first) + 1
    }
}

impl FromStr for PortRange {
    type Err = RangeError;

    fn from_str(text: &str) -> Result<Self, RangeError> {
        if text.is_empty() {
            return Err(RangeError::Empty);
        }
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let range = Self { first: number(first)?, last: number(last)? };
        if range.first > range.last {
            return Err(RangeError::Backwards(text.to_owned()));
        }
        Ok(range)
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.protocol)
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self { first, last } if first == last => write!(f, "{first}"),
            Self { first, last } => write!(f, "{first}-{last}"),
        }
    }
}

/// Digits alone: no sign.
pub(crate) fn number(text: &str) -> Result<u16, RangeError> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(RangeError::NoNumber(text.to_owned()));
    }
    text.parse().map_err(|_| RangeError::TooLarge(text.to_owned()))
}

/// The long form in the short one. It has no address, and what else is said in
/// it is of no effect, as with Docker's CLI.
fn in_short(text: &str) -> Result<String, PortError> {
    let (mut published, mut target, mut protocol) = ("", "", "tcp");
    for option in text.split(',') {
        match option.split_once('=') {
            None | Some(("", _)) => return Err(PortError::Option(option.to_owned())),
            Some(("published", value)) => published = value,
            Some(("target", value)) => target = value,
            Some(("protocol", value)) => protocol = value,
            Some(_) => {}
        }
    }
    Ok(format!("{published}:{target}/{protocol}"))
}

/// An address, in brackets or not.
fn parse_address(text: &str) -> Result<Option<IpAddr>, PortError> {
    let broken = |reason| PortError::Brackets { address: text.to_owned(), reason };
    let bare = match text.strip_prefix('[').map(|inner| inner.split_once(']')) {
        None => text,
        Some(Some((bare, ""))) => bare,
        Some(Some((_, rest))) if rest.starts_with(':') => return Err(broken("too many colons in address")),
        Some(Some(_)) => return Err(broken("missing port in address")),
        Some(None) => return Err(broken("missing ']' in address")),
    };
    match bare {
        "" => Ok(None),
        bare => bare.parse().map(Some).map_err(|_| PortError::Address(bare.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bindings(specs: &[&str]) -> Value {
        Published::bindings(&specs.iter().map(|spec| spec.parse().unwrap()).collect::<Vec<_>>())
    }

    fn binding(address: &str, port: &str) -> Value {
        json!({ "HostIp": address, "HostPort": port })
    }

    #[test]
    fn each_form_of_p() {
        // What Docker's CLI 28.2.2 sends for each.
        for (spec, expected) in [
            ("80", json!({ "80/tcp": [binding("", "")] })),
            ("8080:80", json!({ "80/tcp": [binding("", "8080")] })),
            ("08080:080", json!({ "80/tcp": [binding("", "8080")] })),
            (":80", json!({ "80/tcp": [binding("", "")] })),
            ("0:80", json!({ "80/tcp": [binding("", "0")] })),
            ("53:53/udp", json!({ "53/udp": [binding("", "53")] })),
            ("53:53/UDP", json!({ "53/udp": [binding("", "53")] })),
            ("53:53/", json!({ "53/tcp": [binding("", "53")] })),
            ("9:9/sctp", json!({ "9/sctp": [binding("", "9")] })),
            ("127.0.0.1:8080:80/udp", json!({ "80/udp": [binding("127.0.0.1", "8080")] })),
            ("0.0.0.0::80", json!({ "80/tcp": [binding("0.0.0.0", "")] })),
            ("[::1]:80:80", json!({ "80/tcp": [binding("::1", "80")] })),
            ("::1:80:80", json!({ "80/tcp": [binding("::1", "80")] })),
            ("[127.0.0.1]:80:80", json!({ "80/tcp": [binding("127.0.0.1", "80")] })),
            ("[]:80:80", json!({ "80/tcp": [binding("", "80")] })),
            ("[::]::80", json!({ "80/tcp": [binding("::", "")] })),
            ("80-81", json!({ "80/tcp": [binding("", "")], "81/tcp": [binding("", "")] })),
            ("8000-8001:80-81", json!({ "80/tcp": [binding("", "8000")], "81/tcp": [binding("", "8001")] })),
            ("8000-8010:80", json!({ "80/tcp": [binding("", "8000-8010")] })),
            ("8000-8000:80-80", json!({ "80/tcp": [binding("", "8000")] })),
            ("published=8080,target=80", json!({ "80/tcp": [binding("", "8080")] })),
            ("target=80", json!({ "80/tcp": [binding("", "")] })),
            ("target=80,mode=host,protocol=udp", json!({ "80/udp": [binding("", "")] })),
            (
                "published=8000-8001,target=80-81",
                json!({ "80/tcp": [binding("", "8000")], "81/tcp": [binding("", "8001")] }),
            ),
        ] {
            assert_eq!(bindings(&[spec]), expected, "{spec}");
        }
    }

    #[test]
    fn ports_come_together() {
        let all = bindings(&["8080:80", "8081:80", "80/udp"]);
        let tcp = [binding("", "8080"), binding("", "8081")];
        assert_eq!(all, json!({ "80/tcp": tcp, "80/udp": [binding("", "")] }));
        let published = ["8080:80".parse().unwrap()];
        let exposed = ["80", "90-91/udp", "7/sctp"].map(|spec| spec.parse().unwrap());
        let ports = Exposed::ports(&exposed, &published);
        assert_eq!(ports, json!({ "80/tcp": {}, "90/udp": {}, "91/udp": {}, "7/sctp": {} }));
    }

    #[test]
    fn what_is_no_port_is_refused_in_dockers_words() {
        for (spec, expected) in [
            ("x", "invalid containerPort: x"),
            ("", "no port specified: <empty>"),
            ("80:", "no port specified: 80:<empty>"),
            ("/udp", "no port specified: /udp<empty>"),
            ("1.2.3.4::", "no port specified: 1.2.3.4::<empty>"),
            ("published=80", "no port specified: 80:/tcp<empty>"),
            ("a=b", "no port specified: :/tcp<empty>"),
            ("published=80,target", "invalid publish opts format (should be name=value but got 'target')"),
            ("=80", "invalid publish opts format (should be name=value but got '=80')"),
            ("80/x", "invalid proto: x"),
            ("80/tcp/udp", "invalid proto: tcp/udp"),
            ("+80", "invalid containerPort: +80"),
            ("70000", "invalid containerPort: 70000"),
            ("90-80", "invalid containerPort: 90-80"),
            ("80-8a", "invalid containerPort: 80-8a"),
            ("80-90-100", "invalid containerPort: 80-90-100"),
            ("x:80", "invalid hostPort: x"),
            ("80-70:80", "invalid hostPort: 80-70"),
            ("80-81:90-95", "invalid ranges specified for container and host Ports: 90-95 and 80-81"),
            ("80:90-91", "invalid ranges specified for container and host Ports: 90-91 and 80"),
            ("1.2.3:80:80", "invalid IP address: 1.2.3"),
            ("80:80:80:80", "invalid IP address: 80:80"),
            ("localhost:80:80", "invalid IP address: localhost"),
            ("::1]:80:80", "invalid IP address: ::1]"),
            ("[fe80::1%eth0]:80:80", "invalid IP address: fe80::1%eth0"),
            ("[::1:80:80", "invalid IP address [::1: address [::1:: missing ']' in address"),
            ("[::1]x:80:80", "invalid IP address [::1]x: address [::1]x:: missing port in address"),
            ("[::1]:x:80:80", "invalid IP address [::1]:x: address [::1]:x:: too many colons in address"),
        ] {
            assert_eq!(spec.parse::<Published>().unwrap_err().to_string(), expected, "{spec}");
        }
        for (spec, expected) in [
            ("1:2", "invalid port format for --expose: 1:2"),
            ("", "invalid range format for --expose: , error: empty string specified for ports"),
            ("/tcp", "invalid range format for --expose: /tcp, error: empty string specified for ports"),
            ("80-", "invalid range format for --expose: 80-, error: strconv.ParseUint: parsing \"\": invalid syntax"),
            (
                "70000/udp",
                "invalid range format for --expose: 70000/udp, error: strconv.ParseUint: parsing \"70000\": value out \
                 of range",
            ),
            ("90-80", "invalid range format for --expose: 90-80, error: invalid range specified for port: 90-80"),
        ] {
            assert_eq!(spec.parse::<Exposed>().unwrap_err().to_string(), expected, "{spec}");
        }
    }

    fn range(length: u16) -> impl Strategy<Value = PortRange> {
        (0..=u16::MAX - length).prop_map(move |first| PortRange { first, last: first + length })
    }

    /// Ports outside and inside: as many, or any number outside for one inside.
    fn ranges() -> impl Strategy<Value = (Option<PortRange>, PortRange)> {
        let pair = |(outside, inside)| (proptest::option::of(range(outside)), range(inside));
        prop_oneof![(0..20_u16).prop_map(|length| (length, length)), (0..20_u16).prop_map(|length| (length, 0))]
            .prop_flat_map(pair)
    }

    proptest! {
        #[test]
        fn each_port_leads_to_its_own(
            address in proptest::option::of(any::<IpAddr>()),
            (source, target) in ranges(),
            protocol in proptest::sample::select(vec!["tcp", "udp", "sctp"]),
            (long, upper) in any::<(bool, bool)>(),
        ) {
            let address = if long { None } else { address };
            let outside = source.map(|source| source.to_string()).unwrap_or_default();
            let said = if upper { protocol.to_uppercase() } else { protocol.to_owned() };
            let spec = match address {
                _ if long => format!("protocol={said},published={outside},target={target}"),
                Some(IpAddr::V6(address)) => format!("[{address}]:{outside}:{target}/{said}"),
                Some(address) => format!("{address}:{outside}:{target}/{said}"),
                None => format!("{outside}:{target}/{said}"),
            };
            let Published(found) = spec.parse().unwrap();
            let single = target.first == target.last;
            let expected: Vec<_> = (target.first..=target.last).enumerate().map(|(index, number)| {
                let neighbour = |source: PortRange| PortRange::one(source.first + u16::try_from(index).unwrap());
                let host = if single { source } else { source.map(neighbour) };
                (Port { number, protocol: protocol.to_owned() }, Binding { address, host })
            }).collect();
            prop_assert_eq!(found, expected);
        }

        /// Nothing panics; and what is taken stays within what was written.
        #[test]
        fn any_text_is_taken_or_refused(text in "[0-9a-f:.,=/\\[\\]-]{0,24}|\\PC*") {
            let _ = text.parse::<Exposed>();
            if let Ok(Published(found)) = text.parse::<Published>() {
                prop_assert!(!found.is_empty());
                let address = found[0].1.address;
                prop_assert!(found.iter().all(|(_, binding)| binding.address == address));
                prop_assert!(found.windows(2).all(|pair| pair[0].0.number + 1 == pair[1].0.number));
            }
        }
    }
}
