//! Options of a network's driver, as `docker network create -o` gives them: Docker's
//! own of its bridge driver (moby `daemon/libnetwork/drivers/bridge`), and ours.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use crate::Egress;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriverOptions {
    /// Name of the bridge; one that is free if none is given.
    pub bridge: Option<String>,
    /// In bytes; the links' own if none is given.
    pub mtu: Option<u32>,
    /// Whether containers may speak to one another.
    pub icc: bool,
    /// Whether what leaves has the host's address.
    pub masquerade: bool,
    /// Where ports are published that name no address of the host.
    pub host_binding: IpAddr,
    /// Containers' links are called this and a number.
    pub interface_prefix: String,
    /// What a sealed network's containers reach.
    pub egress: Egress,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDriverOption {
    /// In dockerd's words, with its reason.
    #[error("failed to parse {option} value: {value} ({reason})")]
    Value { option: String, value: String, reason: String },
    #[error("{option}={value} is not supported: {why}")]
    Unsupported { option: String, value: String, why: &'static str },
}

/// `none`, `public`, or ranges with commas between them.
pub const EGRESS: &str = "io.casemate.egress";

const BRIDGE_NAME: &str = "com.docker.network.bridge.name";
const ICC: &str = "com.docker.network.bridge.enable_icc";
const MASQUERADE: &str = "com.docker.network.bridge.enable_ip_masquerade";
const HOST_BINDING: &str = "com.docker.network.bridge.host_binding_ipv4";
const GATEWAY_MODES: [&str; 2] =
    ["com.docker.network.bridge.gateway_mode_ipv4", "com.docker.network.bridge.gateway_mode_ipv6"];
const MTU: &str = "com.docker.network.driver.mtu";
const INTERFACE_PREFIX: &str = "com.docker.network.container_iface_prefix";

/// What a link's name can be long, without the kernel's closing zero.
const LONGEST_NAME: usize = 15;

/// A prefix leaves room for a number.
const LONGEST_PREFIX: usize = 12;

impl Default for DriverOptions {
    fn default() -> Self {
        Self {
            bridge: None,
            mtu: None,
            icc: true,
            masquerade: true,
            host_binding: Ipv4Addr::UNSPECIFIED.into(),
            interface_prefix: "eth".to_owned(),
            egress: Egress { public: true, ranges: Vec::new() },
        }
    }
}

impl DriverOptions {
    /// Options of others are nobody's business here, as with dockerd.
    pub fn of(options: &BTreeMap<String, String>) -> Result<Self, InvalidDriverOption> {
        let mut parsed = Self::default();
        for (option, value) in options {
            let option = Given { option, value };
            match option.option {
                BRIDGE_NAME if !value.is_empty() => parsed.bridge = Some(option.link_name(LONGEST_NAME)?),
                ICC => parsed.icc = option.truth()?,
                MASQUERADE => parsed.masquerade = option.truth()?,
                HOST_BINDING => parsed.host_binding = option.address()?,
                MTU => parsed.mtu = option.mtu()?,
                INTERFACE_PREFIX => parsed.interface_prefix = option.link_name(LONGEST_PREFIX)?,
                EGRESS => parsed.egress = option.egress()?,
                mode if GATEWAY_MODES.contains(&mode) && value != "nat" => {
                    return Err(option.unsupported("containers are reached by published ports"));
                }
                _ => {}
            }
        }
        Ok(parsed)
    }
}

struct Given<'g> {
    option: &'g str,
    value: &'g str,
}

impl Given<'_> {
    fn invalid(&self, reason: impl Into<String>) -> InvalidDriverOption {
        InvalidDriverOption::Value { option: self.option.into(), value: self.value.into(), reason: reason.into() }
    }

    fn unsupported(&self, why: &'static str) -> InvalidDriverOption {
        InvalidDriverOption::Unsupported { option: self.option.into(), value: self.value.into(), why }
    }

    /// As Go reads it (`strconv.ParseBool`).
    fn truth(&self) -> Result<bool, InvalidDriverOption> {
        match self.value {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            text => Err(self.invalid(format!("strconv.ParseBool: parsing {text:?}: invalid syntax"))),
        }
    }

    fn address(&self) -> Result<IpAddr, InvalidDriverOption> {
        self.value.parse().map_err(|_| self.invalid("nil ip"))
    }

    /// Zero is the links' own. What IPv4 takes at least (RFC 791) and a link at most.
    fn mtu(&self) -> Result<Option<u32>, InvalidDriverOption> {
        match self.value.parse() {
            Ok(0) => Ok(None),
            Ok(mtu @ 68..=65535) => Ok(Some(mtu)),
            Ok(_) => Err(self.invalid("it is from 68 to 65535")),
            Err(_) => Err(self.invalid(format!("strconv.Atoi: parsing {:?}: invalid syntax", self.value))),
        }
    }

    /// What the kernel takes, and the firewall's rules can say.
    fn link_name(&self, longest: usize) -> Result<String, InvalidDriverOption> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let name = self.value;
        if name.is_empty() || name.len() > longest {
            return Err(self.invalid(format!("it has from 1 to {longest} bytes")));
        }
        if !name.bytes().all(is_plain) || [".", ".."].contains(&name) {
            return Err(self.invalid("it has letters, digits, '.', '_' and '-' only"));
        }
        if name.starts_with(crate::PORT_PREFIX) {
            return Err(self.invalid(format!("names that begin with {} are the engine's own", crate::PORT_PREFIX)));
        }
        Ok(name.to_owned())
    }

    fn egress(&self) -> Result<Egress, InvalidDriverOption> {
        let mut egress = Egress::default();
        for part in self.value.split(',').map(str::trim) {
            match part {
                "none" => {}
                "public" => egress.public = true,
                range => match range.parse::<IpNet>() {
                    Ok(range) => egress.ranges.push(range.trunc()),
                    Err(_) => {
                        return Err(self.invalid(format!("{range:?} is none of none, public and a range of addresses")));
                    }
                },
            }
        }
        Ok(egress)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(option: &str, value: &str) -> Result<DriverOptions, String> {
        let options = [(option.to_owned(), value.to_owned())].into();
        DriverOptions::of(&options).map_err(|error| error.to_string())
    }

    #[test]
    fn dockers_options_are_read_as_docker_reads_them() {
        let default = DriverOptions::default();
        assert_eq!(of("com.example.other", "anything").unwrap(), default);
        assert_eq!(of(BRIDGE_NAME, "").unwrap(), default);
        assert_eq!(of(BRIDGE_NAME, "lan0").unwrap().bridge.unwrap(), "lan0");
        assert!(!of(ICC, "F").unwrap().icc && of(ICC, "TRUE").unwrap().icc);
        assert!(!of(MASQUERADE, "0").unwrap().masquerade);
        assert_eq!(of(HOST_BINDING, "127.0.0.1").unwrap().host_binding, Ipv4Addr::LOCALHOST);
        assert_eq!((of(MTU, "1400").unwrap().mtu, of(MTU, "0").unwrap().mtu), (Some(1400), None));
        assert_eq!(of(INTERFACE_PREFIX, "net").unwrap().interface_prefix, "net");
        assert_eq!(of(GATEWAY_MODES[0], "nat").unwrap(), default);
    }

    #[test]
    fn egress_is_none_or_public_or_ranges_or_both() {
        let egress = |value: &str| of(EGRESS, value).map(|options| options.egress);
        assert_eq!(egress("none").unwrap(), Egress::default());
        assert_eq!(egress("public").unwrap(), Egress { public: true, ranges: Vec::new() });
        let ranges = vec!["10.1.0.0/16".parse().unwrap(), "fd00::/8".parse().unwrap()];
        assert_eq!(egress("10.1.2.3/16, fd00::1/8").unwrap(), Egress { public: false, ranges: ranges.clone() });
        assert_eq!(egress("public,10.1.0.0/16,fd00::/8").unwrap(), Egress { public: true, ranges });
        assert!(egress("").is_err() && egress("all").is_err() && egress("10.1.0.0").is_err());
    }

    #[test]
    fn what_cannot_be_is_said_in_dockers_words() {
        assert_eq!(
            of(ICC, "maybe").unwrap_err(),
            "failed to parse com.docker.network.bridge.enable_icc value: maybe \
             (strconv.ParseBool: parsing \"maybe\": invalid syntax)"
        );
        assert!(of(MTU, "many").unwrap_err().ends_with("(strconv.Atoi: parsing \"many\": invalid syntax)"));
        assert!(of(MTU, "67").is_err() && of(MTU, "65536").is_err());
        assert!(of(HOST_BINDING, "here").unwrap_err().ends_with("value: here (nil ip)"));
        assert!(of(GATEWAY_MODES[1], "routed").unwrap_err().contains("is not supported"));
    }

    /// They become part of rules and of calls to the kernel.
    #[test]
    fn names_of_links_are_plain() {
        for name in
            ["a name", "a/b", "quo\"te", "new\nline", "..", "sixteen-bytes-16", "cm-own", "ä", "semi;colon", "{"]
        {
            assert!(of(BRIDGE_NAME, name).is_err(), "{name:?}");
        }
        assert!(of(INTERFACE_PREFIX, "").is_err() && of(INTERFACE_PREFIX, "longer-than-it").is_err());
    }
}
