//! `casemate inspect`: what the daemon says, in full.

use std::process::ExitCode;

use casemate_client::{Client, ClientError, path};
use serde_json::Value;

use crate::cli::InspectArgs;
use crate::report::{CliError, print_error};
use crate::template;

pub(crate) async fn run(client: &Client, args: &InspectArgs) -> Result<ExitCode, CliError> {
    show(&args.containers, args.format.as_deref(), async |name| {
        client.get(path(&["containers", name, "json"])).send().await?.json().await
    })
    .await
}

/// Prints what is found of each; one that is not there does not keep the others
/// from being shown.
pub(super) async fn show(
    names: &[String],
    format: Option<&str>,
    ask: impl AsyncFn(&str) -> Result<Value, ClientError>,
) -> Result<ExitCode, CliError> {
    let mut found: Vec<Value> = Vec::new();
    let mut failed = false;
    for name in names {
        match ask(name).await {
            Ok(value) => found.push(value),
            Err(error @ ClientError::Refused(_)) => {
                print_error(&error.into());
                failed = true;
            }
            Err(error) => return Err(error.into()),
        }
    }
    let text = match format {
        Some("json") => format!("{}\n", Value::Array(found)),
        Some(format) => found
            .iter()
            .map(|value| Ok(template::render(format, value)? + "\n"))
            .collect::<Result<String, CliError>>()?,
        None => format!("{:#}\n", Value::Array(found)),
    };
    super::print(&text)?;
    if failed { Err(CliError::Some) } else { Ok(ExitCode::SUCCESS) }
}
