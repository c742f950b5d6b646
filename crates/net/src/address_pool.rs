//! Where the subnets of networks come from that name none:
//! `--default-address-pool base=10.10.0.0/16,size=24`.

use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// A range that is cut into subnets of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressPool {
    base: IpNet,
    /// Length of a subnet's prefix, in bits.
    size: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseAddressPoolError {
    #[error("invalid default address pool {0:?}: it is of the form base=10.10.0.0/16,size=24")]
    Form(String),
    #[error("invalid default address pool: {0:?} is no range of addresses")]
    Base(String),
    #[error("invalid default address pool: {base} cannot be cut into subnets of size {size}")]
    Size { base: IpNet, size: String },
}

/// As dockerd says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("all predefined address pools have been fully subnetted")]
pub struct NoFreeSubnet;

impl AddressPool {
    pub fn new(base: IpNet, size: u8) -> Result<Self, ParseAddressPoolError> {
        let fits = size >= base.prefix_len() && size <= most(base);
        fits.then_some(Self { base: base.trunc(), size })
            .ok_or_else(|| ParseAddressPoolError::Size { base, size: size.to_string() })
    }

    pub fn base(&self) -> IpNet {
        self.base
    }

    /// The lowest subnet that has no address in common with these.
    fn free(&self, taken: &[IpNet]) -> Option<IpNet> {
        let step = 1_u128.checked_shl(u32::from(width(self.base) - self.size))?;
        let end = last(self.base);
        let mut start = first(self.base);
        loop {
            let candidate = subnet(self.base, start, self.size);
            let Some(in_the_way) = taken.iter().find(|taken| overlap(taken, &candidate)) else {
                return Some(candidate);
            };
            // On to the first subnet beyond it.
            let beyond = last(*in_the_way).checked_add(1)?;
            start = beyond.max(start + step).checked_next_multiple_of(step)?;
            if start > end {
                return None;
            }
        }
    }
}

impl FromStr for AddressPool {
    type Err = ParseAddressPoolError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let form = || ParseAddressPoolError::Form(text.to_owned());
        let (mut base, mut size) = (None, None);
        for part in text.split(',') {
            match part.split_once('=').ok_or_else(form)? {
                ("base", value) => base = Some(value),
                ("size", value) => size = Some(value),
                _ => return Err(form()),
            }
        }
        let (base, size) = base.zip(size).ok_or_else(form)?;
        let base: IpNet = base.parse().map_err(|_| ParseAddressPoolError::Base(base.to_owned()))?;
        let invalid = || ParseAddressPoolError::Size { base, size: size.to_owned() };
        Self::new(base, size.parse().map_err(|_| invalid())?)
    }
}

/// dockerd's, of IPv4.
pub fn default_pools() -> Vec<AddressPool> {
    [
        (172, 17, 16, 16),
        (172, 18, 16, 16),
        (172, 19, 16, 16),
        (172, 20, 14, 16),
        (172, 24, 14, 16),
        (172, 28, 14, 16),
        (192, 168, 16, 20),
    ]
    .into_iter()
    .map(|(a, b, prefix, size)| AddressPool { base: Ipv4Net::new_assert([a, b, 0, 0].into(), prefix).into(), size })
    .collect()
}

/// A subnet for a new network: `taken` is what other networks and the host's
/// routes have.
pub fn free_subnet<'p>(
    pools: impl IntoIterator<Item = &'p AddressPool>,
    taken: &[IpNet],
) -> Result<IpNet, NoFreeSubnet> {
    pools.into_iter().find_map(|pool| pool.free(taken)).ok_or(NoFreeSubnet)
}

pub(crate) fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}

/// Bits of an address.
fn width(net: IpNet) -> u8 {
    net.max_prefix_len()
}

/// The longest prefix that leaves room for a gateway and a container.
fn most(net: IpNet) -> u8 {
    width(net) - 2
}

fn first(net: IpNet) -> u128 {
    match net {
        IpNet::V4(net) => u32::from(net.network()).into(),
        IpNet::V6(net) => net.network().into(),
    }
}

fn last(net: IpNet) -> u128 {
    match net {
        IpNet::V4(net) => u32::from(net.broadcast()).into(),
        IpNet::V6(net) => net.broadcast().into(),
    }
}

/// Of the same family as `like`, whose address `start` is.
fn subnet(like: IpNet, start: u128, size: u8) -> IpNet {
    match like {
        IpNet::V4(_) => Ipv4Net::new_assert((start as u32).into(), size).into(),
        IpNet::V6(_) => Ipv6Net::new_assert(start.into(), size).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn the_default_pools_are_given_out_in_order() {
        let mut taken = Vec::new();
        for number in 0..15 + 16 {
            let given = free_subnet(&default_pools(), &taken).unwrap();
            let expected = match number {
                0..15 => format!("172.{}.0.0/16", 17 + number),
                _ => format!("192.168.{}.0/20", (number - 15) * 16),
            };
            assert_eq!(given, net(&expected));
            taken.push(given);
        }
        assert_eq!(free_subnet(&default_pools(), &taken), Err(NoFreeSubnet));
    }

    #[test]
    fn what_the_host_uses_is_passed_over() {
        let taken = [net("172.16.0.0/12"), net("192.168.1.7/24"), net("fd00::/8")];
        assert_eq!(free_subnet(&default_pools(), &taken), Ok(net("192.168.16.0/20")));
        assert_eq!(free_subnet(&default_pools(), &[net("0.0.0.0/0")]), Err(NoFreeSubnet));
        let pool: AddressPool = "base=fd00:1::/32,size=64".parse().unwrap();
        assert_eq!(free_subnet([&pool], &[net("fd00:1::/64")]), Ok(net("fd00:1:0:1::/64")));
        assert_eq!(free_subnet([&pool], &[net("::/0")]), Err(NoFreeSubnet));
    }

    #[test]
    fn pools_are_read_as_docker_writes_them() {
        let pool: AddressPool = "size=24,base=10.123.4.0/16".parse().unwrap();
        assert_eq!(pool, AddressPool { base: net("10.123.0.0/16"), size: 24 });
        for (text, error) in [
            ("10.0.0.0/8", "it is of the form"),
            ("base=10.0.0.0/8", "it is of the form"),
            ("base=10.0.0.0/8,size=24,more=1", "it is of the form"),
            ("base=ten,size=24", "\"ten\" is no range"),
            ("base=10.0.0.0/16,size=8", "cannot be cut into subnets of size 8"),
            ("base=10.0.0.0/16,size=31", "cannot be cut into subnets of size 31"),
            ("base=10.0.0.0/16,size=big", "cannot be cut into subnets of size big"),
        ] {
            let refused = text.parse::<AddressPool>().unwrap_err().to_string();
            assert!(refused.contains(error), "{refused}");
        }
    }

    proptest! {
        /// Whatever is taken, what is given is in the pool, of its size, free, and
        /// the lowest such.
        #[test]
        fn the_lowest_free_subnet_is_given(
            size in 18_u8..=26,
            taken in proptest::collection::vec((0_u32..1 << 16, 14_u8..=30), 0..40),
        ) {
            let pool = AddressPool::new(net("10.1.0.0/16"), size).unwrap();
            let place = |(low, prefix): (u32, u8)| IpNet::V4(Ipv4Net::new_assert((0x0a01_0000 | low).into(), prefix).trunc());
            let taken: Vec<IpNet> = taken.into_iter().map(place).collect();
            let all = net("10.1.0.0/16").subnets(size).unwrap();
            let lowest = all.into_iter().find(|subnet| taken.iter().all(|taken| !overlap(taken, subnet)));
            prop_assert_eq!(free_subnet([&pool], &taken).ok(), lowest);
        }
    }
}
