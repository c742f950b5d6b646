//! `casemate rm`.

use std::process::ExitCode;

use casemate_engine::Engine;

use crate::cli::RmArgs;
use crate::report::CliError;

pub(crate) async fn run(engine: &Engine, args: &RmArgs) -> Result<ExitCode, CliError> {
    super::each(&args.containers, |name| rm(engine, name, args.force)).await
}

async fn rm(engine: &Engine, name: String, force: bool) -> Result<(), CliError> {
    let container = engine.find(&name)?;
    Ok(engine.remove(&container, force).await?)
}
