//! `casemate rm`.

use std::process::ExitCode;

use casemate_client::{Client, path};

use crate::cli::RmArgs;
use crate::report::CliError;

pub(crate) async fn run(client: &Client, args: &RmArgs) -> Result<ExitCode, CliError> {
    let forgiving = if args.force { super::Forgiving::WhatIsNotThere } else { super::Forgiving::Nothing };
    super::each(&args.containers, forgiving, async |name| {
        let call = client.delete(path(&["containers", name]));
        if args.force { call.query("force", 1) } else { call }.send().await?;
        Ok(format!("{name}\n"))
    })
    .await
}
