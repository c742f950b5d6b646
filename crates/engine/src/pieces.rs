//! Bytes that come to the daemon's one thread and are read in another.

use std::io::{self, Read};

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;

/// Pieces that may wait for whoever takes them.
const BACKLOG: usize = 4;

/// What is read at once.
const CHUNK: usize = 64 << 10;

pub type Piece = io::Result<bytes::Bytes>;

/// A reader for a thread.
#[derive(Debug)]
pub struct Pieces {
    pieces: mpsc::Receiver<Piece>,
    current: bytes::Bytes,
}

impl Pieces {
    /// With where to write them; their end is the sender's.
    pub fn channel() -> (mpsc::Sender<Piece>, mpsc::Receiver<Piece>) {
        mpsc::channel(BACKLOG)
    }

    /// What begins with these bytes and goes on with the pieces.
    pub fn new(start: bytes::Bytes, pieces: mpsc::Receiver<Piece>) -> Self {
        Self { pieces, current: start }
    }

    /// All that this reader has, which is kept until it has ended. On a `LocalSet`.
    pub(crate) fn of(mut reader: impl AsyncRead + Unpin + 'static) -> Self {
        let (sender, pieces) = Self::channel();
        tokio::task::spawn_local(async move {
            let mut chunk = vec![0; CHUNK];
            loop {
                let piece = match reader.read(&mut chunk).await {
                    Ok(0) => return,
                    Ok(length) => Ok(bytes::Bytes::copy_from_slice(&chunk[..length])),
                    Err(error) => Err(error),
                };
                let failed = piece.is_err();
                if sender.send(piece).await.is_err() || failed {
                    return;
                }
            }
        });
        Self::new(bytes::Bytes::new(), pieces)
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.current = piece?,
                None => return Ok(0),
            }
        }
        let length = self.current.len().min(buffer.len());
        buffer[..length].copy_from_slice(&self.current.split_to(length));
        Ok(length)
    }
}
