//! `casemate top`.

use casemate_client::{Client, path};
use casemate_model::Bytes;
use serde_json::{Map, Value, json};

use crate::cli::TopArgs;
use crate::report::CliError;

pub(crate) async fn run(client: &Client, args: &TopArgs) -> Result<(), CliError> {
    if args.host { host(client, args).await } else { inside(client, args).await }
}

async fn inside(client: &Client, args: &TopArgs) -> Result<(), CliError> {
    let call = client.get(path(&["containers", &args.container, "top"])).query("ps_args", args.ps.join(" "));
    let listed: Value = call.send().await?.json().await?;
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let titles = texts(&listed["Titles"]);
    let rows: Vec<Vec<String>> = listed["Processes"].as_array().into_iter().flatten().map(texts).collect();
    if args.format.json() {
        let line = |row: &Vec<String>| {
            let object: Map<String, Value> =
                titles.iter().cloned().zip(row.iter().map(|cell| cell.as_str().into())).collect();
            format!("{}\n", Value::Object(object))
        };
        return super::print(&rows.iter().map(line).collect::<String>());
    }
    let titles: Vec<&str> = titles.iter().map(String::as_str).collect();
    super::print_table(&titles, &rows)
}

async fn host(client: &Client, args: &TopArgs) -> Result<(), CliError> {
    let inspected: Value = client.get(path(&["containers", &args.container, "json"])).send().await?.json().await?;
    let processes = inspected["Casemate"]["HostProcesses"].as_array().cloned().unwrap_or_default();
    if args.format.json() {
        let line = |process: &Value| {
            let line = json!({
                "PID": process["Pid"], "UID": process["Uid"], "Role": process["Role"], "CpuMs": process["CpuMs"],
                "Rss": process["Rss"], "Pss": process["Pss"], "Command": process["Command"],
            });
            format!("{line}\n")
        };
        return super::print(&processes.iter().map(line).collect::<String>());
    }
    let row = |process: &Value| {
        let text = |name: &str| process[name].as_str().unwrap_or_default().to_owned();
        let number = |name: &str| process[name].as_u64().unwrap_or(0);
        vec![
            number("Pid").to_string(),
            number("Uid").to_string(),
            text("Role"),
            cpu_time(number("CpuMs")),
            Bytes(number("Rss")).to_string(),
            Bytes(number("Pss")).to_string(),
            text("Command"),
        ]
    };
    let rows: Vec<Vec<String>> = processes.iter().map(row).collect();
    super::print_table(&["PID", "UID", "ROLE", "TIME", "RSS", "PSS", "CMD"], &rows)
}

fn cpu_time(ms: u64) -> String {
    let seconds = ms / 1000;
    format!("{:02}:{:02}:{:02}.{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60, ms / 10 % 100)
}
