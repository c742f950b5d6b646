//! The other side of a connection, played from bytes.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// In what pieces the bytes arrive. Each piece comes when all else is at rest.
#[derive(Clone, Copy, Debug)]
pub enum Pieces {
    /// All at once.
    Whole,
    /// This many bytes each.
    Of(usize),
    /// The greeting, then yamux's frames.
    Frames,
}

#[derive(Clone, Copy, Debug)]
pub struct Manners {
    pub pieces: Pieces,
    /// Reads nothing, so that whoever writes waits, until it is gone.
    pub deaf: bool,
    /// Goes on reading after its last byte, until it is gone.
    pub lingers: bool,
}

/// Longer than all pieces take together, shorter than [`crate::FOREVER`].
const GONE_AFTER: Duration = Duration::from_secs(3600);

/// What happened to a [`Peer`], for whoever gave it away.
#[derive(Debug, Default)]
pub struct Trace {
    polls: Cell<usize>,
    dropped: Cell<bool>,
}

impl Trace {
    pub fn was_dropped(&self) -> bool {
        self.dropped.get()
    }
}

#[derive(Debug)]
pub struct Peer {
    bytes: Vec<u8>,
    position: usize,
    /// The end of the piece that is there.
    arrived: usize,
    next: Option<Pin<Box<Sleep>>>,
    gone: Pin<Box<Sleep>>,
    is_gone: bool,
    writer: Option<Waker>,
    manners: Manners,
    trace: Rc<Trace>,
}

impl Peer {
    pub fn new(bytes: &[u8], manners: Manners) -> (Self, Rc<Trace>) {
        let trace = Rc::new(Trace::default());
        let peer = Self {
            bytes: bytes.to_vec(),
            position: 0,
            arrived: 0,
            next: None,
            gone: Box::pin(tokio::time::sleep(GONE_AFTER)),
            is_gone: false,
            writer: None,
            manners,
            trace: Rc::clone(&trace),
        };
        (peer, trace)
    }

    /// Panics if this is asked more often than the bytes there are explain.
    fn count(&self) {
        let polls = self.trace.polls.get() + 1;
        self.trace.polls.set(polls);
        let limit = 10_000 + 200 * self.bytes.len();
        assert!(polls <= limit, "{polls} polls for {} bytes", self.bytes.len());
    }

    fn poll_gone(&mut self, context: &mut Context<'_>) -> bool {
        if !self.is_gone && self.gone.as_mut().poll(context).is_ready() {
            self.leave();
        }
        self.is_gone
    }

    fn leave(&mut self) {
        self.is_gone = true;
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
    }

    /// The length of the piece that begins here.
    fn piece(&self) -> usize {
        let rest = &self.bytes[self.position..];
        let length = match self.manners.pieces {
            Pieces::Whole => rest.len(),
            Pieces::Of(length) => length,
            Pieces::Frames if self.position == 0 => 8,
            Pieces::Frames => frame_length(rest),
        };
        length.clamp(1, rest.len().max(1))
    }
}

/// The length of the yamux frame that begins here: a header of 12 bytes, the
/// second of which is zero for data, the last four the data's length then.
pub fn frame_length(bytes: &[u8]) -> usize {
    match bytes.first_chunk() {
        Some(&[_, 0, _, _, _, _, _, _, a, b, c, d]) => 12 + u32::from_be_bytes([a, b, c, d]) as usize,
        _ => 12,
    }
}

impl AsyncRead for Peer {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.count();
        if self.poll_gone(context) {
            return Poll::Ready(Ok(()));
        }
        if self.position == self.arrived {
            let rest = || Box::pin(tokio::time::sleep(Duration::from_millis(1)));
            if self.next.get_or_insert_with(rest).as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            self.next = None;
            if self.position == self.bytes.len() {
                if !self.manners.lingers {
                    self.leave();
                }
                return Poll::Ready(Ok(()));
            }
            self.arrived = self.position + self.piece();
        }
        let end = self.arrived.min(self.position + buf.remaining());
        buf.put_slice(&self.bytes[self.position..end]);
        self.position = end;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Peer {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.count();
        if self.poll_gone(context) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        // A greeting fits into every pipe.
        if self.manners.deaf && self.position > 0 {
            self.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.count();
        let gone = self.poll_gone(context);
        Poll::Ready(if gone { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) })
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.count();
        self.leave();
        Poll::Ready(Ok(()))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.trace.dropped.set(true);
    }
}
