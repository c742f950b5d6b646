//! What a child of this program tells its parent of work on files, in the form
//! of the wire's own messages.

use casemate_model::Failure;
use tokio::io::AsyncRead;

use crate::client::{CallError, refused};
use crate::convert;
use crate::files::PathStat;
use crate::frame;
use crate::message::Response;

/// The work can be done; of what is read this is what there is to say first.
pub fn begun(stat: Option<PathStat>) -> Vec<u8> {
    encode(&stat.map_or(Response::Done, Into::into))
}

/// The work is over.
pub fn ended(outcome: Result<(), Failure>) -> Vec<u8> {
    encode(&outcome.map_or_else(convert::failed, |()| Response::Done))
}

/// Reads what [`begun`] wrote, or why it did not come to that.
pub async fn read_begun(report: &mut (impl AsyncRead + Unpin)) -> Result<Option<PathStat>, CallError> {
    match refused(frame::read(report).await.map_err(CallError::Frame)?)? {
        Response::Done => Ok(None),
        stat => stat.try_into().map(Some),
    }
}

/// Reads what [`ended`] wrote.
pub async fn read_ended(report: &mut (impl AsyncRead + Unpin)) -> Result<(), CallError> {
    verdict(frame::read(report).await.map_err(CallError::Frame)?)
}

pub(crate) fn verdict(response: Response) -> Result<(), CallError> {
    match refused(response)? {
        Response::Done => Ok(()),
        _ => Err(CallError::Unexpected),
    }
}

fn encode(response: &Response) -> Vec<u8> {
    frame::encode(response).expect("its words are about a path, which has its length")
}
