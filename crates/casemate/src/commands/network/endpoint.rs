//! `casemate network connect` and `disconnect`.

use std::collections::BTreeMap;

use casemate_client::{Client, path};
use serde_json::{Value, json};

use crate::attachment::Attachment;
use crate::cli::{ConnectArgs, DisconnectArgs};
use crate::report::CliError;

pub(super) async fn connect(client: &Client, args: ConnectArgs) -> Result<(), CliError> {
    let to = path(&["networks", &args.network, "connect"]);
    client.post(to).json(&body(args)?).send().await?;
    Ok(())
}

pub(super) async fn disconnect(client: &Client, args: &DisconnectArgs) -> Result<(), CliError> {
    let DisconnectArgs { force, network, container } = args;
    let body = json!({ "Container": container, "Force": force });
    client.post(path(&["networks", network, "disconnect"])).json(&body).send().await?;
    Ok(())
}

fn body(args: ConnectArgs) -> Result<Value, CliError> {
    let ConnectArgs { alias, driver_opt, gw_priority, ip, ip6, link, link_local_ip, network, container } = args;
    let attachment = Attachment {
        network,
        aliases: alias,
        links: link,
        ipv4: ip.unwrap_or_default(),
        ipv6: ip6.unwrap_or_default(),
        link_local: link_local_ip,
        mac: String::new(),
        driver_opts: options(&driver_opt)?,
        gw_priority,
    };
    Ok(json!({ "Container": container, "EndpointConfig": attachment.endpoint() }))
}

fn options(entries: &[String]) -> Result<BTreeMap<String, String>, CliError> {
    let option = |entry: &String| match entry.split_once('=').map(|(name, value)| (name.trim(), value.trim())) {
        None | Some(("", _)) => Err(CliError::Usage("invalid key/value pair format in driver options".to_owned())),
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
    };
    entries.iter().map(option).collect()
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches;

    use super::*;
    use crate::cli::{Cli, Command, NetworkCommand};

    fn sent(flags: &str) -> Result<Value, String> {
        let words = ["casemate", "network", "connect"].into_iter().chain(flags.split_whitespace());
        let matches = Cli::grammar().try_get_matches_from(words).map_err(|error| error.to_string())?;
        let Command::Network(NetworkCommand::Connect(args)) = Cli::from_arg_matches(&matches).unwrap().command else {
            panic!("another command: {flags}");
        };
        body(args).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_said_is_sent() {
        assert_eq!(sent("net box").unwrap(), json!({ "Container": "box", "EndpointConfig": {} }));
        let flags = "--alias a,b --alias c --ip 10.0.0.2 --ip6 fd00::2 --link db:d --link web --link-local-ip \
                     169.254.1.1,fe80::1 --driver-opt K=V,k2=a=b --gw-priority -3 net box";
        let endpoint = json!({
            "IPAMConfig": {
                "IPv4Address": "10.0.0.2", "IPv6Address": "fd00::2", "LinkLocalIPs": ["169.254.1.1", "fe80::1"],
            },
            "Aliases": ["a", "b", "c"], "Links": ["db:d", "web"], "DriverOpts": { "K": "V", "k2": "a=b" },
            "GwPriority": -3,
        });
        assert_eq!(sent(flags).unwrap(), json!({ "Container": "box", "EndpointConfig": endpoint }));
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for (flags, expected) in [
            ("--driver-opt x net box", "invalid key/value pair format in driver options"),
            ("--driver-opt =x net box", "invalid key/value pair format in driver options"),
            ("--link a:b:c net box", "bad format for links: a:b:c"),
            ("--gw-priority x net box", "invalid value 'x' for '--gw-priority"),
            ("net", "<CONTAINER>"),
        ] {
            let error = sent(flags).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
