//! Which subnet an address range, a gateway or an auxiliary address is of. No I/O.
//!
//! As docker/cli (`createIPAMConfig` in `cli/command/network/create.go`).

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Map, Value, json};

/// In Docker's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum IpamError {
    #[error("every ip-range or gateway must have a corresponding subnet")]
    TooFewSubnets,
    #[error("invalid subnet: invalid CIDR address: {0}")]
    Subnet(String),
    #[error("multiple overlapping subnet configuration is not supported")]
    Overlap,
    #[error("invalid CIDR address: {0}")]
    Cidr(String),
    #[error("no matching subnet for {kind} {address}")]
    NoSubnet { kind: &'static str, address: String },
    #[error("cannot configure multiple ranges ({second}, {first}) on the same subnet ({subnet})")]
    Ranges { second: String, first: String, subnet: String },
    #[error("cannot configure multiple gateways ({second}, {first}) for the same subnet ({subnet})")]
    Gateways { second: String, first: String, subnet: String },
}

/// One subnet and what is said of it, as it is written.
struct Pool<'a> {
    subnet: &'a str,
    network: IpNet,
    range: Option<&'a str>,
    gateway: Option<&'a str>,
    auxiliary: Map<String, Value>,
}

/// The API's `IPAM.Config`.
pub(super) fn pools(
    subnets: &[String],
    ranges: &[String],
    gateways: &[String],
    auxiliary: &[String],
) -> Result<Value, IpamError> {
    if subnets.len() < ranges.len().max(gateways.len()) {
        return Err(IpamError::TooFewSubnets);
    }
    let mut pools: Vec<Pool<'_>> = Vec::new();
    for subnet in subnets {
        let network: IpNet = subnet.parse().map_err(|_| IpamError::Subnet(subnet.clone()))?;
        if pools.iter().any(|pool| pool.network.contains(&network.addr()) || network.contains(&pool.network.addr())) {
            return Err(IpamError::Overlap);
        }
        pools.push(Pool { subnet, network, range: None, gateway: None, auxiliary: Map::new() });
    }
    for range in ranges {
        let network: IpNet = range.parse().map_err(|_| IpamError::Cidr(range.clone()))?;
        let pool = pool_of(&mut pools, Some(network.addr()), "range", range)?;
        if let Some(first) = pool.range.replace(range) {
            let (second, first, subnet) = (range.clone(), first.to_owned(), pool.subnet.to_owned());
            return Err(IpamError::Ranges { second, first, subnet });
        }
    }
    for gateway in gateways {
        let pool = pool_of(&mut pools, address(gateway)?, "gateway", gateway)?;
        if let Some(first) = pool.gateway.replace(gateway) {
            let (second, first, subnet) = (gateway.clone(), first.to_owned(), pool.subnet.to_owned());
            return Err(IpamError::Gateways { second, first, subnet });
        }
    }
    for entry in auxiliary {
        let (name, text) = entry.split_once('=').unwrap_or((entry, ""));
        let pool = pool_of(&mut pools, address(text)?, "aux-address", text)?;
        pool.auxiliary.insert(name.to_owned(), text.into());
    }
    Ok(pools.into_iter().map(Pool::config).collect())
}

/// The one that has the address in it.
fn pool_of<'a, 'b>(
    pools: &'b mut [Pool<'a>],
    address: Option<IpAddr>,
    kind: &'static str,
    text: &str,
) -> Result<&'b mut Pool<'a>, IpamError> {
    let found = pools.iter_mut().find(|pool| address.is_some_and(|address| pool.network.contains(&address)));
    found.ok_or_else(|| IpamError::NoSubnet { kind, address: text.to_owned() })
}

/// An address by itself or with a prefix length. What is no address at all is in
/// no subnet.
fn address(text: &str) -> Result<Option<IpAddr>, IpamError> {
    match text.contains('/') {
        true => {
            let network: IpNet = text.parse().map_err(|_| IpamError::Cidr(text.to_owned()))?;
            Ok(Some(network.addr()))
        }
        false => Ok(text.parse().ok()),
    }
}

impl Pool<'_> {
    fn config(self) -> Value {
        let Self { subnet, network: _, range, gateway, auxiliary } = self;
        let mut config = json!({ "Subnet": subnet });
        if let Some(range) = range {
            config["IPRange"] = range.into();
        }
        if let Some(gateway) = gateway {
            config["Gateway"] = gateway.into();
        }
        if !auxiliary.is_empty() {
            config["AuxiliaryAddresses"] = auxiliary.into();
        }
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words: `subnet …`, `range …`, `gateway …`, `aux NAME=…`.
    fn of(said: &str) -> Result<Value, String> {
        let words: Vec<_> = said.split_whitespace().collect();
        let all = |kind: &str| -> Vec<String> {
            let of_kind = words.chunks(2).filter(|pair| pair[0] == kind);
            of_kind.map(|pair| pair.get(1).copied().unwrap_or_default().to_owned()).collect()
        };
        pools(&all("subnet"), &all("range"), &all("gateway"), &all("aux")).map_err(|error| error.to_string())
    }

    #[test]
    fn each_finds_its_subnet() {
        assert_eq!(of("").unwrap(), json!([]));
        assert_eq!(
            of("subnet fd00::/64 subnet 10.0.0.0/16 subnet 10.1.0.0/16 gateway 10.1.0.1 gateway fd00::1 range \
                10.0.3.0/24 aux a=10.0.0.4 aux b=fd00::4 aux a=10.0.0.5 aux c=10.0.0.6/16")
            .unwrap(),
            json!([
                { "Subnet": "fd00::/64", "Gateway": "fd00::1", "AuxiliaryAddresses": { "b": "fd00::4" } },
                {
                    "Subnet": "10.0.0.0/16", "IPRange": "10.0.3.0/24",
                    "AuxiliaryAddresses": { "a": "10.0.0.5", "c": "10.0.0.6/16" },
                },
                { "Subnet": "10.1.0.0/16", "Gateway": "10.1.0.1" },
            ])
        );
    }

    #[test]
    fn what_fits_nowhere_is_refused_in_dockers_words() {
        for (said, expected) in [
            ("gateway 10.0.0.1", "every ip-range or gateway must have a corresponding subnet"),
            ("range 10.0.0.0/8", "every ip-range or gateway must have a corresponding subnet"),
            ("subnet 10.0.0.0/33", "invalid subnet: invalid CIDR address: 10.0.0.0/33"),
            ("subnet 10.0.0.0", "invalid subnet: invalid CIDR address: 10.0.0.0"),
            ("subnet 10.0.0.0/8 subnet 10.1.0.0/16", "multiple overlapping subnet configuration is not supported"),
            ("subnet 10.1.0.0/16 subnet 10.0.0.0/8", "multiple overlapping subnet configuration is not supported"),
            ("subnet 10.0.0.0/8 range 11.0.0.0/16", "no matching subnet for range 11.0.0.0/16"),
            ("subnet 10.0.0.0/8 range 10.0.0.0", "invalid CIDR address: 10.0.0.0"),
            (
                "subnet 10.0.0.0/8 subnet 11.0.0.0/8 range 10.0.0.0/16 range 10.1.0.0/16",
                "cannot configure multiple ranges (10.1.0.0/16, 10.0.0.0/16) on the same subnet (10.0.0.0/8)",
            ),
            ("subnet 10.0.0.0/8 gateway fd00::1", "no matching subnet for gateway fd00::1"),
            ("subnet 10.0.0.0/8 gateway x", "no matching subnet for gateway x"),
            ("subnet 10.0.0.0/8 gateway 10.0.0.1/33", "invalid CIDR address: 10.0.0.1/33"),
            (
                "subnet 10.0.0.0/8 subnet 11.0.0.0/8 gateway 10.0.0.1 gateway 10.0.0.2",
                "cannot configure multiple gateways (10.0.0.2, 10.0.0.1) for the same subnet (10.0.0.0/8)",
            ),
            ("subnet 10.0.0.0/8 aux a=11.0.0.1", "no matching subnet for aux-address 11.0.0.1"),
            ("subnet 10.0.0.0/8 aux a", "no matching subnet for aux-address "),
            ("aux a=10.0.0.1", "no matching subnet for aux-address 10.0.0.1"),
        ] {
            assert_eq!(of(said).unwrap_err(), expected, "{said}");
        }
    }
}
