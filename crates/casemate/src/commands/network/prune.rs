//! `casemate network prune`.

use std::io::{self, Write};

use casemate_client::Client;
use serde_json::Value;

use crate::cli::PruneNetworksArgs;
use crate::filters;
use crate::report::CliError;

/// Docker's, word for word: scripts may look for it.
const WARNING: &str = "WARNING! This will remove all custom networks not used by at least one container.
Are you sure you want to continue? [y/N] ";

pub(super) async fn run(client: &Client, args: &PruneNetworksArgs) -> Result<(), CliError> {
    if !args.force && !is_confirmed()? {
        return Ok(());
    }
    let call = filters::apply(&args.filter, client.post("/networks/prune"));
    let pruned: Value = call.send().await?.json().await?;
    let deleted: Vec<&str> =
        pruned["NetworksDeleted"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if deleted.is_empty() {
        return Ok(());
    }
    super::print(&format!("Deleted Networks:\n{}\n\n", deleted.join("\n")))
}

/// Nothing but a `y` is a yes; the end of input is a no.
fn is_confirmed() -> Result<bool, CliError> {
    super::print(WARNING)?;
    // Its line goes on with what the user types.
    io::stdout().flush().map_err(|source| CliError::Write { what: "standard output".into(), source })?;
    let mut line = String::new();
    let read = io::stdin().read_line(&mut line);
    read.map_err(|source| CliError::Read { what: "standard input".into(), source })?;
    Ok(line.trim().eq_ignore_ascii_case("y"))
}
