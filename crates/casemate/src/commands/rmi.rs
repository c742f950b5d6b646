//! `casemate rmi`.

use std::process::ExitCode;

use casemate_engine::Engine;
use casemate_model::{Classify, ErrorClass};

use crate::cli::RmiArgs;
use crate::report::{CliError, print_error};

pub(crate) fn run(engine: &Engine, args: &RmiArgs) -> Result<ExitCode, CliError> {
    let mut failed = false;
    for image in &args.images {
        match engine.remove_image(image, args.force) {
            Ok(removed) => {
                let mut text = String::new();
                removed.untagged.iter().for_each(|name| text.push_str(&format!("Untagged: {name}\n")));
                removed.deleted.iter().for_each(|id| text.push_str(&format!("Deleted: {id}\n")));
                super::print(&text)?;
            }
            Err(error) => {
                // Docker's client says so and goes on: it is as it should be.
                failed |= !(args.force && error.class() == ErrorClass::NotFound);
                print_error(&error.into());
            }
        }
    }
    if failed { Err(CliError::Some) } else { Ok(ExitCode::SUCCESS) }
}
