//! Archives that come as the body of a request.

use std::io::{self, Read};

use casemate_engine::{Piece, Pieces, paced};
use casemate_image::{Compression, SIGNATURE, decompress};
use http_body_util::BodyExt;
use hyper::body::{Bytes, Incoming};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// What is decompressed at once.
const CHUNK: usize = 64 << 10;

/// A body as a reader for a thread, and what that leaves of it. Takes it as it
/// comes, on the current `LocalSet`.
pub(crate) fn reader(body: Incoming) -> (Pieces, Rest) {
    let (pieces, rest) = receive(body);
    (Pieces::new(Bytes::new(), pieces), rest)
}

/// What is left of a body when nobody reads its pieces any more.
#[derive(Debug)]
pub(crate) struct Rest(JoinHandle<()>);

impl Rest {
    /// Reads all of it, so that a client learns why its archive is not wanted: it
    /// looks for an answer when it has written, and a connection that is closed
    /// with bytes unread is reset, with the answer.
    pub(crate) async fn discard(self) {
        // It only ends.
        let _ = self.0.await;
    }
}

fn receive(mut body: Incoming) -> (mpsc::Receiver<Piece>, Rest) {
    let (pieces, received) = Pieces::channel();
    let rest = tokio::task::spawn_local(async move {
        while let Some(frame) = body.frame().await {
            let piece = match frame.map(|frame| frame.into_data()) {
                Ok(Ok(bytes)) => Ok(bytes),
                // Trailers.
                Ok(Err(_)) => continue,
                Err(error) => Err(io::Error::other(error)),
            };
            if pieces.send(piece).await.is_err() {
                discard(body).await;
                return;
            }
        }
    });
    (received, Rest(rest))
}

/// The same for a body that nobody has begun to read.
pub(crate) async fn discard(mut body: Incoming) {
    while let Some(Ok(_)) = body.frame().await {}
}

/// What is in a body behind the compression it came in, as it comes.
#[derive(Debug)]
pub(crate) struct Plain {
    /// Read to find out what it is.
    start: Bytes,
    pieces: mpsc::Receiver<Piece>,
    rest: Rest,
}

impl Plain {
    pub(crate) async fn of(body: Incoming) -> io::Result<Self> {
        let (mut received, rest) = receive(body);
        let mut start = Vec::new();
        while start.len() < SIGNATURE {
            match received.recv().await {
                Some(piece) => start.extend_from_slice(&piece?),
                None => break,
            }
        }
        let compression = Compression::detect(&start);
        let start = Bytes::from(start);
        if compression == Compression::None {
            return Ok(Self { start, pieces: received, rest });
        }
        let (plain, pieces) = Pieces::channel();
        paced::spawn(move || {
            let compressed = Pieces::new(start, received);
            if let Err(error) = inflate(compressed, &plain) {
                // Who is gone does not need it.
                let _ = plain.blocking_send(Err(error));
            }
        })
        .await;
        Ok(Self { start: Bytes::new(), pieces, rest })
    }

    /// See [`Rest::discard`].
    pub(crate) async fn discard(self) {
        drop(self.pieces);
        self.rest.discard().await;
    }

    /// The next piece, or none at the end.
    pub(crate) async fn next(&mut self) -> Option<Piece> {
        if !self.start.is_empty() {
            return Some(Ok(std::mem::take(&mut self.start)));
        }
        self.pieces.recv().await
    }
}

fn inflate(compressed: Pieces, plain: &mpsc::Sender<Piece>) -> io::Result<()> {
    let (_, mut stream) = decompress(compressed).map_err(io::Error::other)?;
    let mut chunk = vec![0; CHUNK];
    loop {
        match stream.read(&mut chunk)? {
            0 => return Ok(()),
            length if plain.blocking_send(Ok(Bytes::copy_from_slice(&chunk[..length]))).is_err() => return Ok(()),
            _ => {}
        }
    }
}
