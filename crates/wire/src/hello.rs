//! Version negotiation: the first eight bytes each side sends.
//!
//! `"CMW\0"`, then the oldest and the newest version the sender speaks, two
//! bytes each, little endian. Both sides then speak the newest common one.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

const MAGIC: [u8; 4] = *b"CMW\0";
const OLDEST: u16 = 1;
const NEWEST: u16 = 1;

#[derive(Debug, thiserror::Error)]
pub enum HelloError {
    #[error("connection lost before the version was agreed on")]
    Io(#[source] io::Error),
    #[error("the other side does not speak this protocol: it began with {0:02x?}")]
    NotTheProtocol([u8; 4]),
    #[error("no common version: the other side speaks {oldest} to {newest}, this one {OLDEST} to {NEWEST}")]
    NoCommonVersion { oldest: u16, newest: u16 },
}

/// Exchanges greetings and returns the version to speak.
pub async fn exchange<T: AsyncRead + AsyncWrite + Unpin>(io: &mut T) -> Result<u16, HelloError> {
    let mut ours = [0; 8];
    ours[..4].copy_from_slice(&MAGIC);
    ours[4..6].copy_from_slice(&OLDEST.to_le_bytes());
    ours[6..].copy_from_slice(&NEWEST.to_le_bytes());
    io.write_all(&ours).await.map_err(HelloError::Io)?;
    io.flush().await.map_err(HelloError::Io)?;

    let mut theirs = [0; 8];
    io.read_exact(&mut theirs).await.map_err(HelloError::Io)?;
    agree(theirs)
}

fn agree(theirs: [u8; 8]) -> Result<u16, HelloError> {
    let [a, b, c, d, oldest_low, oldest_high, newest_low, newest_high] = theirs;
    if [a, b, c, d] != MAGIC {
        return Err(HelloError::NotTheProtocol([a, b, c, d]));
    }
    let oldest = u16::from_le_bytes([oldest_low, oldest_high]);
    let newest = u16::from_le_bytes([newest_low, newest_high]);
    let common = newest.min(NEWEST);
    if oldest <= newest && common >= oldest.max(OLDEST) {
        Ok(common)
    } else {
        Err(HelloError::NoCommonVersion { oldest, newest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn greeting(oldest: u16, newest: u16) -> [u8; 8] {
        let mut bytes = *b"CMW\0....";
        bytes[4..6].copy_from_slice(&oldest.to_le_bytes());
        bytes[6..].copy_from_slice(&newest.to_le_bytes());
        bytes
    }

    #[test]
    fn the_newest_common_version_is_spoken() {
        assert_eq!(agree(greeting(1, 1)).unwrap(), 1);
        assert_eq!(agree(greeting(0, 9)).unwrap(), 1);
        assert!(matches!(agree(greeting(2, 9)), Err(HelloError::NoCommonVersion { oldest: 2, newest: 9 })));
        assert!(matches!(agree(greeting(3, 1)), Err(HelloError::NoCommonVersion { .. })));
        assert!(matches!(agree(*b"GET / HT"), Err(HelloError::NotTheProtocol(_))));
    }
}
