//! `casemate top`.

use std::process::ExitCode;

use casemate_engine::{Container, Engine};
use casemate_model::{Bytes, Failure};
use jiff::Timestamp;
use serde_json::json;

use crate::cli::TopArgs;
use crate::report::CliError;

pub(crate) async fn run(engine: &Engine, args: &TopArgs) -> Result<ExitCode, CliError> {
    let container = engine.find(&args.container)?;
    if args.host { host(&container, args) } else { inside(&container, args).await }?;
    Ok(ExitCode::SUCCESS)
}

async fn inside(container: &Container, args: &TopArgs) -> Result<(), CliError> {
    let keeper = container.keeper().await?;
    let processes = keeper.client.processes().await.map_err(|error| CliError::Refused {
        doing: format!("cannot list the processes of {}", container.name),
        source: Failure::from(error),
    })?;
    if args.format.json() {
        let lines: String = processes
            .iter()
            .map(|p| {
                let line = json!({
                    "PID": p.pid, "PPID": p.parent, "UID": p.uid, "CpuMs": p.cpu_ms,
                    "Started": p.started, "Command": p.command,
                });
                format!("{line}\n")
            })
            .collect();
        return super::print(&lines);
    }
    let rows: Vec<Vec<String>> = processes
        .iter()
        .map(|p| {
            vec![
                p.uid.to_string(),
                p.pid.to_string(),
                p.parent.to_string(),
                time_of_day(p.started),
                cpu_time(p.cpu_ms),
                p.command.clone(),
            ]
        })
        .collect();
    super::print_table(&["UID", "PID", "PPID", "STIME", "TIME", "CMD"], &rows)
}

fn host(container: &Container, args: &TopArgs) -> Result<(), CliError> {
    let processes = container.host_processes();
    if args.format.json() {
        let lines: String = processes
            .iter()
            .map(|p| {
                let line = json!({
                    "PID": p.pid, "UID": p.uid, "Role": p.role.as_str(), "CpuMs": p.cpu_ms,
                    "Rss": p.rss, "Pss": p.pss, "Command": p.command,
                });
                format!("{line}\n")
            })
            .collect();
        return super::print(&lines);
    }
    let rows: Vec<Vec<String>> = processes
        .iter()
        .map(|p| {
            vec![
                p.pid.to_string(),
                p.uid.to_string(),
                p.role.as_str().to_owned(),
                cpu_time(p.cpu_ms),
                Bytes(p.rss).to_string(),
                Bytes(p.pss).to_string(),
                p.command.clone(),
            ]
        })
        .collect();
    super::print_table(&["PID", "UID", "ROLE", "TIME", "RSS", "PSS", "CMD"], &rows)
}

fn cpu_time(ms: u64) -> String {
    let seconds = ms / 1000;
    format!("{:02}:{:02}:{:02}.{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60, ms / 10 % 100)
}

fn time_of_day(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    time.map_or_else(|| "?".to_owned(), |time| time.strftime("%H:%M").to_string())
}
