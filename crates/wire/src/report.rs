//! What a child of this program tells its parent of work on files: messages as
//! on the wire, but of no more kinds than there are. (An agent reads no answers
//! otherwise, and is the smaller for it.)

use casemate_model::Failure;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncRead;

use crate::client::CallError;
use crate::convert;
use crate::files::PathStat;
use crate::frame;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum Report {
    Done,
    Stat { name: String, size: u64, mode: u32, mtime: (i64, u32), link_target: String },
    Failed { class: String, message: String, hint: Option<String> },
}

/// The work can be done; of what is read this is what there is to say first.
pub fn begun(stat: Option<PathStat>) -> Vec<u8> {
    encode(&match stat {
        None => Report::Done,
        Some(PathStat { name, size, mode, mtime, link_target }) => {
            Report::Stat { name, size, mode, mtime, link_target }
        }
    })
}

/// The work is over.
pub fn ended(outcome: Result<(), Failure>) -> Vec<u8> {
    encode(&match outcome {
        Ok(()) => Report::Done,
        Err(Failure { class, message, hint }) => Report::Failed { class: class.name().to_owned(), message, hint },
    })
}

/// Reads what [`begun`] wrote, or why it did not come to that.
pub async fn read_begun(report: &mut (impl AsyncRead + Unpin)) -> Result<Option<PathStat>, CallError> {
    match read(report).await? {
        Report::Stat { name, size, mode, mtime, link_target } => {
            Ok(Some(PathStat { name, size, mode, mtime, link_target }))
        }
        _ => Ok(None),
    }
}

/// Reads what [`ended`] wrote.
pub async fn read_ended(report: &mut (impl AsyncRead + Unpin)) -> Result<(), CallError> {
    match read(report).await? {
        Report::Stat { .. } => Err(CallError::Unexpected),
        _ => Ok(()),
    }
}

async fn read(report: &mut (impl AsyncRead + Unpin)) -> Result<Report, CallError> {
    match frame::read(report).await.map_err(CallError::Frame)? {
        Report::Failed { class, message, hint } => Err(CallError::Refused(convert::failure(&class, message, hint))),
        report => Ok(report),
    }
}

fn encode(report: &Report) -> Vec<u8> {
    frame::encode(report).expect("its words are about a path, which has its length")
}
