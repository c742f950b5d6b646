//! `casemate network create`.

use casemate_client::{Client, path};
use serde_json::{Value, json};

use super::ipam;
use crate::cli::{CreateNetworkArgs, Refused};
use crate::commands::create::pairs;
use crate::report::{self, CliError};

pub(super) async fn run(client: &Client, args: &CreateNetworkArgs) -> Result<(), CliError> {
    let body = body(args)?;
    let created: Value = client.post(path(&["networks", "create"])).json(&body).send().await?.json().await?;
    if let Some(warning) = created["Warning"].as_str().filter(|warning| !warning.is_empty()) {
        report::warn(warning);
    }
    super::print(&format!("{}\n", created["Id"].as_str().unwrap_or_default()))
}

fn body(args: &CreateNetworkArgs) -> Result<Value, CliError> {
    let CreateNetworkArgs {
        driver,
        opt,
        subnet,
        ip_range,
        gateway,
        aux_address,
        internal,
        attachable,
        ipv4,
        ipv6,
        ipam_driver,
        ipam_opt,
        label,
        refused,
        network,
    } = args;
    check(refused)?;
    let mut body = json!({
        "Name": network,
        "Driver": driver,
        "Options": pairs(opt),
        "Labels": pairs(label),
        "Internal": internal,
        "Attachable": attachable,
        "IPAM": {
            "Driver": ipam_driver,
            "Options": pairs(ipam_opt),
            "Config": ipam::pools(subnet, ip_range, gateway, aux_address)?,
        },
    });
    // What is not said is the daemon's to choose.
    for (name, enabled) in [("EnableIPv4", ipv4), ("EnableIPv6", ipv6)] {
        if let Some(enabled) = enabled {
            body[name] = json!(enabled);
        }
    }
    Ok(body)
}

fn check(refused: &Refused) -> Result<(), CliError> {
    let Refused { ingress, scope, config_only, config_from } = refused;
    let flags = [
        ("--ingress", *ingress),
        ("--scope", scope.is_some()),
        ("--config-only", *config_only),
        ("--config-from", config_from.is_some()),
    ];
    match flags.iter().find(|(_, given)| *given) {
        Some((flag, _)) => Err(CliError::Usage(format!("{flag} is for swarm, which Casemate does not have"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use casemate_model::chain;
    use clap::FromArgMatches;

    use super::*;
    use crate::cli::{Cli, Command, NetworkCommand};

    fn sent(args: &[&str]) -> Result<Value, String> {
        let words = ["casemate", "network", "create"].iter().chain(args);
        let matches = Cli::grammar().try_get_matches_from(words).map_err(|error| error.to_string())?;
        let Command::Network(NetworkCommand::Create(args)) = Cli::from_arg_matches(&matches).unwrap().command else {
            panic!("another command: {args:?}");
        };
        body(&args).map_err(|error| chain(&error))
    }

    #[test]
    fn a_name_alone() {
        let ipam = json!({ "Driver": "default", "Options": {}, "Config": [] });
        let expected = json!({
            "Name": "web", "Driver": "bridge", "Options": {}, "Labels": {}, "Internal": false, "Attachable": false,
            "IPAM": ipam,
        });
        assert_eq!(sent(&["web"]).unwrap(), expected);
    }

    #[test]
    fn all_that_can_be_said() {
        let flags = "-d sealed -o com.docker.network.bridge.name=br0 -o x --subnet 10.0.0.0/8,fd00::/64 --gateway \
                     10.0.0.1 --gateway fd00::1 --ip-range 10.1.0.0/16 --aux-address host=10.0.0.9 --internal \
                     --attachable --ipv4=false --ipv6 --ipam-driver other --ipam-opt a=b=c --label k=v --label l web";
        let expected = json!({
            "Name": "web", "Driver": "sealed", "Internal": true, "Attachable": true, "EnableIPv4": false,
            "EnableIPv6": true, "Options": { "com.docker.network.bridge.name": "br0", "x": "" },
            "Labels": { "k": "v", "l": "" },
            "IPAM": {
                "Driver": "other", "Options": { "a": "b=c" },
                "Config": [
                    {
                        "Subnet": "10.0.0.0/8", "Gateway": "10.0.0.1", "IPRange": "10.1.0.0/16",
                        "AuxiliaryAddresses": { "host": "10.0.0.9" },
                    },
                    { "Subnet": "fd00::/64", "Gateway": "fd00::1" },
                ],
            },
        });
        assert_eq!(sent(&flags.split_whitespace().collect::<Vec<_>>()).unwrap(), expected);
    }

    #[test]
    fn what_cannot_be_had_is_refused() {
        for (flags, expected) in [
            (&["--ingress"][..], "--ingress is for swarm, which Casemate does not have"),
            (&["--scope", "swarm"], "--scope is for swarm, which Casemate does not have"),
            (&["--config-only"], "--config-only is for swarm, which Casemate does not have"),
            (&["--config-from", "x"], "--config-from is for swarm, which Casemate does not have"),
            (&["--gateway", "10.0.0.1"], "every ip-range or gateway must have a corresponding subnet"),
        ] {
            assert_eq!(sent(&[flags, &["web"]].concat()).unwrap_err(), expected);
        }
        for (label, expected) in [("", "invalid label '': empty name"), (" a b=c", "label 'a b' contains whitespaces")]
        {
            let error = sent(&["--label", label, "web"]).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
