//! `casemate port`.

use casemate_client::{Client, path};
use serde_json::Value;

use crate::cli::PortArgs;
use crate::natural;
use crate::ports::{address, number, split_protocol};
use crate::report::CliError;

pub(crate) async fn run(client: &Client, args: &PortArgs) -> Result<(), CliError> {
    let container: Value = client.get(path(&["containers", &args.container, "json"])).send().await?.json().await?;
    let lines = mappings(&container["NetworkSettings"]["Ports"], args)?;
    super::print(&lines.iter().map(|line| format!("{line}\n")).collect::<String>())
}

/// Of one port its addresses outside, otherwise all that is published.
fn mappings(ports: &Value, args: &PortArgs) -> Result<Vec<String>, CliError> {
    let outside = |bindings: &Value| -> Vec<String> {
        let text = |binding: &Value, name: &str| binding[name].as_str().unwrap_or_default().to_owned();
        let all = bindings.as_array().into_iter().flatten();
        all.map(|binding| address(&text(binding, "HostIp"), &text(binding, "HostPort"))).collect()
    };
    let mut lines = match &args.port {
        Some(asked) => {
            let (port, protocol) = split_protocol(asked);
            number(port).map_err(|reason| CliError::Usage(format!("invalid port ({port}): {reason}")))?;
            outside(&ports[format!("{port}/{protocol}")])
        }
        None => {
            let all = ports.as_object().into_iter().flatten();
            all.flat_map(|(port, bindings)| outside(bindings).into_iter().map(move |to| format!("{port} -> {to}")))
                .collect()
        }
    };
    if let (Some(asked), true) = (&args.port, lines.is_empty()) {
        return Err(CliError::Usage(format!("No public port '{asked}' published for {}", args.container)));
    }
    lines.sort_by(|one, other| natural::compare(one, other));
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use casemate_model::chain;
    use serde_json::json;

    use super::*;

    fn of(port: Option<&str>) -> Result<Vec<String>, String> {
        let ports = json!({
            "80/tcp": [{ "HostIp": "0.0.0.0", "HostPort": "8080" }, { "HostIp": "::", "HostPort": "8080" }],
            "443/tcp": null,
            "53/udp": [{ "HostIp": "127.0.0.1", "HostPort": "5353" }],
            "9/tcp": [{ "HostIp": "0.0.0.0", "HostPort": "49153" }],
        });
        let args = PortArgs { container: "web".to_owned(), port: port.map(str::to_owned) };
        mappings(&ports, &args).map_err(|error| chain(&error))
    }

    #[test]
    fn as_docker_port() {
        let all =
            ["9/tcp -> 0.0.0.0:49153", "53/udp -> 127.0.0.1:5353", "80/tcp -> 0.0.0.0:8080", "80/tcp -> [::]:8080"];
        assert_eq!(of(None).unwrap(), all);
        assert_eq!(of(Some("80")).unwrap(), ["0.0.0.0:8080", "[::]:8080"]);
        assert_eq!(of(Some("53/UDP")).unwrap(), ["127.0.0.1:5353"]);
        for (port, error) in [
            ("443", "No public port '443' published for web"),
            ("80/udp", "No public port '80/udp' published for web"),
            ("x", "invalid port (x): strconv.ParseUint: parsing \"x\": invalid syntax"),
            ("65536/udp", "invalid port (65536): strconv.ParseUint: parsing \"65536\": value out of range"),
        ] {
            assert_eq!(of(Some(port)).unwrap_err(), error);
        }
    }
}
