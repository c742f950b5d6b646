//! `/etc/hosts` and `/etc/resolv.conf` of a container, and who its resolver asks.

use std::fmt::Write;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use casemate_record::HostRecord;

use crate::options::ExtraHost;

/// Where a container's resolver is.
pub const RESOLVER: IpAddr = IpAddr::V4(casemate_net::RESOLVER);

/// systemd-resolved's own servers, where the host's file names only its stub.
const BEHIND_STUB: &str = "/run/systemd/resolve/resolv.conf";

/// The host's resolver configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct HostResolver {
    pub(super) servers: Vec<IpAddr>,
    search: Vec<String>,
    options: Vec<String>,
}

impl HostResolver {
    pub(super) fn read() -> Self {
        let read = |path: &str| Self::parse(&fs::read_to_string(path).unwrap_or_default());
        let own = read("/etc/resolv.conf");
        let stub = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 53));
        match own.servers.as_slice() {
            [only] if *only == stub => {
                let behind = read(BEHIND_STUB);
                if behind.servers.is_empty() { own } else { behind }
            }
            _ => own,
        }
    }

    fn parse(text: &str) -> Self {
        let mut parsed = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let keyword = words.next();
            let words = words.map(str::to_owned);
            match keyword {
                // Zones of link-local addresses mean nothing in another namespace.
                Some("nameserver") => {
                    parsed.servers.extend(words.take(1).filter_map(|word| word.parse::<IpAddr>().ok()))
                }
                Some("search" | "domain") => parsed.search = words.collect(),
                Some("options") => parsed.options.extend(words),
                _ => {}
            }
        }
        parsed
    }

    /// Those that mean the same in a container.
    pub(super) fn reachable(&self) -> Vec<IpAddr> {
        self.servers.iter().copied().filter(|server| !server.is_loopback()).collect()
    }
}

/// `servers` is where the container asks; the rest is the container's own, or the
/// host's.
pub(super) fn resolv_conf(record: &HostRecord, servers: &[IpAddr], of_host: &HostResolver) -> String {
    let mut text: String = servers.iter().map(|server| format!("nameserver {server}\n")).collect();
    let search = if record.dns_search.is_empty() { &of_host.search } else { &record.dns_search };
    // A lone dot asks for no search list.
    if !search.is_empty() && *search != ["."] {
        // Writing to a string does not fail.
        let _ = writeln!(text, "search {}", search.join(" "));
    }
    let mut options = if record.dns_options.is_empty() { of_host.options.clone() } else { record.dns_options.clone() };
    // Names of containers have no dots; Docker's setting.
    if servers == [RESOLVER] && !options.iter().any(|option| option.starts_with("ndots:")) {
        options.push("ndots:0".to_owned());
    }
    if !options.is_empty() {
        let _ = writeln!(text, "options {}", options.join(" "));
    }
    text
}

/// Docker's `/etc/hosts`: loopback, what was given, others that it is linked to,
/// and the container's own name at its addresses.
pub(super) fn hosts(
    (hostname, domainname): (&str, &str),
    extra_hosts: &[(String, ExtraHost)],
    gateway: (Option<Ipv4Addr>, Option<Ipv6Addr>),
    links: &[(IpAddr, Vec<String>)],
    own: &[IpAddr],
) -> String {
    let mut text = "127.0.0.1\tlocalhost\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::\tip6-localnet\n\
         ff00::\tip6-mcastprefix\n\
         ff02::1\tip6-allnodes\n\
         ff02::2\tip6-allrouters\n"
        .to_owned();
    for (name, address) in extra_hosts {
        let (v4, v6) = gateway;
        let addresses: Vec<IpAddr> = match address {
            ExtraHost::Address(address) => vec![*address],
            ExtraHost::Gateway => v4.map(IpAddr::V4).into_iter().chain(v6.map(IpAddr::V6)).collect(),
        };
        for address in addresses {
            let _ = writeln!(text, "{address}\t{name}");
        }
    }
    for (address, names) in links {
        let _ = writeln!(text, "{address}\t{}", names.join(" "));
    }
    let own_or_loopback = if own.is_empty() { &[IpAddr::V4(Ipv4Addr::LOCALHOST)] } else { own };
    for address in own_or_loopback {
        let _ = match domainname {
            "" => writeln!(text, "{address}\t{hostname}"),
            domain => writeln!(text, "{address}\t{hostname}.{domain} {hostname}"),
        };
    }
    text
}
