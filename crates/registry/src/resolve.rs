//! From a host's name to its addresses, by this host's `/etc/hosts` and
//! `/etc/resolv.conf`.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_resolver::config::{LookupIpStrategy, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::{TokioResolver, system_conf};

use crate::error::ConnectError;

/// All addresses of the host, in the order to try them. The configuration is
/// read anew each time, so that a change of it counts at once.
pub async fn resolve(host: &str) -> Result<Vec<IpAddr>, ConnectError> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = bare.parse() {
        return Ok(vec![address]);
    }
    // A host may lack either file.
    let known = in_hosts(&fs::read_to_string("/etc/hosts").unwrap_or_default(), host);
    if !known.is_empty() {
        return Ok(known);
    }
    if host == "localhost" || host.ends_with(".localhost") {
        return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    match system_conf::read_system_conf() {
        Ok((config, options)) => ask(host, config, options).await,
        Err(error) => Err(failure(host, error)),
    }
}

async fn ask(host: &str, config: ResolverConfig, options: ResolverOpts) -> Result<Vec<IpAddr>, ConnectError> {
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()).with_options(options);
    builder.options_mut().ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    builder.options_mut().use_hosts_file = ResolveHosts::Never;
    let resolver = builder.build().map_err(|error| failure(host, error))?;
    let found = resolver.lookup_ip(host).await.map_err(|error| failure(host, error))?;
    let mut addresses: Vec<IpAddr> = found.iter().collect();
    // Stable: hosts without a way to IPv6 get its addresses too.
    addresses.sort_by_key(IpAddr::is_ipv6);
    match addresses.is_empty() {
        true => Err(ConnectError::NoSuchHost { host: host.to_owned() }),
        false => Ok(addresses),
    }
}

fn failure(host: &str, error: NetError) -> ConnectError {
    let host = host.to_owned();
    match &error {
        NetError::Dns(DnsError::NoRecordsFound(answer))
            if matches!(answer.response_code, ResponseCode::NXDomain | ResponseCode::NoError) =>
        {
            ConnectError::NoSuchHost { host }
        }
        _ => ConnectError::Lookup { host, source: error.into() },
    }
}

/// The addresses that a hosts file (`man 5 hosts`) gives the name.
fn in_hosts(text: &str, host: &str) -> Vec<IpAddr> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().split_ascii_whitespace());
    lines
        .filter_map(|mut words| Some((words.next()?.parse().ok()?, words)))
        .filter_map(|(address, mut names): (IpAddr, _)| {
            names.any(|name| name.eq_ignore_ascii_case(host)).then_some(address)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use hickory_resolver::config::NameServerConfig;
    use hickory_resolver::proto::op::Message;
    use hickory_resolver::proto::rr::rdata::{A, AAAA};
    use hickory_resolver::proto::rr::{RData, Record, RecordType};
    use tokio::net::UdpSocket;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    #[test]
    fn addresses_are_themselves_and_localhost_is_here() {
        let resolved = |host| block_on(resolve(host)).unwrap();
        assert_eq!(resolved("192.0.2.1"), ["192.0.2.1".parse::<IpAddr>().unwrap()]);
        assert_eq!(resolved("[::1]"), ["::1".parse::<IpAddr>().unwrap()]);
        assert!(resolved("localhost").iter().all(IpAddr::is_loopback));
        assert!(resolved("registry.localhost").iter().all(IpAddr::is_loopback));
    }

    #[test]
    fn the_hosts_file_counts() {
        let text = "# 9.9.9.9 a\n10.0.0.1 a.example a # b\n\n10.0.0.2\tb\n::1 A\nbroken a\n";
        let addresses = |host| in_hosts(text, host).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(addresses("a"), ["10.0.0.1", "::1"]);
        assert_eq!(addresses("B"), ["10.0.0.2"]);
        assert_eq!(addresses("example"), [""; 0]);
    }

    /// Answers as the name server of a small world.
    async fn serve(socket: UdpSocket) {
        let mut buffer = [0; 1500];
        loop {
            let (length, client) = socket.recv_from(&mut buffer).await.unwrap();
            let question = Message::from_vec(&buffer[..length]).unwrap();
            let query = question.queries[0].clone();
            let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
            answer.add_query(query.clone());
            let data = match (query.name().to_string().to_lowercase().as_str(), query.query_type()) {
                ("registry.example.", RecordType::A) => Some(RData::A(A::new(192, 0, 2, 7))),
                ("registry.example.", RecordType::AAAA) => {
                    Some(RData::AAAA(AAAA::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7)))
                }
                ("registry.example.", _) => None,
                _ => {
                    answer.metadata.response_code = ResponseCode::NXDomain;
                    None
                }
            };
            answer.add_answers(data.map(|data| Record::from_rdata(query.name().clone(), 60, data)));
            socket.send_to(&answer.to_vec().unwrap(), client).await.unwrap();
        }
    }

    #[test]
    fn name_servers_are_asked_and_absence_is_told_from_failure() {
        block_on(async {
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let port = socket.local_addr().unwrap().port();
            let server = tokio::spawn(serve(socket));
            let mut name_server = NameServerConfig::udp(Ipv4Addr::LOCALHOST.into());
            name_server.connections[0].port = port;
            let config = ResolverConfig::from_parts(None, vec!["example.".parse().unwrap()], vec![name_server]);
            let mut options = ResolverOpts::default();
            (options.timeout, options.attempts) = (Duration::from_millis(500), 1);
            for host in ["registry.example", "registry"] {
                let addresses = ask(host, config.clone(), options.clone()).await.unwrap();
                assert_eq!(addresses.iter().map(ToString::to_string).collect::<Vec<_>>(), ["192.0.2.7", "2001:db8::7"]);
            }
            let absent = ask("absent.example", config.clone(), options.clone()).await.unwrap_err();
            assert_eq!(absent.to_string(), "dial tcp: lookup absent.example: no such host");
            server.abort();
            let _ = server.await;
            assert!(matches!(ask("registry", config, options).await, Err(ConnectError::Lookup { .. })));
        });
    }
}
