//! Hardware addresses of containers' links.

use core::net::{Ipv4Addr, Ipv6Addr};
use std::fmt;
use std::str::FromStr;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddress([u8; 6]);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid MAC address: {0}")]
pub struct ParseMacError(String);

impl MacAddress {
    /// One that nobody else has on a network where nobody else has that address,
    /// as Docker forms it: local, with the letter B.
    pub fn of(address: Ipv4Addr) -> Self {
        let [a, b, c, d] = address.octets();
        Self([0x02, 0x42, a, b, c, d])
    }

    /// The address that a link has of itself in IPv6 (RFC 4291, appendix A).
    pub fn link_local(self) -> Ipv6Addr {
        let [a, b, c, d, e, g] = self.0;
        Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, g])
    }

    pub fn octets(self) -> [u8; 6] {
        self.0
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// With colons or hyphens. That of a group, or of nobody, is nobody's.
impl FromStr for MacAddress {
    type Err = ParseMacError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || ParseMacError(text.to_owned());
        let separator = if text.contains('-') { '-' } else { ':' };
        let mut octets = [0; 6];
        let mut parts = text.split(separator);
        for octet in &mut octets {
            let part = parts.next().filter(|part| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit()));
            *octet = part.and_then(|part| u8::from_str_radix(part, 16).ok()).ok_or_else(invalid)?;
        }
        let is_group = octets[0] & 1 == 1;
        match parts.next().is_some() || is_group || octets == [0; 6] {
            true => Err(invalid()),
            false => Ok(Self(octets)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_docker_writes_them() {
        assert_eq!(MacAddress::of(Ipv4Addr::new(172, 17, 0, 2)).to_string(), "02:42:ac:11:00:02");
        for text in ["02:42:ac:11:00:02", "02-42-AC-11-00-02"] {
            assert_eq!(text.parse(), Ok(MacAddress::of(Ipv4Addr::new(172, 17, 0, 2))));
        }
    }

    #[test]
    fn what_is_no_address_of_one_link_is_refused() {
        for text in [
            "",
            "02:42",
            "02:42:ac:11:00:02:03",
            "01:00:5e:00:00:01",
            "ff:ff:ff:ff:ff:ff",
            "00:00:00:00:00:00",
            "+2:42:ac:11:00:02",
            "2:42:ac:11:00:02",
            "02:42-ac:11-00:02",
        ] {
            assert_eq!(text.parse::<MacAddress>(), Err(ParseMacError(text.to_owned())));
        }
    }
}
