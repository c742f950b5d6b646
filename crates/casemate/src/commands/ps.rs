//! `casemate ps`.

use casemate_client::{Client, path};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cli::PsArgs;
use crate::human;
use crate::report::CliError;
use crate::table::ellipsis;

/// What Docker shows of a command.
const COMMAND_LENGTH: usize = 20;

pub(crate) async fn run(client: &Client, args: &PsArgs) -> Result<(), CliError> {
    let all = u8::from(args.all);
    let containers: Vec<Value> =
        client.get(path(&["containers", "json"])).query("all", all).send().await?.json().await?;
    let rows: Vec<Row> = containers.iter().map(|container| Row::of(container, args.no_trunc)).collect();
    if args.quiet {
        let ids: String = rows.iter().map(|row| format!("{}\n", row.id)).collect();
        return super::print(&ids);
    }
    if args.format.json() {
        let lines: String = rows.iter().map(|row| format!("{}\n", row.json())).collect();
        return super::print(&lines);
    }
    let rows: Vec<Vec<String>> = rows.into_iter().map(|row| row.cells(args.no_trunc)).collect();
    super::print_table(&["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "ISOLATION", "NAMES"], &rows)
}

struct Row {
    id: String,
    image: String,
    command: String,
    created: Timestamp,
    state: String,
    status: String,
    isolation: String,
    names: String,
}

impl Row {
    fn of(container: &Value, whole: bool) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let id = text(&container["Id"]);
        let names = container["Names"].as_array().into_iter().flatten();
        let names: Vec<&str> = names.filter_map(Value::as_str).map(|name| name.trim_start_matches('/')).collect();
        Self {
            id: if whole { id } else { human::short_id(&id).to_owned() },
            image: text(&container["Image"]),
            command: text(&container["Command"]),
            created: Timestamp::from_second(container["Created"].as_i64().unwrap_or(0)).unwrap_or_default(),
            state: text(&container["State"]),
            status: text(&container["Status"]),
            isolation: text(&container["HostConfig"]["Annotations"]["isolation"]),
            names: names.join(","),
        }
    }

    fn age(&self) -> String {
        format!("{} ago", human::since(self.created))
    }

    fn cells(self, whole: bool) -> Vec<String> {
        let age = self.age();
        let command = if whole { self.command } else { ellipsis(&self.command, COMMAND_LENGTH) };
        vec![self.id, self.image, format!("\"{command}\""), age, self.status, self.isolation, self.names]
    }

    fn json(&self) -> Value {
        json!({
            "ID": self.id,
            "Image": self.image,
            "Command": format!("\"{}\"", self.command),
            "CreatedAt": self.created.to_string(),
            "RunningFor": self.age(),
            "State": self.state,
            "Status": self.status,
            "Isolation": self.isolation,
            "Names": self.names,
        })
    }
}
