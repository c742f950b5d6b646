//! `casemate rmi`.

use std::process::ExitCode;

use casemate_engine::Engine;

use crate::cli::RmiArgs;
use crate::report::{CliError, print_error};

pub(crate) fn run(engine: &Engine, args: &RmiArgs) -> Result<ExitCode, CliError> {
    // Read once; a container that is made meanwhile holds its layers itself.
    let containers = engine.containers()?;
    let mut failed = false;
    for image in &args.images {
        let in_use = |layer: &casemate_model::Digest| containers.iter().any(|c| c.layers.contains(layer));
        match engine.images().remove(image, args.force, &in_use) {
            Ok(removed) => {
                let mut text = String::new();
                removed.untagged.iter().for_each(|name| text.push_str(&format!("Untagged: {name}\n")));
                removed.deleted.iter().for_each(|id| text.push_str(&format!("Deleted: {id}\n")));
                super::print(&text)?;
            }
            Err(error) => {
                print_error(&error.into());
                failed = true;
            }
        }
    }
    if failed { Err(CliError::Some) } else { Ok(ExitCode::SUCCESS) }
}
