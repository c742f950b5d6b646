//! `casemate firewall`.

use std::fmt::Write;

use casemate_client::Client;
use serde_json::Value;

use crate::cli::SeeArgs;
use crate::human::short_id;
use crate::ports::address;
use crate::report::CliError;

pub(crate) async fn run(client: &Client, args: &SeeArgs) -> Result<(), CliError> {
    let seen = super::see(client, "firewall", args).await?;
    if args.json {
        return super::print(&format!("{seen}\n"));
    }
    super::print(&whole(&seen))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// A paragraph for each container and network, and whether it is so.
fn whole(seen: &Value) -> String {
    let mut paragraphs: Vec<String> = list(&seen["Containers"]).iter().map(container).collect();
    paragraphs.extend(list(&seen["Networks"]).iter().map(|network| {
        let (name, bridge) = (text(&network["Name"]), text(&network["Bridge"]));
        format!("Network {name}, bridge {bridge}, whoever is on it\n{}", rules(&network["Rules"]))
    }));
    if !list(&seen["Rules"]).is_empty() {
        paragraphs.push(format!("The host\n{}", rules(&seen["Rules"])));
    }
    let state = match text(&seen["State"]) {
        "held" => "The kernel has these rules.\n",
        "unused" => "The kernel has no rules: nothing has needed any yet.\n",
        "unwatched" => {
            "The kernel had these rules when they were set; changes by other programs are not heard of (the daemon's \
             log says why).\n"
        }
        _ => {
            "The kernel does not have these rules: they are being changed, or could not be set (the daemon's log says \
              why).\n"
        }
    };
    paragraphs.push(state.to_owned());
    paragraphs.join("\n")
}

fn container(container: &Value) -> String {
    let mut out = format!("{}, {} isolation", text(&container["Name"]), text(&container["Isolation"]));
    let (networks, mode) = (list(&container["Networks"]), text(&container["NetworkMode"]));
    out += &match mode.strip_prefix("container:") {
        _ if container["Running"] == false => ", does not run: there are no rules because of it\n".to_owned(),
        Some(id) => format!(", shares the network of {}: the rules are that one's\n", short_id(id)),
        None if mode == "host" => ", has the host's network: no rule is about it\n".to_owned(),
        None if networks.is_empty() => ", has no network\n".to_owned(),
        None => "\n".to_owned(),
    };
    for network in networks {
        out += &way(network, list(&container["Published"]));
    }
    out + &rules(&container["Rules"])
}

/// One of its networks, and what that lets it reach and be reached by.
fn way(network: &Value, published: &[Value]) -> String {
    let (name, addresses) = (text(&network["Name"]), list(&network["Addresses"]));
    let (reaches, reached_by) = (&network["Reaches"], &network["ReachedBy"]);
    let others: Vec<&str> = list(&network["Others"]).iter().map(text).collect();
    let containers = match others.is_empty() {
        true => format!("containers on {name}"),
        false => format!("containers on {name} ({})", others.join(", ")),
    };
    let mut to: Vec<String> = Vec::new();
    match text(&reaches["Host"]) {
        "all" => to.push("the host".to_owned()),
        "gateway" => to.push("the gateway".to_owned()),
        _ => {}
    }
    if reaches["Containers"] == true {
        to.push(containers.clone());
    }
    let kinds = [("Private", "private addresses"), ("Public", "public addresses")];
    to.extend(kinds.iter().filter(|(kind, _)| reaches[*kind] == true).map(|(_, words)| (*words).to_owned()));
    to.extend(list(&reaches["Ranges"]).iter().map(|range| text(range).to_owned()));

    let mut from: Vec<String> = Vec::new();
    if reached_by["Host"] == true {
        from.push("the host".to_owned());
    }
    if reached_by["Containers"] == true {
        from.push(containers);
    }
    let ports: Vec<&Value> = published.iter().filter(|port| addresses.contains(&port["Ip"])).collect();
    let mut out = format!(
        "  on {name} as {}, by {} on bridge {}\n    reaches {}\n",
        addresses.iter().map(text).collect::<Vec<_>>().join(" and "),
        text(&network["Link"]),
        text(&network["Bridge"]),
        if to.is_empty() { "nothing".to_owned() } else { to.join(", ") },
    );
    if from.is_empty() && ports.is_empty() {
        from.push("nobody".to_owned());
    }
    if !from.is_empty() {
        out += &format!("    is reached by {}\n", from.join(", "));
    }
    for port in ports {
        let outside = address(text(&port["HostIp"]), &port["HostPort"].to_string());
        out +=
            &format!("    is reached by {} {outside} of the host, at port {}\n", text(&port["Protocol"]), port["Port"]);
    }
    out
}

/// Those with one reason together.
fn rules(rules: &Value) -> String {
    let mut reasons: Vec<&str> = Vec::new();
    for rule in list(rules) {
        let why = text(&rule["Why"]);
        if !reasons.contains(&why) {
            reasons.push(why);
        }
    }
    let mut out = String::new();
    for reason in reasons {
        // Writing to text does not fail.
        let _ = writeln!(out, "  Because {reason}:");
        for rule in list(rules).iter().filter(|rule| rule["Why"] == reason) {
            let _ = writeln!(out, "    {}\n      {}", text(&rule["Words"]), text(&rule["Syntax"]));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_that_is_open_and_one_that_is_sealed() {
        let container = |name: &str, network: Value, published: Value, rules: Value| {
            json!({
                "Id": "0123", "Name": name, "Isolation": "process", "NetworkMode": network["Name"], "Running": true,
                "Networks": [network], "Published": published, "Rules": rules,
            })
        };
        let open = json!({
            "Name": "bridge", "Bridge": "casemate0", "Link": "cm-1", "Addresses": ["172.17.0.2"], "Others": ["db", "c"],
            "Reaches": { "Host": "all", "Containers": true, "Public": true, "Private": true, "Ranges": [] },
            "ReachedBy": { "Host": true, "Containers": true },
        });
        let sealed = json!({
            "Name": "sealed", "Bridge": "casemate1", "Link": "cm-2", "Addresses": ["172.18.0.2", "fd00::2"], "Others": [],
            "Reaches": { "Host": "none", "Containers": false, "Public": true, "Private": false, "Ranges": ["10.2.0.0/16"] },
            "ReachedBy": { "Host": false, "Containers": false },
        });
        let published =
            json!([{ "Protocol": "tcp", "HostIp": "::", "HostPort": 8080, "Ip": "172.17.0.2", "Port": 80 }]);
        let rules = json!([
            { "Words": "frames …", "Why": "of this", "Syntax": "add element a { 1 }" },
            { "Words": "port …", "Why": "of that", "Syntax": "add element b { 2 }" },
            { "Words": "packets …", "Why": "of this", "Syntax": "add element c { 3 }" },
        ]);
        let seen = json!({
            "State": "held",
            "Containers": [container("web", open, published, rules), container("shut", sealed, json!([]), json!([]))],
            "Networks": [],
            "Rules": [],
        });
        let expected = "\
web, process isolation
  on bridge as 172.17.0.2, by cm-1 on bridge casemate0
    reaches the host, containers on bridge (db, c), private addresses, public addresses
    is reached by the host, containers on bridge (db, c)
    is reached by tcp [::]:8080 of the host, at port 80
  Because of this:
    frames …
      add element a { 1 }
    packets …
      add element c { 3 }
  Because of that:
    port …
      add element b { 2 }

shut, process isolation
  on sealed as 172.18.0.2 and fd00::2, by cm-2 on bridge casemate1
    reaches public addresses, 10.2.0.0/16
    is reached by nobody

The kernel has these rules.
";
        assert_eq!(whole(&seen), expected);
    }

    #[test]
    fn who_has_no_rules_is_told_why() {
        let of = |mode: &str, running: bool| {
            container(&json!({ "Name": "c", "Isolation": "process", "NetworkMode": mode, "Running": running }))
        };
        for (mode, running, expected) in [
            ("bridge", false, "c, process isolation, does not run: there are no rules because of it\n"),
            ("host", true, "c, process isolation, has the host's network: no rule is about it\n"),
            ("none", true, "c, process isolation, has no network\n"),
            (
                "container:0123456789abcdef",
                true,
                "c, process isolation, shares the network of 0123456789ab: the rules are that one's\n",
            ),
        ] {
            assert_eq!(of(mode, running), expected);
        }
    }
}
