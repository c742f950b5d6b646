//! `casemate create`, and what `run` has in common with it.

use std::io::IsTerminal;

use casemate_client::{Client, ClientError, path};
use casemate_model::TerminalSize;
use serde_json::{Map, Value, json};

use super::pull::{Pull, pull};
use crate::attachment;
use crate::cli::CreateArgs;
use crate::ports::{Exposed, Published};
use crate::report::{self, CliError};
use crate::terminal;

pub(crate) async fn run(client: &Client, args: &CreateArgs) -> Result<(), CliError> {
    let id = create(client, args, Attached { stdin: args.interactive }).await?;
    super::print(&format!("{id}\n"))
}

/// What the client that creates it is attached to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attached {
    /// Its end is the container's end of input.
    pub(crate) stdin: bool,
}

/// The container's id. Its image is pulled if it is missing, as in Docker.
pub(crate) async fn create(client: &Client, args: &CreateArgs, attached: Attached) -> Result<String, CliError> {
    let image = args.image_and_command.first().map(String::as_str).unwrap_or_default();
    let wanted = Pull { name: image, platform: args.platform.as_deref(), all_tags: false, out: report::Out::Stderr };
    // What is asked for wrongly is not worth a download.
    let body = body(args, image, attached)?;
    if args.pull == "always" {
        pull(client, &wanted).await?;
    }
    match ask(client, args, &body).await {
        Err(ClientError::Refused(refusal)) if is_missing_image(&refusal) => {
            eprintln!("Unable to find image '{}' locally", super::pull::with_tag(image));
            if args.pull == "never" {
                return Err(ClientError::from(refusal).into());
            }
            pull(client, &wanted).await?;
            Ok(ask(client, args, &body).await?)
        }
        created => Ok(created?),
    }
}

/// The only 404 that `create` knows is of an image.
fn is_missing_image(refusal: &casemate_client::Refusal) -> bool {
    refusal.is_not_found() && refusal.message.contains("No such image")
}

async fn ask(client: &Client, args: &CreateArgs, body: &Value) -> Result<String, ClientError> {
    let mut call = client.post(path(&["containers", "create"])).json(body);
    if let Some(name) = args.name.as_deref().filter(|name| !name.is_empty()) {
        call = call.query("name", name);
    }
    if let Some(platform) = &args.platform {
        call = call.query("platform", platform);
    }
    let created: Value = call.send().await?.json().await?;
    for warning in created["Warnings"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        report::warn(warning);
    }
    Ok(created["Id"].as_str().unwrap_or_default().to_owned())
}

fn body(args: &CreateArgs, image: &str, attached: Attached) -> Result<Value, CliError> {
    let TerminalSize { rows, columns } = args.tty.then(terminal::size).flatten().unwrap_or_default();
    let command = args.image_and_command.get(1..).unwrap_or_default();
    let network = &args.network;
    Ok(json!({
        "Image": image,
        "Cmd": command,
        "Entrypoint": args.entrypoint.as_ref().map(|word| [word]),
        "Env": env(&args.env)?,
        "Labels": pairs(&args.label),
        "WorkingDir": args.workdir,
        "User": args.user,
        "Hostname": args.hostname,
        "Tty": args.tty,
        "OpenStdin": args.interactive,
        "StdinOnce": attached.stdin,
        "StopSignal": args.stop_signal,
        "StopTimeout": args.stop_timeout,
        "ExposedPorts": Exposed::ports(&network.expose, &network.publish),
        "HostConfig": {
            "Isolation": args.isolation.as_deref().unwrap_or_default(),
            "AutoRemove": args.rm,
            "ReadonlyRootfs": args.read_only,
            "Memory": args.memory.map_or(0, |memory| memory.0),
            "NanoCpus": args.cpus.map_or(0, |cpus| cpus.0),
            "Init": args.init.then_some(true),
            "Privileged": args.privileged,
            "CapAdd": args.cap_add,
            "CapDrop": args.cap_drop,
            "RestartPolicy": restart(args.restart.as_deref().unwrap_or_default())?,
            "ConsoleSize": [rows, columns],
            "NetworkMode": attachment::network_mode(network),
            "PortBindings": Published::bindings(&network.publish),
            "PublishAllPorts": network.publish_all,
            "Links": network.link,
        },
        "NetworkingConfig": { "EndpointsConfig": attachment::endpoints(network)? },
    }))
}

/// `NAME` alone takes the value that the variable has here; without one, Docker
/// leaves it out.
pub(crate) fn env(entries: &[String]) -> Result<Vec<String>, CliError> {
    let entry = |entry: &String| match entry.split_once('=') {
        Some(("", _)) => Some(Err(CliError::Usage(format!("invalid environment variable: {entry}")))),
        None if entry.is_empty() => Some(Err(CliError::Usage("invalid environment variable: ".to_owned()))),
        Some(_) => Some(Ok(entry.clone())),
        None => std::env::var(entry).ok().map(|value| Ok(format!("{entry}={value}"))),
    };
    entries.iter().filter_map(entry).collect()
}

/// `NAME=VALUE` each; the last of a name is the one that counts.
pub(super) fn pairs(entries: &[String]) -> Map<String, Value> {
    let pair = |entry: &String| {
        let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
        (name.to_owned(), value.into())
    };
    entries.iter().map(pair).collect()
}

/// `on-failure:3`; what the name means is for the daemon to know.
fn restart(policy: &str) -> Result<Value, CliError> {
    let (name, retries) = policy.split_once(':').unwrap_or((policy, "0"));
    let invalid =
        || CliError::Usage("invalid restart policy format: maximum retry count must be an integer".to_owned());
    let retries: u32 = retries.parse().map_err(|_| invalid())?;
    Ok(json!({ "Name": name, "MaximumRetryCount": retries }))
}

/// Docker's CLI refuses what could not work.
pub(crate) fn check_terminal(tty: bool, stdin: bool) -> Result<(), CliError> {
    match tty && stdin && !std::io::stdin().is_terminal() {
        true => Err(CliError::NotATerminal),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use casemate_model::chain;
    use clap::FromArgMatches;

    use super::*;
    use crate::cli::{Cli, Command};

    /// What of the request is about networks; the flags stand for `create`'s.
    fn sent(flags: &str) -> Result<Value, String> {
        let words = ["casemate", "create"].into_iter().chain(flags.split_whitespace()).chain(["busybox"]);
        let matches = Cli::grammar().try_get_matches_from(words).map_err(|error| error.to_string())?;
        let Command::Create(args) = Cli::from_arg_matches(&matches).unwrap().command else {
            panic!("another command: {flags}");
        };
        let body = body(&args, "busybox", Attached { stdin: false }).map_err(|error| chain(&error))?;
        let host = &body["HostConfig"];
        Ok(json!({
            "ExposedPorts": body["ExposedPorts"], "PortBindings": host["PortBindings"],
            "PublishAllPorts": host["PublishAllPorts"], "Links": host["Links"], "NetworkMode": host["NetworkMode"],
            "EndpointsConfig": body["NetworkingConfig"]["EndpointsConfig"],
        }))
    }

    /// The request of these networks that says nothing of ports.
    fn networks(mode: &str, links: &[&str], endpoints: Value) -> Value {
        json!({
            "ExposedPorts": {}, "PortBindings": {}, "PublishAllPorts": false, "Links": links, "NetworkMode": mode,
            "EndpointsConfig": endpoints,
        })
    }

    #[test]
    fn ports_are_exposed_and_bound() {
        let mut expected = networks("default", &[], json!({ "default": {} }));
        expected["ExposedPorts"] = json!({ "80/tcp": {}, "53/udp": {}, "9/tcp": {}, "10/tcp": {} });
        expected["PortBindings"] = json!({
            "80/tcp": [{ "HostIp": "", "HostPort": "8080" }, { "HostIp": "::1", "HostPort": "" }],
            "53/udp": [{ "HostIp": "127.0.0.1", "HostPort": "53" }],
        });
        expected["PublishAllPorts"] = true.into();
        let flags = "-p 8080:80 --publish [::1]::80 -p 127.0.0.1:53:53/udp --expose 9-10 --expose 80/tcp -P";
        assert_eq!(sent(flags).unwrap(), expected);
    }

    #[test]
    fn networks_are_joined() {
        // What Docker's CLI 28.2.2 sends for each, without what says nothing.
        for (flags, expected) in [
            ("", networks("default", &[], json!({ "default": {} }))),
            ("--net web", networks("web", &[], json!({}))),
            ("--network name=web", networks("web", &[], json!({}))),
            ("--network none", networks("none", &[], json!({}))),
            ("--network container:box", networks("container:box", &[], json!({}))),
            ("--network web --network db", networks("web", &[], json!({ "web": {}, "db": {} }))),
            ("--link db:d", networks("default", &["db:d"], json!({ "default": {} }))),
            ("--network bridge --link db", networks("bridge", &["db"], json!({}))),
            (
                "--network web --link db --net-alias a --network-alias b --network name=db,alias=c",
                networks(
                    "web",
                    &["db"],
                    json!({ "web": { "Aliases": ["a", "b"], "Links": ["db"] }, "db": { "Aliases": ["c"] } }),
                ),
            ),
            (
                "--ip 10.0.0.2 --ip6 fd00::2 --mac-address 02:42:0a:00:00:02 --link-local-ip 169.254.1.1",
                networks(
                    "default",
                    &[],
                    json!({
                        "default": {
                            "IPAMConfig": {
                                "IPv4Address": "10.0.0.2", "IPv6Address": "fd00::2", "LinkLocalIPs": ["169.254.1.1"],
                            },
                            "MacAddress": "02:42:0a:00:00:02",
                        },
                    }),
                ),
            ),
            (
                "--network name=web,driver-opt=a=b,gw-priority=5 --ip 10.0.0.2",
                networks(
                    "web",
                    &[],
                    json!({
                        "web": {
                            "IPAMConfig": { "IPv4Address": "10.0.0.2" }, "DriverOpts": { "a": "b" }, "GwPriority": 5,
                        },
                    }),
                ),
            ),
        ] {
            assert_eq!(sent(flags).unwrap(), expected, "{flags}");
        }
    }

    #[test]
    fn what_does_not_go_together_is_refused_in_dockers_words() {
        let both = |flag: &str, option: &str| {
            format!("conflicting options: cannot specify both {flag} and per-network {option}")
        };
        for (flags, expected) in [
            ("--network a --network a", "network \"a\" is specified multiple times".to_owned()),
            (
                "--network a --network host",
                "conflicting options: cannot attach both user-defined and non-user-defined network-modes".to_owned(),
            ),
            ("--network-alias x", "network-scoped aliases are only supported for user-defined networks".to_owned()),
            (
                "--network name=host,alias=x",
                "network-scoped aliases are only supported for user-defined networks".to_owned(),
            ),
            ("--network=", "no name set for network".to_owned()),
            ("--network name=a,alias=b --network-alias x", both("--network-alias", "alias")),
            ("--network name=a,ip=10.0.0.2 --ip 10.0.0.3", both("--ip", "IPv4 address")),
            ("--network name=a,ip6=::1 --ip6 ::2", both("--ip6", "IPv6 address")),
            (
                "--network name=a,mac-address=02:00:00:00:00:01 --mac-address 02:00:00:00:00:01",
                both("--mac-address", "MAC address"),
            ),
            (
                "--network name=a,link-local-ip=fe80::1 --link-local-ip fe80::1",
                both("--link-local-ip", "link-local IP addresses"),
            ),
        ] {
            assert_eq!(sent(flags).unwrap_err(), expected, "{flags}");
        }
        for (flags, expected) in [
            ("-p x", "invalid value 'x' for '--publish <[[ADDRESS:]PORT:]PORT[/PROTOCOL]>': invalid containerPort: x"),
            ("--mac-address x", "x is not a valid mac address"),
            ("--link a:b:c", "bad format for links: a:b:c"),
        ] {
            let error = sent(flags).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
