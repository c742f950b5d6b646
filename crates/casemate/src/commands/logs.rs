//! `casemate logs`.

use casemate_client::{Client, Outputs, path};
use serde_json::Value;

use crate::cli::LogsArgs;
use crate::report::CliError;
use crate::session::{Parted, copy_outputs};

pub(crate) async fn run(client: &Client, args: &LogsArgs) -> Result<(), CliError> {
    let container: Value = client.get(path(&["containers", &args.container, "json"])).send().await?.json().await?;
    let id = container["Id"].as_str().unwrap_or_default();
    let call = client.get(path(&["containers", id, "logs"])).query("stdout", 1).query("stderr", 1);
    let call = call.query("follow", u8::from(args.follow)).query("timestamps", u8::from(args.timestamps));
    let call = call.query("details", u8::from(args.details));
    let reader = call.query("tail", tail(&args.tail)?).send().await?.reader();
    match copy_outputs(&mut Outputs::new(reader, container["Config"]["Tty"] == true)).await? {
        // Who reads no more has what he wanted.
        Parted::ByOutput(error) if error.is_broken_pipe() => Ok(()),
        Parted::ByOutput(error) => Err(error.into()),
        Parted::Ended | Parted::ByKeys => Ok(()),
    }
}

/// Docker takes a negative number for all.
fn tail(text: &str) -> Result<&str, CliError> {
    match text {
        "all" => Ok("all"),
        number => match number.parse::<i64>() {
            Ok(0..) => Ok(number),
            Ok(_) => Ok("all"),
            Err(_) => Err(CliError::Usage(format!("invalid number of lines: {number:?}"))),
        },
    }
}
