//! `casemate ps`.

use std::process::ExitCode;

use casemate_engine::{Container, Engine, Listing};
use serde_json::json;

use crate::cli::PsArgs;
use crate::report::{CliError, warn};
use crate::table::ellipsis;
use casemate_api::human;

/// What Docker shows of a command.
const COMMAND_LENGTH: usize = 20;

pub(crate) fn run(engine: &Engine, args: &PsArgs) -> Result<ExitCode, CliError> {
    let Listing { mut containers, damaged } = engine.list()?;
    damaged.iter().for_each(warn);
    containers.retain(|container| args.all || container.state.is_running());
    let id = |container: &Container| match args.no_trunc {
        true => container.id.to_string(),
        false => container.id.short().to_owned(),
    };
    if args.quiet {
        let ids: String = containers.iter().map(|container| id(container) + "\n").collect();
        super::print(&ids)?;
    } else if args.format.json() {
        let lines: String = containers.iter().map(|container| line(container, id(container))).collect();
        super::print(&lines)?;
    } else {
        let rows: Vec<Vec<String>> = containers.iter().map(|container| row(container, id(container), args)).collect();
        super::print_table(&["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "ISOLATION", "NAMES"], &rows)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn row(container: &Container, id: String, args: &PsArgs) -> Vec<String> {
    let command = container.record.args.join(" ");
    let command = if args.no_trunc { command } else { ellipsis(&command, COMMAND_LENGTH) };
    vec![
        id,
        container.record.image.name.clone(),
        format!("\"{command}\""),
        format!("{} ago", human::since(&container.record.created)),
        status(container),
        container.isolation.to_string(),
        container.name.to_string(),
    ]
}

fn line(container: &Container, id: String) -> String {
    let object = json!({
        "ID": id,
        "Image": container.record.image.name,
        "Command": format!("\"{}\"", container.record.args.join(" ")),
        "CreatedAt": container.record.created,
        "RunningFor": format!("{} ago", human::since(&container.record.created)),
        "State": container.state.status,
        "Status": status(container),
        "Isolation": container.isolation.as_str(),
        "Names": container.name.as_str(),
    });
    format!("{object}\n")
}

/// `Up 3 seconds`, `Exited (0) 2 minutes ago`, `Created`.
fn status(container: &Container) -> String {
    let state = &container.state;
    match (state.status.as_str(), &state.started, &state.finished) {
        ("running", Some(started), _) => format!("Up {}", human::since(started)),
        ("exited", _, Some(finished)) => {
            format!("Exited ({}) {} ago", state.exit_code.unwrap_or(0), human::since(finished))
        }
        _ => "Created".to_owned(),
    }
}
