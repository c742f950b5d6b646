//! `casemate kill`.

use std::process::ExitCode;

use casemate_engine::Engine;
use casemate_model::{ErrorClass, Failure, ProcessRef, Signal};

use crate::cli::KillArgs;
use crate::report::CliError;

pub(crate) async fn run(engine: &Engine, args: &KillArgs) -> Result<ExitCode, CliError> {
    super::each(&args.containers, |name| kill(engine, name, args.signal)).await
}

async fn kill(engine: &Engine, name: String, signal: Signal) -> Result<(), CliError> {
    let container = engine.find(&name)?;
    let failed = |source: Failure| CliError::Refused { doing: format!("cannot kill container: {name}"), source };
    let keeper = container.keeper().await.map_err(|error| failed(Failure::from_error(&error)))?;
    keeper.client.signal(&ProcessRef::Init, signal).await.map_err(|error| failed(error.into()))?;
    if signal == Signal::KILL {
        // As in Docker, it is dead when the command returns.
        match keeper.client.wait(&ProcessRef::Init).await.map_err(Failure::from) {
            Err(failure) if failure.class != ErrorClass::Unavailable => return Err(failed(failure)),
            _ => {}
        }
    }
    Ok(())
}
