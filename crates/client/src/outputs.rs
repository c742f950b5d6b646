//! The outputs of a process as a daemon sends them: bytes as they are from a
//! terminal, otherwise pieces with a header of eight bytes each (moby
//! `stdcopy`).

use std::io;

use casemate_model::OutputStream;
use tokio::io::{AsyncRead, AsyncReadExt};

/// What is read at once.
const CHUNK: usize = 64 << 10;

#[derive(Debug)]
pub struct Outputs<R> {
    reader: R,
    framed: bool,
    /// Whose piece is being read, and how much of it is to come.
    stream: OutputStream,
    left: usize,
    chunk: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Outputs<R> {
    /// What a daemon says of its form depends on its version: whether it comes
    /// from a terminal is for the caller to know.
    pub fn new(reader: R, from_terminal: bool) -> Self {
        Self { reader, framed: !from_terminal, stream: OutputStream::Stdout, left: 0, chunk: vec![0; CHUNK] }
    }

    /// Some bytes of one of the outputs; none at the end of both. A daemon
    /// that ends in the middle of a piece has broken off.
    pub async fn next(&mut self) -> io::Result<Option<(OutputStream, &[u8])>> {
        let most = if self.framed {
            while self.left == 0 {
                let mut header = [0; 8];
                match self.reader.read(&mut header[..1]).await? {
                    0 => return Ok(None),
                    _ => self.reader.read_exact(&mut header[1..]).await?,
                };
                self.stream = match header[0] {
                    // 3 is what the daemon says of itself.
                    2 | 3 => OutputStream::Stderr,
                    0 | 1 => OutputStream::Stdout,
                    other => {
                        return Err(io::Error::new(
                            io::ErrorKind::InvalidData,
                            format!("no output has number {other}"),
                        ));
                    }
                };
                let [.., a, b, c, d] = header;
                self.left = u32::from_be_bytes([a, b, c, d]) as usize;
            }
            self.left.min(CHUNK)
        } else {
            CHUNK
        };
        match self.reader.read(&mut self.chunk[..most]).await? {
            0 if self.framed => Err(io::ErrorKind::UnexpectedEof.into()),
            0 => Ok(None),
            length => {
                self.left = self.left.saturating_sub(length);
                Ok(Some((self.stream, &self.chunk[..length])))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(bytes: &[u8], from_terminal: bool) -> io::Result<Vec<(OutputStream, Vec<u8>)>> {
        let mut outputs = Outputs::new(bytes, from_terminal);
        let mut found = Vec::new();
        while let Some((stream, bytes)) = outputs.next().await? {
            found.push((stream, bytes.to_vec()));
        }
        Ok(found)
    }

    #[tokio::test(flavor = "current_thread")]
    async fn pieces_are_told_apart() {
        let bytes = b"\x01\0\0\0\0\0\0\x02hi\x02\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\x01!";
        let found = all(bytes, false).await.unwrap();
        assert_eq!(found, [(OutputStream::Stdout, b"hi".to_vec()), (OutputStream::Stderr, b"!".to_vec())]);
        assert_eq!(all(bytes, true).await.unwrap(), [(OutputStream::Stdout, bytes.to_vec())]);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn half_a_piece_is_no_end() {
        for broken in [&b"\x01\0\0\0"[..], b"\x01\0\0\0\0\0\0\x02h", b"\x09\0\0\0\0\0\0\x01h"] {
            assert!(all(broken, false).await.is_err(), "{broken:?}");
        }
    }
}
