//! `casemate stop`.

use std::process::ExitCode;

use casemate_engine::{Engine, EngineError};
use casemate_model::Failure;

use crate::cli::StopArgs;
use crate::report::CliError;

/// Docker's patience with a container that set none, in seconds.
const DEFAULT_TIMEOUT: i64 = 10;

pub(crate) async fn run(engine: &Engine, args: &StopArgs) -> Result<ExitCode, CliError> {
    super::each(&args.containers, |name| stop(engine, name, args)).await
}

async fn stop(engine: &Engine, name: String, args: &StopArgs) -> Result<(), CliError> {
    let container = engine.find(&name)?;
    let keeper = match container.keeper().await {
        Ok(keeper) => keeper,
        // Stopping what stands still is no error in Docker.
        Err(EngineError::NotRunning { .. }) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let own = container.record.stop_timeout_s.and_then(|seconds| i64::try_from(seconds).ok());
    let seconds = args.timeout.or(own).unwrap_or(DEFAULT_TIMEOUT);
    let timeout_ms = u64::try_from(seconds).ok().map(|seconds| seconds.saturating_mul(1000));
    let signal = args.signal.unwrap_or(container.stop_signal);
    let stopped = keeper.client.stop(signal, timeout_ms).await;
    stopped.map_err(|error| CliError::Refused {
        doing: format!("cannot stop container: {name}"),
        source: Failure::from(error),
    })
}
