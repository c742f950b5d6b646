//! Connections.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use casemate_engine::Daemon;
use hyper::header::HeaderValue;
use hyper::server::conn::http1::{self, Parts};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::hijack::{Connection, Hijack};
use crate::listener::{Arrival, Listener, Stream};
use crate::route::{self, Served};

/// What is said of the host in `info` and `version`.
#[derive(Clone, Debug, Default)]
pub struct HostFacts {
    pub machine_id: String,
    pub host_name: String,
    pub kernel: String,
    pub operating_system: String,
    /// `1` or `2`, as Docker writes it.
    pub cgroup_version: String,
    pub cpus: u32,
    /// Bytes.
    pub memory: u64,
    /// `kvm` or `tcg`, if there can be utility VMs, and why.
    pub accelerator: Option<String>,
    pub accelerator_reason: String,
    pub qemu: Option<String>,
    /// Whether the log is a developer's.
    pub debug: Cell<bool>,
    /// What an administrator should know, as sentences.
    pub warnings: Vec<String>,
}

/// Gives those who hold descriptors time to let go of them.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What clients may take of the daemon.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Of all listeners together; who comes after them waits to be accepted.
    pub connections: usize,
    /// From a connection's beginning or its last answer to the next request's
    /// whole head.
    pub head: Duration,
}

/// Serves clients of any number of listeners, on the current `LocalSet`.
#[derive(Debug)]
pub struct Server {
    daemon: Rc<Daemon>,
    facts: Rc<HostFacts>,
    limits: Limits,
    free: Arc<Semaphore>,
    /// Each listener and each connection that speaks HTTP holds a receiver.
    stopping: watch::Sender<bool>,
}

impl Server {
    pub fn new(daemon: Rc<Daemon>, facts: Rc<HostFacts>, limits: Limits) -> Rc<Self> {
        let free = Arc::new(Semaphore::new(limits.connections));
        Rc::new(Self { daemon, facts, limits, free, stopping: watch::Sender::new(false) })
    }

    /// Takes this listener's clients until [`Self::stop`].
    pub fn listen(self: &Rc<Self>, listener: Listener) {
        let (server, stopping) = (Rc::clone(self), self.stopping.subscribe());
        tokio::task::spawn_local(server.accept(listener, stopping));
    }

    /// Takes no new requests. Those that have been made get this long to be
    /// answered; answers that go on until a container or the client ends are
    /// cut short, and so are attached streams when the process ends.
    pub async fn stop(&self, grace: Duration) {
        self.stopping.send_replace(true);
        if tokio::time::timeout(grace, self.stopping.closed()).await.is_err() {
            tracing::warn!(connections = self.stopping.receiver_count(), "requests cut short");
        }
    }

    async fn accept(self: Rc<Self>, listener: Listener, mut stopping: watch::Receiver<bool>) {
        loop {
            let accepted = async {
                if self.free.available_permits() == 0 {
                    tracing::warn!(connections = self.limits.connections, "no more clients before others leave");
                }
                let permit = Arc::clone(&self.free).acquire_owned().await.map_err(io::Error::other)?;
                Ok((listener.accept().await?, permit))
            };
            let accepted: io::Result<_> = tokio::select! {
                accepted = accepted => accepted,
                _ = stopping.wait_for(|stopping| *stopping) => return,
            };
            match accepted {
                Ok((arrival, permit)) => {
                    tokio::task::spawn_local(Rc::clone(&self).greet(arrival, permit, stopping.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "client not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn greet(
        self: Rc<Self>,
        arrival: Arrival,
        permit: OwnedSemaphorePermit,
        mut stopping: watch::Receiver<bool>,
    ) {
        let stream = tokio::select! {
            stream = arrival.stream() => stream,
            _ = stopping.wait_for(|stopping| *stopping) => return,
        };
        match stream {
            Ok(stream) => {
                let stream = Counted { stream, _permit: permit };
                if let Err(error) = self.answer(stream, stopping).await {
                    tracing::debug!(%error, "connection");
                }
            }
            Err(error) => tracing::info!(%error, "client refused"),
        }
    }

    async fn answer<T>(&self, stream: T, mut stopping: watch::Receiver<bool>) -> io::Result<()>
    where
        T: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let hijack = Rc::new(RefCell::new(None));
        let endless = Rc::new(Cell::new(false));
        let served =
            Served { daemon: Rc::clone(&self.daemon), facts: Rc::clone(&self.facts), hijack: Rc::clone(&hijack) };
        let is_endless = Rc::clone(&endless);
        let service = service_fn(move |request| {
            let (served, hijack, endless) = (served.clone(), Rc::clone(&served.hijack), Rc::clone(&is_endless));
            Box::pin(async move {
                endless.set(false);
                let mut response = route::answer(served, request).await;
                endless.set(response.body().is_endless());
                if hijack.borrow().is_some() {
                    response.headers_mut().insert("connection", HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(response)
            })
        });
        let stream = Silenced { stream, hijack: Rc::clone(&hijack) };
        let mut connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.head)
            .serve_connection(TokioIo::new(stream), service);
        let mut told = false;
        loop {
            let spoken = poll_fn(|context| match connection.poll_without_shutdown(context) {
                Poll::Pending if told && endless.get() => Poll::Ready(None),
                polled => polled.map(Some),
            });
            tokio::select! {
                spoken = spoken => match spoken {
                    Some(ended) => break ended.map_err(io::Error::other)?,
                    None => return Ok(()),
                },
                _ = stopping.wait_for(|stopping| *stopping), if !told => {
                    told = true;
                    Pin::new(&mut connection).graceful_shutdown();
                }
            }
        }
        let Some(Hijack { head, taker }) = hijack.take() else {
            return Ok(());
        };
        // What follows is no request, and nobody waits for its end.
        drop(stopping);
        let Parts { io, read_buf, .. } = connection.into_parts();
        let (reader, mut writer) = tokio::io::split(io.into_inner().stream);
        writer.write_all(&head).await?;
        writer.flush().await?;
        // What the client has sent already, and then the rest.
        let reader = Box::new(io::Cursor::new(read_buf).chain(reader));
        // Whoever asked for it may have given up.
        let _ = taker.send(Connection { reader, writer: Box::new(writer), framed: true });
        Ok(())
    }
}

/// A connection that counts until it is gone, whoever has it then.
struct Counted {
    stream: Box<dyn Stream>,
    _permit: OwnedSemaphorePermit,
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A connection on which HTTP says no more once a handler has taken it: the
/// answer that ends HTTP's part is not sent.
struct Silenced<T> {
    stream: T,
    hijack: Rc<RefCell<Option<Hijack>>>,
}

impl<T: AsyncRead + Unpin> AsyncRead for Silenced<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Silenced<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.hijack.borrow().is_some() {
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
