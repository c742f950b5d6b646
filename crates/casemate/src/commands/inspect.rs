//! `casemate inspect`: what the daemon says, in full.

use std::process::ExitCode;

use casemate_client::{Client, path};
use serde_json::Value;

use crate::cli::InspectArgs;
use crate::report::{CliError, print_error};
use crate::template;

pub(crate) async fn run(client: &Client, args: &InspectArgs) -> Result<ExitCode, CliError> {
    let mut found: Vec<Value> = Vec::new();
    let mut failed = false;
    for name in &args.containers {
        match client.get(path(&["containers", name, "json"])).send().await {
            Ok(answer) => found.push(answer.json().await?),
            Err(error) => {
                print_error(&error.into());
                failed = true;
            }
        }
    }
    let text = match &args.format {
        Some(format) => found
            .iter()
            .map(|value| Ok(template::render(format, value)? + "\n"))
            .collect::<Result<String, CliError>>()?,
        None => format!("{:#}\n", Value::Array(found)),
    };
    super::print(&text)?;
    if failed { Err(CliError::Some) } else { Ok(ExitCode::SUCCESS) }
}
