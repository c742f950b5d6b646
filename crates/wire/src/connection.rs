//! Many streams over one byte pipe, with flow control for each.
//!
//! The multiplexer is yamux. One task drives a connection; it ends when the
//! pipe does, when the other side breaks the protocol, or when the side that
//! opens streams has dropped its last [`Opener`]. How it ended is kept for
//! whoever asks with [`Opener::lost`].
//!
//! What is held is bounded on both sides, by streams that nobody reads: each
//! holds at most its window ([`WINDOW`]) of bytes that have come, whatever
//! pieces they came in ([`gather`]), and the sender waits while the window is
//! full; what waits to be sent is less. With [`MAX_STREAMS`] streams that is
//! [`MAX_WINDOWS`] and a tenth in each direction, all told; an answer that has
//! begun and does not end may take a window more. The other side cannot open
//! streams where this one is the caller, so there it is the streams that this
//! side has opened that count.
//!
//! Streams have places, so that those of processes never use up what control
//! calls need: see [`Room`].

mod gather;
mod header;
mod held;

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

use gather::Gather;
use held::{Held, Streams};

/// Execs whose streams have room on a connection, beside the container's init.
pub const MAX_EXECS: usize = 64;

/// A process has up to four: input, two outputs, one that waits for its end.
const PROCESS_STREAMS: usize = 4 * (MAX_EXECS + 1);

/// Control calls at once. They are answered in milliseconds, or wait for a
/// container that stops; that many callers who wait for that are plenty.
const CONTROL_STREAMS: usize = 16;

/// Works on a container's files at once.
const FILES_STREAMS: usize = 16;

/// Streams of this side that are closed here and not yet over there.
const CLOSING_STREAMS: usize = 43;

/// What the container asks its resolver comes by one.
const RESOLVER_STREAMS: usize = 1;

const MAX_STREAMS: usize = PROCESS_STREAMS + CONTROL_STREAMS + FILES_STREAMS + RESOLVER_STREAMS + CLOSING_STREAMS;

/// What a stream may have unread, in bytes: the least that yamux allows.
pub const WINDOW: usize = 256 << 10;

/// What all streams of a connection may have unread together, in bytes.
pub const MAX_WINDOWS: usize = MAX_STREAMS * WINDOW;

/// Turns of the task in which a connection that is to be closed has nothing
/// left to send. The multiplexer looks at its streams a few at a time, and may
/// need more than one turn to have seen them all.
const QUIET_TURNS: u32 = 4;

/// How long an answerer that has said goodbye waits for the other side to go.
/// A caller whose writes fail while the last answers are on their way would not
/// read them any more.
const LINGER: Duration = Duration::from_secs(1);

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
    Protocol(#[source] Arc<Violation>),
}

/// What the other side did that it must not.
#[derive(Debug, thiserror::Error)]
pub enum Violation {
    #[error(transparent)]
    Multiplexer(ConnectionError),
    #[error("it opened a stream where it only answers")]
    OpenedStream,
}

/// What a stream is for. Each kind has places of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// One question and its answer: who asks waits for a place, which is free
    /// as soon as another was answered.
    Control,
    /// Lasts as long as a process: if there is no place, there is none. Those
    /// of an exec that was admitted have theirs.
    Process,
    /// Lasts as long as somebody copies; the same.
    Files,
    /// Lasts as long as the container; the same.
    Resolver,
}

/// Why a stream could not be opened.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OpenError {
    #[error("too many streams are open on this connection")]
    Full,
    #[error(transparent)]
    Lost(Lost),
}

/// Opens streams to the other side. Clones share the connection.
#[derive(Clone, Debug)]
pub struct Opener {
    requests: mpsc::Sender<oneshot::Sender<Opened>>,
    control: Arc<Semaphore>,
    process: Arc<Semaphore>,
    files: Arc<Semaphore>,
    resolver: Arc<Semaphore>,
    lost: watch::Receiver<Option<Lost>>,
}

/// Streams that the other side opens. For an [`Side::Answerer`], dropping it
/// closes the connection, once what its streams wrote has been sent.
#[derive(Debug)]
pub struct Incoming {
    streams: mpsc::Receiver<Opened>,
    lost: watch::Receiver<Option<Lost>>,
    _open: oneshot::Sender<()>,
}

/// One stream. Shutting it down ends what this side writes; reading goes on.
/// Dropping it gives up both directions.
#[derive(Debug)]
pub struct Stream {
    inner: Compat<yamux::Stream>,
    held: Held,
}

/// A stream that nobody has taken yet.
#[derive(Debug)]
struct Opened {
    stream: yamux::Stream,
    held: Held,
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
    let held = Streams::default();
    let connection = yamux::Connection::new(Gather::new(pipe.clone(), held.clone()).compat(), config, mode);
    let (requests, open_requests) = mpsc::channel(16);
    let (accepted, streams) = mpsc::channel(MAX_STREAMS);
    let (lost_sender, lost) = watch::channel(None);
    let (open, dropped) = oneshot::channel();
    let driver = Driver {
        connection,
        held: held.clone(),
        open_requests,
        opening: None,
        accepted,
        dropped,
        side,
        closing: Closing::No,
    };
    tokio::task::spawn_local(async move {
        let reason = driver.run().await;
        held.end();
        if side == Side::Answerer {
            // Until then the pipe takes what the other side still writes.
            let _ = tokio::time::timeout(LINGER, drained(pipe)).await;
        }
        lost_sender.send_replace(Some(reason));
    });
    let places = |count| Arc::new(Semaphore::new(count));
    let opener = Opener {
        requests,
        control: places(CONTROL_STREAMS),
        process: places(PROCESS_STREAMS),
        files: places(FILES_STREAMS),
        resolver: places(RESOLVER_STREAMS),
        lost: lost.clone(),
    };
    (opener, Incoming { streams, lost, _open: open })
}

impl Opener {
    pub async fn open(&self, room: Room) -> Result<Stream, OpenError> {
        let place = match room {
            Room::Control => Arc::clone(&self.control).acquire_owned().await.ok(),
            Room::Process => Some(at_once(&self.process)?),
            Room::Files => Some(at_once(&self.files)?),
            Room::Resolver => Some(at_once(&self.resolver)?),
        };
        let (sender, receiver) = oneshot::channel();
        if self.requests.send(sender).await.is_ok()
            && let Ok(opened) = receiver.await
        {
            return Ok(opened.taken(place));
        }
        Err(OpenError::Lost(self.lost().await))
    }

    /// Waits for the connection's end.
    pub async fn lost(&self) -> Lost {
        wait_lost(self.lost.clone()).await
    }
}

fn at_once(places: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, OpenError> {
    Arc::clone(places).try_acquire_owned().map_err(|_| OpenError::Full)
}

impl Incoming {
    /// The next stream, or `None` at the connection's end.
    pub async fn next(&mut self) -> Option<Stream> {
        self.streams.recv().await.map(|opened| opened.taken(None))
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

impl Opened {
    fn taken(self, place: Option<OwnedSemaphorePermit>) -> Stream {
        Stream { inner: self.stream.compat(), held: self.held.at(place) }
    }
}

impl Stream {
    /// Returns when the other side has dropped the stream, also if it has left
    /// something to read. (A stream that is read to its end tells that itself.)
    pub fn given_up(&self) -> impl Future<Output = ()> + use<> {
        self.held.given_up()
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
    held: Streams,
    open_requests: mpsc::Receiver<oneshot::Sender<Opened>>,
    opening: Option<oneshot::Sender<Opened>>,
    accepted: mpsc::Sender<Opened>,
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
        if matches!(reason, Lost::Closed) {
            // The streams' own ends are told by yamux; what is left is to flush.
            // To one that broke the rules there is nothing more to say.
            let _ = poll_fn(|context| self.connection.poll_close(context)).await;
        }
        reason
    }

    fn opened(&self, stream: yamux::Stream) -> Opened {
        let held = self.held.hold(stream.id().val());
        Opened { stream, held }
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
                        let opened = self.opened(stream);
                        if let Some(request) = self.opening.take() {
                            // A caller that gave up drops the stream.
                            let _ = request.send(opened);
                        }
                        continue;
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(reason_of(error)),
                    Poll::Pending => {}
                }
            }
            let next = match (self.connection.poll_next_inbound(context), self.closing) {
                (Poll::Ready(next), _) => next,
                (Poll::Pending, Closing::No) => {
                    self.held.free_places();
                    return Poll::Pending;
                }
                (Poll::Pending, Closing::After(0)) => return Poll::Ready(Lost::Closed),
                (Poll::Pending, Closing::After(turns)) => {
                    self.closing = Closing::After(turns - 1);
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
            };
            match next {
                Some(Ok(_)) if self.side == Side::Caller => {
                    return Poll::Ready(Lost::Protocol(Arc::new(Violation::OpenedStream)));
                }
                Some(Ok(stream)) => {
                    let opened = self.opened(stream);
                    // Nobody accepts any more, or the queue is full of streams
                    // that nobody took: dropping the stream resets it.
                    drop(self.accepted.try_send(opened));
                    // Those that the other side has given up have their turn
                    // before it opens another: each counts until it is dropped.
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
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
        other => Lost::Protocol(Arc::new(Violation::Multiplexer(other))),
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.inner).poll_read(cx, buf);
        if read.is_pending() {
            self.held.want();
        }
        read
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
