//! Bytes of no known length whose end is told, in either direction of a stream:
//! pieces, each with its length (32 bits, little endian) before it, and a length
//! of zero at the end. What ends without one was broken off.
//!
//! The answerer says at last how it went, as a message: after the end of what it
//! sends, and, of what it is sent, as soon as it knows.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use casemate_model::Failure;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use crate::client::{CallError, refused};
use crate::connection::Stream;
use crate::files::Unpacking;
use crate::frame::{self, FrameError};
use crate::message::Response;

/// What is sent as one piece, at most.
const PIECE: usize = 64 << 10;

const HEADER: usize = size_of::<u32>();
const END: [u8; HEADER] = [0; HEADER];

/// Bytes from the answerer. What it ends with is checked: an error has a
/// [`Failure`] in it. Dropped, it gives the call up.
pub struct Download(Incoming);

enum Incoming {
    Header { stream: Stream, header: [u8; HEADER], filled: usize },
    Piece { stream: Stream, left: u32 },
    Verdict(Pin<Box<dyn Future<Output = Result<(), CallError>>>>),
    Ended,
}

impl std::fmt::Debug for Download {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match &self.0 {
            Incoming::Header { .. } | Incoming::Piece { .. } => "Download(open)",
            Incoming::Verdict(_) => "Download(complete)",
            Incoming::Ended => "Download(ended)",
        })
    }
}

impl Download {
    pub(crate) fn new(stream: Stream) -> Self {
        Self(Incoming::new(stream))
    }
}

impl Incoming {
    fn new(stream: Stream) -> Self {
        Self::Header { stream, header: END, filled: 0 }
    }
}

impl AsyncRead for Download {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            match &mut self.0 {
                Incoming::Header { stream, header, filled } => {
                    let mut rest = ReadBuf::new(&mut header[*filled..]);
                    let read = ready!(Pin::new(stream).poll_read(cx, &mut rest));
                    match (read, rest.filled().len()) {
                        (Ok(()), length @ 1..) => *filled += length,
                        (Ok(()), 0) => return self.fail(io::ErrorKind::UnexpectedEof.into()),
                        (Err(error), _) => return self.fail(error),
                    }
                    if *filled == HEADER {
                        let left = u32::from_le_bytes(*header);
                        let Incoming::Header { stream, .. } = std::mem::replace(&mut self.0, Incoming::Ended) else {
                            unreachable!("it is one")
                        };
                        self.0 = match left {
                            0 => Incoming::Verdict(Box::pin(read_verdict(stream))),
                            left => Incoming::Piece { stream, left },
                        };
                    }
                }
                Incoming::Piece { stream, left } => {
                    let wanted = buf.remaining().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    let mut piece = ReadBuf::new(buf.initialize_unfilled_to(wanted));
                    let read = ready!(Pin::new(stream).poll_read(cx, &mut piece));
                    let length = piece.filled().len();
                    match (read, length) {
                        (Ok(()), 1..) => buf.advance(length),
                        (Ok(()), 0) => return self.fail(io::ErrorKind::UnexpectedEof.into()),
                        (Err(error), _) => return self.fail(error),
                    }
                    *left -= length as u32;
                    if *left == 0 {
                        let Incoming::Piece { stream, .. } = std::mem::replace(&mut self.0, Incoming::Ended) else {
                            unreachable!("it is one")
                        };
                        self.0 = Incoming::new(stream);
                    }
                    return Poll::Ready(Ok(()));
                }
                Incoming::Verdict(verdict) => {
                    let verdict = ready!(verdict.as_mut().poll(cx));
                    self.0 = Incoming::Ended;
                    return Poll::Ready(verdict.map_err(|error| io::Error::other(Failure::from(error))));
                }
                Incoming::Ended => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl Download {
    fn fail(&mut self, error: io::Error) -> Poll<io::Result<()>> {
        self.0 = Incoming::Ended;
        Poll::Ready(Err(io::Error::other(Failure::from(CallError::Frame(FrameError::Io(error))))))
    }
}

async fn read_verdict(mut stream: Stream) -> Result<(), CallError> {
    verdict(frame::read(&mut stream).await.map_err(CallError::Frame)?)
}

fn verdict(response: Response) -> Result<(), CallError> {
    match refused(response)? {
        Response::Done => Ok(()),
        _ => Err(CallError::Unexpected),
    }
}

/// Bytes to the answerer. Only [`Upload::finish`] makes them complete.
#[derive(Debug)]
pub struct Upload {
    stream: Stream,
    /// A piece on its way out, and what of it is out.
    piece: Vec<u8>,
    sent: usize,
    /// The beginning of a verdict that came before the end.
    early: Vec<u8>,
    refused: bool,
}

impl Upload {
    pub(crate) fn new(stream: Stream) -> Self {
        Self { stream, piece: Vec::with_capacity(HEADER + PIECE), sent: 0, early: Vec::new(), refused: false }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Whoever does not want more says so, and need not read on.
        let mut early = [0; 512];
        let mut verdict = ReadBuf::new(&mut early);
        if !self.refused && Pin::new(&mut self.stream).poll_read(cx, &mut verdict)?.is_ready() {
            self.refused = true;
            self.early.extend_from_slice(verdict.filled());
        }
        if self.refused {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        while self.sent < self.piece.len() {
            let rest = &self.piece[self.sent..];
            self.sent += ready!(Pin::new(&mut self.stream).poll_write(cx, rest))?;
        }
        self.piece.clear();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }

    /// Says that all was sent, and waits for the answerer to be done with it.
    pub async fn finish(mut self) -> Result<(), CallError> {
        // What cannot be sent was not wanted: the verdict says why.
        if self.flush().await.is_ok() && self.stream.write_all(&END).await.is_ok() {
            let _ = self.stream.flush().await;
        }
        let mut answer = self.early.as_slice().chain(&mut self.stream);
        verdict(frame::read(&mut answer).await.map_err(CallError::Frame)?)
    }
}

impl AsyncWrite for Upload {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_send(cx))?;
        let length = bytes.len().min(PIECE);
        if length > 0 {
            self.piece.extend_from_slice(&(length as u32).to_le_bytes());
            self.piece.extend_from_slice(&bytes[..length]);
            // The piece is taken, whether or not there is room for it yet.
            if let Poll::Ready(Err(error)) = self.poll_send(cx) {
                return Poll::Ready(Err(error));
            }
        }
        Poll::Ready(Ok(length))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Does not make it complete.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

impl Unpacking for Upload {
    async fn finish(self) -> Result<(), Failure> {
        Ok(Self::finish(self).await?)
    }
}

/// Sends all that there is to read, and how it ended. Gives up when the caller
/// has gone.
pub(crate) async fn send(mut bytes: impl AsyncRead + Unpin, stream: Stream) {
    let (mut caller, mut out) = tokio::io::split(stream);
    let mut gone = [0; 1];
    let sending = async {
        let mut piece = vec![0; HEADER + PIECE];
        let outcome = loop {
            let length = match bytes.read(&mut piece[HEADER..]).await {
                Ok(0) => break Ok(()),
                Ok(length) => length,
                Err(error) => break Err(failure_of(error)),
            };
            piece[..HEADER].copy_from_slice(&(length as u32).to_le_bytes());
            out.write_all(&piece[..HEADER + length]).await?;
        };
        out.write_all(&END).await?;
        let verdict = outcome.map_or_else(crate::convert::failed, |()| Response::Done);
        frame::write(&mut out, &verdict).await.map_err(io::Error::other)?;
        out.shutdown().await
    };
    // An error is the caller's going, and so is anything it sends.
    tokio::select! {
        _ = sending => {}
        _ = caller.read(&mut gone) => {}
    }
}

/// Takes all that the caller sends, and says how it went.
pub(crate) async fn receive(mut into: impl Unpacking, mut stream: Stream) {
    let complete = match pour(&mut stream, &mut into).await {
        Poured::All => true,
        // Why that is so is told at the end.
        Poured::Refused => false,
        Poured::BrokenOff => return,
    };
    let outcome = into.finish().await;
    let outcome = match (complete, outcome) {
        (false, Ok(())) => Err(Failure::new(casemate_model::ErrorClass::Internal, "the archive was not taken whole")),
        (_, outcome) => outcome,
    };
    let verdict = outcome.map_or_else(crate::convert::failed, |()| Response::Done);
    if frame::write(&mut stream, &verdict).await.is_ok() {
        let _ = stream.shutdown().await;
    }
}

enum Poured {
    All,
    Refused,
    BrokenOff,
}

async fn pour(stream: &mut Stream, into: &mut (impl AsyncWrite + Unpin)) -> Poured {
    let mut buffer = vec![0; PIECE];
    loop {
        let Ok(mut left) = stream.read_u32_le().await else { return Poured::BrokenOff };
        if left == 0 {
            return Poured::All;
        }
        while left > 0 {
            let wanted = buffer.len().min(left as usize);
            let length = match stream.read(&mut buffer[..wanted]).await {
                Ok(length @ 1..) => length,
                _ => return Poured::BrokenOff,
            };
            if into.write_all(&buffer[..length]).await.is_err() {
                return Poured::Refused;
            }
            left -= length as u32;
        }
    }
}

/// What a failed read means.
pub(crate) fn failure_of(error: io::Error) -> Failure {
    match error.downcast::<Failure>() {
        Ok(failure) => failure,
        Err(error) => Failure::new(casemate_model::ErrorClass::Internal, format!("cannot read the files: {error}")),
    }
}

#[cfg(test)]
mod tests;
