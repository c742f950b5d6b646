//! `casemate rm`.

use std::process::ExitCode;

use casemate_engine::{Engine, FindError};

use crate::cli::RmArgs;
use crate::report::{CliError, print_error};

pub(crate) async fn run(engine: &Engine, args: &RmArgs) -> Result<ExitCode, CliError> {
    let mut failed = false;
    for name in &args.containers {
        match rm(engine, name, args.force).await {
            Ok(()) => super::print(&format!("{name}\n"))?,
            Err(error) => {
                // Docker's client says so and goes on: it is as it should be.
                failed |= !(args.force && matches!(error, CliError::Find(FindError::NotFound { .. })));
                print_error(&error);
            }
        }
    }
    if failed { Err(CliError::Some) } else { Ok(ExitCode::SUCCESS) }
}

async fn rm(engine: &Engine, name: &str, force: bool) -> Result<(), CliError> {
    match engine.find(name) {
        Err(FindError::Damaged { id, .. }) if force => Ok(engine.remove_damaged(&id).await?),
        container => Ok(engine.remove(&container?, force).await?),
    }
}
