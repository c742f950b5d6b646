//! `casemate rmi`.

use std::process::ExitCode;

use casemate_client::Client;
use serde_json::Value;

use crate::cli::RmiArgs;
use crate::report::CliError;

pub(crate) async fn run(client: &Client, args: &RmiArgs) -> Result<ExitCode, CliError> {
    let forgiving = if args.force { super::Forgiving::WhatIsNotThere } else { super::Forgiving::Nothing };
    super::each(&args.images, forgiving, async |image| {
        let call = client.delete(super::pull::image_path(image, None));
        let call = if args.force { call.query("force", 1) } else { call };
        let removed: Vec<Value> = call.send().await?.json().await?;
        let line = |entry: &Value| match (entry["Untagged"].as_str(), entry["Deleted"].as_str()) {
            (Some(name), _) => format!("Untagged: {name}\n"),
            (None, id) => format!("Deleted: {}\n", id.unwrap_or_default()),
        };
        Ok(removed.iter().map(line).collect())
    })
    .await
}
