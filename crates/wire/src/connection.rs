//! Many streams over one byte pipe, with flow control for each.
//!
//! The multiplexer is yamux. One task drives a connection; it ends when the
//! pipe does, when the other side breaks the protocol, or when the side that
//! opens streams has dropped its last [`Opener`]. How it ended is kept for
//! whoever asks with [`Opener::lost`].
//!
//! What is held is bounded on both sides: a stream that nobody reads holds at
//! most its window of bytes, the windows of one connection together
//! [`MAX_WINDOWS`], and the sender of a stream waits while its window is full.
//! The multiplexer keeps each frame apart, though: a peer that sends single
//! bytes makes a byte cost some sixty (16.5 MiB for a window). Only streams that
//! this side has opened and does not read count.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::poll_fn;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt, TokioAsyncReadCompatExt};
use yamux::{ConnectionError, Mode};

/// Streams that may be open at once: an exec has up to four (input, two
/// outputs, one waiter), so this allows some sixty execs side by side.
const MAX_STREAMS: usize = 256;

/// What all streams of a connection may have buffered together, in bytes: the
/// least that yamux allows for that many streams.
pub const MAX_WINDOWS: usize = MAX_STREAMS * 256 * 1024;

/// Turns of the task in which a connection that is to be closed has nothing
/// left to send. The multiplexer looks at its streams a few at a time, and may
/// need more than one turn to have seen them all.
const QUIET_TURNS: u32 = 4;

/// How long an answerer that has said goodbye waits for the other side to go.
/// A caller whose writes fail while the last answers are on their way would not
/// read them any more.
const LINGER: Duration = Duration::from_secs(1);

/// Of the streams, how many this side opens at most; the rest is room for
/// those that are closed here and not yet over there.
const MAX_OPENED: usize = MAX_STREAMS * 3 / 4;

/// Which side of the connection this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Opens streams.
    Caller,
    /// Answers them.
    Answerer,
}

/// How a connection ended.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Lost {
    #[error("connection closed")]
    Closed,
    #[error("connection lost")]
    Io(#[source] Arc<io::Error>),
    #[error("the other side broke the stream protocol")]
    Protocol(#[source] Arc<ConnectionError>),
}

/// Opens streams to the other side. Clones share the connection.
#[derive(Clone, Debug)]
pub struct Opener {
    requests: mpsc::Sender<oneshot::Sender<yamux::Stream>>,
    places: Arc<Semaphore>,
    lost: watch::Receiver<Option<Lost>>,
}

/// Streams that the other side opens. For an [`Side::Answerer`], dropping it
/// closes the connection, once what its streams wrote has been sent.
#[derive(Debug)]
pub struct Incoming {
    streams: mpsc::Receiver<yamux::Stream>,
    lost: watch::Receiver<Option<Lost>>,
    _open: oneshot::Sender<()>,
}

/// One stream. Shutting it down ends what this side writes; reading goes on.
/// Dropping it gives up both directions.
#[derive(Debug)]
pub struct Stream {
    inner: Compat<yamux::Stream>,
    _place: Option<OwnedSemaphorePermit>,
}

/// Starts to multiplex `io`, which has been through [`crate::hello`]. The
/// task runs on the current `LocalSet`.
pub fn multiplex<T>(io: T, side: Side) -> (Opener, Incoming)
where
    T: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let mut config = yamux::Config::default();
    config.set_max_num_streams(MAX_STREAMS).set_max_connection_receive_window(Some(MAX_WINDOWS));
    let mode = match side {
        Side::Caller => Mode::Client,
        Side::Answerer => Mode::Server,
    };
    let pipe = Pipe(Rc::new(RefCell::new(io)));
    let connection = yamux::Connection::new(pipe.clone().compat(), config, mode);
    let (requests, open_requests) = mpsc::channel(16);
    let (accepted, streams) = mpsc::channel(MAX_STREAMS);
    let (lost_sender, lost) = watch::channel(None);
    let (open, dropped) = oneshot::channel();
    let driver = Driver { connection, open_requests, opening: None, accepted, dropped, side, closing: Closing::No };
    tokio::task::spawn_local(async move {
        let reason = driver.run().await;
        if side == Side::Answerer {
            // Until then the pipe takes what the other side still writes.
            let _ = tokio::time::timeout(LINGER, drained(pipe)).await;
        }
        lost_sender.send_replace(Some(reason));
    });
    let places = Arc::new(Semaphore::new(MAX_OPENED));
    (Opener { requests, places, lost: lost.clone() }, Incoming { streams, lost, _open: open })
}

impl Opener {
    /// Opens a stream; waits while too many are open.
    pub async fn open(&self) -> Result<Stream, Lost> {
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| Lost::Closed)?;
        let (sender, receiver) = oneshot::channel();
        if self.requests.send(sender).await.is_err() {
            return Err(self.lost().await);
        }
        match receiver.await {
            Ok(stream) => Ok(Stream { inner: stream.compat(), _place: Some(place) }),
            Err(_) => Err(self.lost().await),
        }
    }

    /// Waits for the connection's end.
    pub async fn lost(&self) -> Lost {
        wait_lost(self.lost.clone()).await
    }
}

impl Incoming {
    /// The next stream, or `None` at the connection's end.
    pub async fn next(&mut self) -> Option<Stream> {
        self.streams.recv().await.map(|stream| Stream { inner: stream.compat(), _place: None })
    }

    /// Waits for the connection's end.
    pub async fn lost(&self) -> Lost {
        wait_lost(self.lost.clone()).await
    }

    /// Closes the connection and waits until all that was written is sent.
    pub async fn close(self) -> Lost {
        let lost = self.lost.clone();
        drop(self);
        wait_lost(lost).await
    }
}

/// The byte pipe, beyond its multiplexer's life.
struct Pipe<T>(Rc<RefCell<T>>);

impl<T> Clone for Pipe<T> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Pipe<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Pipe<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_shutdown(cx)
    }
}

/// Reads and forgets, until the other side has closed.
async fn drained<T: AsyncRead + Unpin>(mut pipe: Pipe<T>) {
    let mut chunk = [0; 4096];
    while let Ok(1..) = pipe.read(&mut chunk).await {}
}

async fn wait_lost(mut lost: watch::Receiver<Option<Lost>>) -> Lost {
    match lost.wait_for(Option::is_some).await {
        Ok(reason) => reason.clone().unwrap_or(Lost::Closed),
        Err(_) => Lost::Closed,
    }
}

struct Driver<T> {
    connection: yamux::Connection<T>,
    open_requests: mpsc::Receiver<oneshot::Sender<yamux::Stream>>,
    opening: Option<oneshot::Sender<yamux::Stream>>,
    accepted: mpsc::Sender<yamux::Stream>,
    dropped: oneshot::Receiver<()>,
    side: Side,
    closing: Closing,
}

/// What is still to do before an answerer's connection is closed: the streams'
/// last frames are taken over in the turn after the one that wrote them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closing {
    No,
    /// So many turns with nothing left to do.
    After(u32),
}

impl<T: futures::AsyncRead + futures::AsyncWrite + Unpin> Driver<T> {
    async fn run(mut self) -> Lost {
        let reason = poll_fn(|context| self.poll(context)).await;
        // The streams' own ends are told by yamux; what is left is to flush.
        let _ = poll_fn(|context| self.connection.poll_close(context)).await;
        reason
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Lost> {
        if self.side == Side::Answerer
            && self.closing == Closing::No
            && Pin::new(&mut self.dropped).poll(context).is_ready()
        {
            self.closing = Closing::After(QUIET_TURNS);
        }
        loop {
            if self.opening.is_none() {
                match self.open_requests.poll_recv(context) {
                    Poll::Ready(Some(request)) => self.opening = Some(request),
                    // Nobody is left who could open a stream or read one.
                    Poll::Ready(None) if self.side == Side::Caller => return Poll::Ready(Lost::Closed),
                    Poll::Ready(None) | Poll::Pending => {}
                }
            }
            if self.opening.is_some() {
                match self.connection.poll_new_outbound(context) {
                    Poll::Ready(Ok(stream)) => {
                        if let Some(request) = self.opening.take() {
                            // A caller that gave up drops the stream.
                            let _ = request.send(stream);
                        }
                        continue;
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(reason_of(error)),
                    Poll::Pending => {}
                }
            }
            let next = match (self.connection.poll_next_inbound(context), self.closing) {
                (Poll::Ready(next), _) => next,
                (Poll::Pending, Closing::No) => return Poll::Pending,
                (Poll::Pending, Closing::After(0)) => return Poll::Ready(Lost::Closed),
                (Poll::Pending, Closing::After(turns)) => {
                    self.closing = Closing::After(turns - 1);
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
            };
            match next {
                // Nobody accepts any more, or the queue is full of streams that
                // nobody took: dropping the stream resets it.
                Some(Ok(stream)) => drop(self.accepted.try_send(stream)),
                Some(Err(error)) => return Poll::Ready(reason_of(error)),
                None => return Poll::Ready(Lost::Closed),
            }
        }
    }
}

fn reason_of(error: ConnectionError) -> Lost {
    match error {
        ConnectionError::Closed => Lost::Closed,
        ConnectionError::Io(error) => Lost::Io(Arc::new(error)),
        other => Lost::Protocol(Arc::new(other)),
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
