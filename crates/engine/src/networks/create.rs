//! From what was asked for to a network with subnets.

use std::collections::BTreeMap;
use std::net::IpAddr;

use casemate_net::{DriverOptions, Subnet};
use casemate_record::{NetworkRecord, SubnetRecord, file};
use ipnet::IpNet;
use rand::RngCore;

use super::error::NetworkError;
use super::record::{DRIVER_BRIDGE, DRIVER_HOST, DRIVER_NULL, DRIVER_SEALED};
use super::{KnownNetwork, Networks, builtin};

/// What `network create` says.
#[derive(Clone, Debug, Default)]
pub struct CreateNetworkRequest {
    pub name: String,
    /// `bridge` if empty.
    pub driver: String,
    pub internal: bool,
    pub attachable: bool,
    /// Filled in by the daemon, which knows what links there are.
    pub bridge_is_given: bool,
    /// Both as the network is otherwise if absent.
    pub enable_ipv4: Option<bool>,
    pub enable_ipv6: Option<bool>,
    pub subnets: Vec<SubnetRequest>,
    pub ipam_options: BTreeMap<String, String>,
    pub options: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
}

/// In the user's spelling; empty is not given.
#[derive(Clone, Debug, Default)]
pub struct SubnetRequest {
    pub subnet: String,
    pub ip_range: String,
    pub gateway: String,
    pub auxiliary: BTreeMap<String, String>,
}

impl Networks {
    /// Makes a network and keeps its record. `in_use` is what the host has routes
    /// to.
    pub fn create(&mut self, request: CreateNetworkRequest, in_use: &[IpNet]) -> Result<&KnownNetwork, NetworkError> {
        let known = self.plan(request, in_use)?;
        file::write(&self.path(&known.record.id), &known.record, file::Durability::Synced)
            .map_err(NetworkError::Record)?;
        Ok(self.known.entry(known.record.id.clone()).or_insert(known))
    }

    fn plan(&self, request: CreateNetworkRequest, in_use: &[IpNet]) -> Result<KnownNetwork, NetworkError> {
        let CreateNetworkRequest { name, driver, subnets, .. } = &request;
        check_name(name)?;
        if builtin::is_builtin(name) {
            return Err(NetworkError::Predefined { name: name.clone() });
        }
        if self.named(name).is_some() {
            return Err(NetworkError::NameTaken { name: name.clone() });
        }
        let driver = match driver.as_str() {
            "" | "default" | DRIVER_BRIDGE => DRIVER_BRIDGE,
            DRIVER_SEALED => DRIVER_SEALED,
            DRIVER_HOST | DRIVER_NULL => {
                return Err(NetworkError::Invalid(format!("only one instance of \"{driver}\" network is allowed")));
            }
            _ => return Err(NetworkError::Driver { name: driver.clone() }),
        };
        if driver == DRIVER_SEALED && request.internal {
            return Err(NetworkError::Invalid(format!(
                "a sealed network reaches nothing inside; what it reaches outside is the option {}",
                casemate_net::EGRESS
            )));
        }
        let options = DriverOptions::of(&request.options)?;
        self.check_bridge(options.bridge.as_deref())?;
        let subnets = subnets.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let asked = |is_v4: bool| subnets.iter().any(|(subnet, _)| subnet.net().addr().is_ipv4() == is_v4);
        let enable_ipv4 = request.enable_ipv4.unwrap_or(true);
        let enable_ipv6 = request.enable_ipv6.unwrap_or_else(|| asked(false));
        let mut records: Vec<SubnetRecord> = Vec::new();
        for (is_v4, enabled) in [(true, enable_ipv4), (false, enable_ipv6)] {
            let mut of_family = subnets.iter().filter(|(subnet, _)| subnet.net().addr().is_ipv4() == is_v4);
            match (enabled, of_family.next(), of_family.next()) {
                (_, Some(_), Some(_)) => {
                    return Err(NetworkError::Invalid("bridge driver doesn't support multiple subnets".to_owned()));
                }
                (true, Some((subnet, record)), None) => {
                    self.refuse_overlap(subnet.net())?;
                    records.push(record.clone());
                }
                (true, None, _) => {
                    let net = self.free_subnet(in_use, |net| net.addr().is_ipv4() == is_v4)?;
                    records.push(builtin::subnet(net)?);
                }
                (false, Some((subnet, _)), None) => {
                    let family = if is_v4 { "IPv4" } else { "IPv6" };
                    return Err(NetworkError::Invalid(format!(
                        "{family} is off, and subnet {} is of it",
                        subnet.net()
                    )));
                }
                (false, None, _) => {}
            }
        }
        if records.is_empty() {
            return Err(NetworkError::Invalid("IPv4 or IPv6 must be enabled".to_owned()));
        }
        let CreateNetworkRequest { name, internal, attachable, bridge_is_given, ipam_options, options, labels, .. } =
            request;
        KnownNetwork::of(NetworkRecord {
            version: NetworkRecord::VERSION,
            id: new_id(),
            name,
            created: jiff::Timestamp::now().to_string(),
            driver: driver.to_owned(),
            internal,
            attachable,
            bridge_is_given,
            enable_ipv4,
            enable_ipv6,
            subnets: records,
            ipam_options,
            options,
            labels,
        })
    }

    fn check_bridge(&self, name: Option<&str>) -> Result<(), NetworkError> {
        let Some(name) = name else { return Ok(()) };
        let holder = self.known.values().find(|known| known.network.as_ref().is_some_and(|net| net.bridge() == name));
        match holder {
            Some(known) => Err(NetworkError::BridgeTaken { name: name.to_owned(), network: known.record.name.clone() }),
            None => Ok(()),
        }
    }

    fn nets(&self) -> impl Iterator<Item = (IpNet, &str)> {
        self.known.values().flat_map(|known| {
            let subnets = known.network.iter().flat_map(|network| &network.subnets);
            subnets.map(|subnet| (subnet.net(), known.record.name.as_str()))
        })
    }

    fn refuse_overlap(&self, subnet: IpNet) -> Result<(), NetworkError> {
        match self.nets().find(|(net, _)| overlap(net, &subnet)) {
            Some((net, name)) => Err(NetworkError::Overlap { subnet, other: format!("{net} of network {name}") }),
            None => Ok(()),
        }
    }

    /// One that nobody has.
    pub(super) fn free_subnet(&self, in_use: &[IpNet], fits: impl Fn(&IpNet) -> bool) -> Result<IpNet, NetworkError> {
        let taken: Vec<IpNet> = self.nets().map(|(net, _)| net).chain(in_use.iter().copied()).collect();
        let pools = self.settings.pools.iter().chain(&*UNIQUE_LOCAL).filter(|pool| fits(&pool.base()));
        Ok(casemate_net::free_subnet(pools, &taken)?)
    }
}

/// Where subnets of IPv6 come from where no pool of that family was given: a range
/// of this program's run, as RFC 4193 has them made.
static UNIQUE_LOCAL: std::sync::LazyLock<Vec<casemate_net::AddressPool>> = std::sync::LazyLock::new(|| {
    let mut address = [0; 16];
    rand::rng().fill_bytes(&mut address[1..6]);
    address[0] = 0xfd;
    let base = ipnet::Ipv6Net::new(address.into(), 48).map(IpNet::V6);
    base.ok().and_then(|base| casemate_net::AddressPool::new(base, 64).ok()).into_iter().collect()
});

fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}

fn read(request: &SubnetRequest) -> Result<(Subnet, SubnetRecord), NetworkError> {
    let SubnetRequest { subnet, ip_range, gateway, auxiliary } = request;
    let invalid = |what: &str, text: &str| NetworkError::Invalid(format!("invalid {what} {text:?}"));
    if subnet.is_empty() {
        return Err(NetworkError::Invalid("a gateway, a range or an auxiliary address needs a subnet".to_owned()));
    }
    let net: IpNet = subnet
        .parse()
        .map_err(|_| NetworkError::Invalid(format!("invalid subnet {subnet}: invalid CIDR block notation")))?;
    let range = match ip_range.as_str() {
        "" => None,
        range => Some(range.parse::<IpNet>().map_err(|_| invalid("ip-range", range))?),
    };
    let asked = match gateway.as_str() {
        "" => None,
        address => Some(address.parse::<IpAddr>().map_err(|_| invalid("gateway", address))?),
    };
    let auxiliary = auxiliary.iter().map(|(name, text)| {
        let address = text.parse::<IpAddr>().ok().filter(|address| net.contains(address));
        address.map(|address| (name.clone(), address)).ok_or_else(|| invalid("auxiliary address", text))
    });
    let auxiliary = auxiliary.collect::<Result<_, _>>()?;
    let parsed = Subnet::new(net, range, asked).map_err(NetworkError::Subnet)?;
    let record = SubnetRecord {
        subnet: net.to_string(),
        ip_range: range.map(|range| range.to_string()),
        gateway: parsed.gateway(),
        auxiliary,
    };
    Ok((parsed, record))
}

fn check_name(name: &str) -> Result<(), NetworkError> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let starts_well = name.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric());
    match starts_well && name.len() <= 255 && name.bytes().all(is_plain) {
        true => Ok(()),
        false => Err(NetworkError::Name { name: name.to_owned() }),
    }
}

/// 64 hexadecimal digits.
pub(super) fn new_id() -> String {
    let mut random = [0; 32];
    rand::rng().fill_bytes(&mut random);
    random.iter().map(|byte| format!("{byte:02x}")).collect()
}
