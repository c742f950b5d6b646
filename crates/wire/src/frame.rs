//! One message: its length in bytes (32 bits, little endian), then JSON.

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The largest message: Linux itself refuses a command line and environment
/// over 2 MiB (`ARG_MAX`), and a seccomp program is at most 32 KiB.
pub const MAX_MESSAGE: usize = 4 << 20;

/// Read in pieces of this size, so that an announced length costs no memory
/// before its bytes are there.
const PIECE: usize = 64 << 10;

#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("connection lost")]
    Io(#[source] io::Error),
    #[error("message of {length} bytes: the limit is {limit}")]
    TooLong { length: usize, limit: usize },
    #[error("malformed message")]
    Malformed(#[source] serde_json::Error),
}

/// A message as it is sent.
pub(crate) fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, message).map_err(FrameError::Malformed)?;
    let length = bytes.len() - 4;
    if length > MAX_MESSAGE {
        return Err(FrameError::TooLong { length, limit: MAX_MESSAGE });
    }
    bytes[..4].copy_from_slice(&(length as u32).to_le_bytes());
    Ok(bytes)
}

pub async fn write<T: Serialize>(io: &mut (impl AsyncWrite + Unpin), message: &T) -> Result<(), FrameError> {
    let bytes = encode(message)?;
    io.write_all(&bytes).await.map_err(FrameError::Io)?;
    io.flush().await.map_err(FrameError::Io)
}

pub async fn read<T: DeserializeOwned>(io: &mut (impl AsyncRead + Unpin)) -> Result<T, FrameError> {
    read_up_to(io, MAX_MESSAGE).await
}

/// Reads a message that has at most `limit` bytes, where less than
/// [`MAX_MESSAGE`] will do.
pub async fn read_up_to<T: DeserializeOwned>(io: &mut (impl AsyncRead + Unpin), limit: usize) -> Result<T, FrameError> {
    let length = io.read_u32_le().await.map_err(FrameError::Io)? as usize;
    if length > limit {
        return Err(FrameError::TooLong { length, limit });
    }
    let mut bytes = Vec::with_capacity(length.min(PIECE));
    while bytes.len() < length {
        let start = bytes.len();
        bytes.resize(length.min(start + PIECE), 0);
        io.read_exact(&mut bytes[start..]).await.map_err(FrameError::Io)?;
    }
    serde_json::from_slice(&bytes).map_err(FrameError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Request;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    #[test]
    fn a_length_over_the_limit_is_refused_before_its_bytes() {
        let bytes = ((MAX_MESSAGE + 1) as u32).to_le_bytes();
        let error = block_on(read::<Request>(&mut &bytes[..])).unwrap_err();
        assert!(matches!(error, FrameError::TooLong { length, limit: MAX_MESSAGE } if length == MAX_MESSAGE + 1));
    }

    #[test]
    fn a_truncated_message_is_an_error() {
        let mut bytes = Vec::new();
        block_on(write(&mut bytes, &Request::Start)).unwrap();
        for end in 0..bytes.len() {
            assert!(matches!(block_on(read::<Request>(&mut &bytes[..end])), Err(FrameError::Io(_))), "{end}");
        }
        assert!(matches!(block_on(read::<Request>(&mut &bytes[..])), Ok(Request::Start)));
    }

    #[test]
    fn unknown_requests_and_fields_are_malformed() {
        for json in [r#"{"explode":{}}"#, r#"{"signal":{"process":"init","signal":9,"also":1}}"#, "[", ""] {
            let mut bytes = (json.len() as u32).to_le_bytes().to_vec();
            bytes.extend_from_slice(json.as_bytes());
            assert!(matches!(block_on(read::<Request>(&mut &bytes[..])), Err(FrameError::Malformed(_))), "{json}");
        }
    }
}
