//! `casemate network ls`.

use casemate_client::Client;
use serde_json::{Value, json};

use crate::cli::ListNetworksArgs;
use crate::filters;
use crate::human;
use crate::listing::{List, ListFormat};
use crate::natural;
use crate::report::CliError;

pub(super) async fn run(client: &Client, args: &ListNetworksArgs) -> Result<(), CliError> {
    let call = filters::apply(&args.filter, client.get("/networks"));
    let networks: Vec<Value> = call.send().await?.json().await?;
    let list = List {
        headings: json!({
            "ID": "NETWORK ID", "Name": "NAME", "Driver": "DRIVER", "Scope": "SCOPE", "IPv4": "IPV4", "IPv6": "IPV6",
            "Internal": "INTERNAL", "Labels": "LABELS", "CreatedAt": "CREATED AT",
        }),
        columns: "{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}",
    };
    let format = match args.format {
        ListFormat::Table if args.quiet => &ListFormat::Lines("{{.ID}}".to_owned()),
        ref format => format,
    };
    list.print(format, &entries(&networks, args.no_trunc))
}

/// By their names.
fn entries(networks: &[Value], whole: bool) -> Vec<Value> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    // In text, as Docker's CLI has them.
    let flag = |value: &Value| value.as_bool().unwrap_or(false).to_string();
    let mut entries: Vec<Value> = networks
        .iter()
        .map(|network| {
            let id = text(&network["Id"]);
            let labels = network["Labels"].as_object().into_iter().flatten();
            let labels: Vec<String> = labels.map(|(name, value)| format!("{name}={}", text(value))).collect();
            json!({
                "ID": if whole { &id } else { human::short_id(&id) },
                "Name": text(&network["Name"]),
                "Driver": text(&network["Driver"]),
                "Scope": text(&network["Scope"]),
                "IPv4": flag(&network["EnableIPv4"]),
                "IPv6": flag(&network["EnableIPv6"]),
                "Internal": flag(&network["Internal"]),
                "Labels": labels.join(","),
                "CreatedAt": text(&network["Created"]),
            })
        })
        .collect();
    entries.sort_by(|one, other| natural::compare(&text(&one["Name"]), &text(&other["Name"])));
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_docker_has_them() {
        let network = |name: &str, labels: Value| {
            json!({
                "Name": name, "Id": "0123456789abcdef", "Created": "2025-06-01T10:00:00Z", "Scope": "local",
                "Driver": "bridge", "EnableIPv4": true, "EnableIPv6": false, "Internal": true, "Labels": labels,
            })
        };
        let networks = [network("web10", json!({ "a": "b", "c": "" })), network("web9", Value::Null)];
        let found = entries(&networks, false);
        assert_eq!(found.iter().map(|entry| &entry["Name"]).collect::<Vec<_>>(), ["web9", "web10"]);
        assert_eq!(
            found[1],
            json!({
                "ID": "0123456789ab", "Name": "web10", "Driver": "bridge", "Scope": "local", "IPv4": "true",
                "IPv6": "false", "Internal": "true", "Labels": "a=b,c=", "CreatedAt": "2025-06-01T10:00:00Z",
            })
        );
        assert_eq!(entries(&networks, true)[0]["ID"], "0123456789abcdef");
    }
}
