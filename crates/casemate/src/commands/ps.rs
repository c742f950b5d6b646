//! `casemate ps`.

use casemate_client::{Client, path};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cli::PsArgs;
use crate::filters;
use crate::human;
use crate::listing::{List, ListFormat};
use crate::ports;
use crate::report::CliError;
use crate::table::ellipsis;

/// What Docker shows of a command.
const COMMAND_LENGTH: usize = 20;

pub(crate) async fn run(client: &Client, args: &PsArgs) -> Result<(), CliError> {
    let call = client.get(path(&["containers", "json"])).query("all", u8::from(args.all));
    let containers: Vec<Value> = filters::apply(&args.filter, call).send().await?.json().await?;
    let list = List {
        headings: json!({
            "ID": "CONTAINER ID", "Image": "IMAGE", "Command": "COMMAND", "CreatedAt": "CREATED AT",
            "RunningFor": "CREATED", "State": "STATE", "Status": "STATUS", "Isolation": "ISOLATION", "Ports": "PORTS",
            "Networks": "NETWORKS", "Names": "NAMES",
        }),
        columns: "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Isolation}}\t{{.Ports}}\t{{.Names}}",
    };
    let format = if args.quiet { &ListFormat::Lines("{{.ID}}".to_owned()) } else { &args.format };
    let entries: Vec<Value> = containers.iter().map(|container| entry(container, args.no_trunc)).collect();
    list.print(format, &entries)
}

fn entry(container: &Value, whole: bool) -> Value {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (id, command) = (text(&container["Id"]), text(&container["Command"]));
    let created = Timestamp::from_second(container["Created"].as_i64().unwrap_or(0)).unwrap_or_default();
    let names = container["Names"].as_array().into_iter().flatten();
    let names: Vec<&str> = names.filter_map(Value::as_str).map(|name| name.trim_start_matches('/')).collect();
    let networks = container["NetworkSettings"]["Networks"].as_object().into_iter().flatten();
    let networks: Vec<&str> = networks.map(|(name, _)| name.as_str()).collect();
    json!({
        "ID": if whole { &id } else { human::short_id(&id) },
        "Image": text(&container["Image"]),
        "Command": format!("\"{}\"", if whole { command } else { ellipsis(&command, COMMAND_LENGTH) }),
        "CreatedAt": created.to_string(),
        "RunningFor": format!("{} ago", human::since(created)),
        "State": text(&container["State"]),
        "Status": text(&container["Status"]),
        "Isolation": text(&container["HostConfig"]["Annotations"]["isolation"]),
        "Ports": ports::summary(&container["Ports"]),
        "Networks": networks.join(","),
        "Names": names.join(","),
    })
}
