//! Ports as `docker ps` and `docker port` show them.

use serde_json::Value;

/// Neighbours that are published at their own numbers.
struct Group {
    address: String,
    protocol: String,
    first: u64,
    last: u64,
}

/// `ADDRESS:PORT`, with brackets where the address has colons of its own.
pub(crate) fn address(ip: &str, port: &str) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

/// The API's list of a container's ports, in one line: neighbours at one address
/// are one, and those that have another number outside come last.
///
/// Docker's order (docker/cli `DisplayablePorts`): a group stands where the next
/// of its kind begins, and those that are still open stand behind.
pub(crate) fn summary(ports: &Value) -> String {
    let text = |port: &Value, name: &str| port[name].as_str().unwrap_or_default().to_owned();
    let number = |port: &Value, name: &str| port[name].as_u64().unwrap_or(0);
    let mut sorted: Vec<_> = ports.as_array().into_iter().flatten().collect();
    sorted.sort_by_cached_key(|port| {
        (number(port, "PrivatePort"), text(port, "IP"), number(port, "PublicPort"), text(port, "Type"))
    });
    let (mut shown, mut open, mut mapped) = (Vec::new(), Vec::<Group>::new(), Vec::new());
    for port in sorted {
        let (ip, protocol, inside) = (text(port, "IP"), text(port, "Type"), number(port, "PrivatePort"));
        let outside = number(port, "PublicPort");
        if !ip.is_empty() && outside != inside {
            mapped.push(format!("{}->{inside}/{protocol}", address(&ip, &outside.to_string())));
            continue;
        }
        match open.iter_mut().find(|group| group.address == ip && group.protocol == protocol) {
            None => open.push(Group { address: ip, protocol, first: inside, last: inside }),
            Some(group) if inside == group.last + 1 => group.last = inside,
            Some(group) => {
                shown.push(group.text());
                (group.first, group.last) = (inside, inside);
            }
        }
    }
    shown.extend(open.iter().map(Group::text));
    shown.extend(mapped);
    shown.join(", ")
}

impl Group {
    fn text(&self) -> String {
        let Self { address: ip, protocol, first, last } = self;
        let range = if first == last { first.to_string() } else { format!("{first}-{last}") };
        match ip.as_str() {
            "" => format!("{range}/{protocol}"),
            ip => format!("{}->{range}/{protocol}", address(ip, &range)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn port(ip: &str, inside: u16, outside: u16, protocol: &str) -> Value {
        match ip {
            "" => json!({ "PrivatePort": inside, "Type": protocol }),
            ip => json!({ "IP": ip, "PrivatePort": inside, "PublicPort": outside, "Type": protocol }),
        }
    }

    #[test]
    fn as_docker_shows_them() {
        // What Docker's CLI 28.2.2 prints for each.
        for (ports, expected) in [
            (vec![], ""),
            (vec![port("", 53, 0, "udp")], "53/udp"),
            (
                vec![port("::", 80, 8080, "tcp"), port("0.0.0.0", 80, 8080, "tcp")],
                "0.0.0.0:8080->80/tcp, [::]:8080->80/tcp",
            ),
            (vec![port("0.0.0.0", 81, 81, "tcp"), port("0.0.0.0", 80, 80, "tcp")], "0.0.0.0:80-81->80-81/tcp"),
            (
                vec![port("0.0.0.0", 81, 81, "tcp"), port("0.0.0.0", 80, 80, "udp")],
                "0.0.0.0:80->80/udp, 0.0.0.0:81->81/tcp",
            ),
            (
                vec![
                    port("0.0.0.0", 80, 8080, "tcp"),
                    port("::", 80, 8080, "tcp"),
                    port("0.0.0.0", 9000, 9000, "tcp"),
                    port("0.0.0.0", 9001, 9001, "tcp"),
                    port("::", 9000, 9000, "tcp"),
                    port("::", 9001, 9001, "tcp"),
                    port("0.0.0.0", 9005, 9005, "tcp"),
                    port("", 53, 0, "udp"),
                    port("", 443, 0, "tcp"),
                    port("", 444, 0, "tcp"),
                    port("127.0.0.1", 53, 5353, "udp"),
                ],
                "0.0.0.0:9000-9001->9000-9001/tcp, 53/udp, 443-444/tcp, 0.0.0.0:9005->9005/tcp, \
                 [::]:9000-9001->9000-9001/tcp, 127.0.0.1:5353->53/udp, 0.0.0.0:8080->80/tcp, [::]:8080->80/tcp",
            ),
        ] {
            assert_eq!(summary(&json!(ports)), expected);
        }
        assert_eq!(summary(&Value::Null), "");
    }
}
