//! `casemate create`, and what `run` has in common with it.

use std::io::IsTerminal;

use casemate_client::{Client, ClientError, path};
use casemate_model::TerminalSize;
use serde_json::{Map, Value, json};

use super::pull::{Pull, pull};
use crate::cli::CreateArgs;
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
    if args.pull == "always" {
        pull(client, &wanted).await?;
    }
    let body = body(args, image, attached)?;
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
    Ok(json!({
        "Image": image,
        "Cmd": command,
        "Entrypoint": args.entrypoint.as_ref().map(|word| [word]),
        "Env": env(&args.env)?,
        "Labels": labels(&args.label),
        "WorkingDir": args.workdir,
        "User": args.user,
        "Hostname": args.hostname,
        "Tty": args.tty,
        "OpenStdin": args.interactive,
        "StdinOnce": attached.stdin,
        "StopSignal": args.stop_signal,
        "StopTimeout": args.stop_timeout,
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
        },
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

fn labels(entries: &[String]) -> Map<String, Value> {
    let label = |entry: &String| {
        let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
        (name.to_owned(), value.into())
    };
    entries.iter().map(label).collect()
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
