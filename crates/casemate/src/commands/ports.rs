//! `casemate ports`.

use casemate_client::Client;
use serde_json::Value;

use crate::cli::SeeArgs;
use crate::human::short_id;
use crate::ports::address;
use crate::report::CliError;

const HEADINGS: [&str; 6] = ["CONTAINER", "PROTO", "INSIDE", "STATE", "OUTSIDE", "PROCESS"];

pub(crate) async fn run(client: &Client, args: &SeeArgs) -> Result<(), CliError> {
    let seen = super::see(client, "ports", args).await?;
    if args.json {
        return super::print(&format!("{seen}\n"));
    }
    let containers = seen["Containers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let rows: Vec<Vec<String>> = containers.iter().flat_map(rows).collect();
    super::print_table(&HEADINGS, &rows)?;
    super::print(&containers.iter().flat_map(remarks).collect::<String>())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn end(entry: &Value, ip: &str, port: &str) -> String {
    address(text(&entry[ip]), &entry[port].to_string())
}

fn rows(container: &Value) -> Vec<Vec<String>> {
    let row = |entry: &Value, state: &str, outside: String| {
        let process = match (entry["Process"].as_str(), entry["Pid"].as_u64()) {
            (Some(name), Some(pid)) => format!("{name} ({pid})"),
            _ => String::new(),
        };
        let (name, protocol) = (text(&container["Name"]).to_owned(), text(&entry["Protocol"]).to_owned());
        vec![name, protocol, end(entry, "Ip", "Port"), state.to_owned(), outside, process]
    };
    let all = |list: &str| container[list].as_array().map(Vec::as_slice).unwrap_or_default();
    let listening = all("Listening").iter().map(|entry| row(entry, "listening", String::new()));
    let published = all("Published").iter().map(|entry| {
        let state = if entry["Listening"] == true { "published" } else { "published, nobody listens" };
        row(entry, state, end(entry, "HostIp", "HostPort"))
    });
    let connections = all("Connections").iter().map(|entry| {
        let state = if entry["Direction"] == "in" { "connected from" } else { "connected to" };
        row(entry, state, end(entry, "PeerIp", "PeerPort"))
    });
    listening.chain(published).chain(connections).collect()
}

/// What the table cannot say, in a line each.
fn remarks(container: &Value) -> Vec<String> {
    let mode = text(&container["NetworkMode"]);
    let shared = match mode.strip_prefix("container:") {
        Some(id) => Some(format!("shares the network of {}, and these with it", short_id(id))),
        None => {
            (mode == "host").then(|| "has the host's network: what listens is the host's, and not listed".to_owned())
        }
    };
    let truncated = (container["Truncated"] == true).then(|| "has more sockets than are listed".to_owned());
    let error = container["Error"].as_str().map(|error| format!("its sockets are not known: {error}"));
    let name = text(&container["Name"]);
    shared.into_iter().chain(truncated).chain(error).map(|remark| format!("{name}: {remark}\n")).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::table;

    #[test]
    fn in_one_table() {
        let container = json!({
            "Id": "0123", "Name": "web", "Isolation": "hyperv", "NetworkMode": "bridge",
            "Listening": [
                { "Protocol": "tcp", "Ip": "::", "Port": 80, "Pid": 7, "Process": "httpd" },
                { "Protocol": "udp", "Ip": "127.0.0.11", "Port": 40000, "Pid": null, "Process": null },
            ],
            "Published": [
                { "Protocol": "tcp", "HostIp": "0.0.0.0", "HostPort": 8080, "Ip": "10.1.0.2", "Port": 80, "Listening": true },
                { "Protocol": "tcp", "HostIp": "::", "HostPort": 8081, "Ip": "10.1.0.2", "Port": 81, "Listening": false },
            ],
            "Connections": [
                { "Protocol": "tcp", "Direction": "in", "Ip": "10.1.0.2", "Port": 80, "PeerIp": "10.1.0.1",
                  "PeerPort": 50000, "Pid": 7, "Process": "httpd" },
                { "Protocol": "tcp", "Direction": "out", "Ip": "10.1.0.2", "Port": 40001, "PeerIp": "2606:4700::1",
                  "PeerPort": 443, "Pid": 9, "Process": "wget" },
            ],
            "Truncated": false, "Error": null,
        });
        let expected = "\
CONTAINER   PROTO     INSIDE             STATE                       OUTSIDE              PROCESS
web         tcp       [::]:80            listening                                        httpd (7)
web         udp       127.0.0.11:40000   listening
web         tcp       10.1.0.2:80        published                   0.0.0.0:8080
web         tcp       10.1.0.2:81        published, nobody listens   [::]:8081
web         tcp       10.1.0.2:80        connected from              10.1.0.1:50000       httpd (7)
web         tcp       10.1.0.2:40001     connected to                [2606:4700::1]:443   wget (9)
";
        assert_eq!(table::render(&HEADINGS, &rows(&container)).unwrap(), expected);
        assert!(remarks(&container).is_empty());
    }

    #[test]
    fn what_is_not_listed_is_said() {
        let of = |mode: &str, truncated: bool, error: Value| {
            remarks(&json!({ "Name": "web", "NetworkMode": mode, "Truncated": truncated, "Error": error })).concat()
        };
        assert_eq!(
            of("host", false, Value::Null),
            "web: has the host's network: what listens is the host's, and not listed\n"
        );
        assert_eq!(
            of("container:0123456789abcdef", true, json!("no answer")),
            "web: shares the network of 0123456789ab, and these with it\nweb: has more sockets than are listed\n\
             web: its sockets are not known: no answer\n"
        );
    }
}
