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

use crate::hangup;
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
                let stream = Counted { stream, permit };
                if let Err(error) = self.answer(stream, stopping).await {
                    tracing::debug!(%error, "connection");
                }
            }
            Err(error) => tracing::info!(%error, "client refused"),
        }
    }

    async fn answer(&self, stream: Counted, mut stopping: watch::Receiver<bool>) -> io::Result<()> {
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
        let Counted { stream, permit } = io.into_inner().stream;
        let gone = hangup::of(stream.socket())?;
        let (reader, mut writer) = tokio::io::split(Counted { stream, permit });
        writer.write_all(&head).await?;
        writer.flush().await?;
        // What the client has sent already, and then the rest.
        let reader = Box::new(io::Cursor::new(read_buf).chain(reader));
        // Whoever asked for it may have given up.
        let _ = taker.send(Connection { reader, writer: Box::new(writer), framed: true, gone });
        Ok(())
    }
}

/// A connection that counts until it is gone, whoever has it then.
struct Counted {
    stream: Box<dyn Stream>,
    permit: OwnedSemaphorePermit,
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

#[cfg(test)]
mod tests {
    use casemate_engine::{Settings, paced};
    use casemate_model::Isolation;
    use tokio::net::{UnixListener, UnixStream};
    use tokio::task::LocalSet;

    use super::*;

    const REQUEST: &[u8] = b"GET /_ping HTTP/1.1\r\nHost: docker\r\n\r\n";

    /// Long against what any request takes.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// Long against what a request takes, short against a test's patience.
    const HEAD: Duration = Duration::from_millis(200);

    /// Runs the body beside a server of this many connections.
    async fn serving<F: Future<Output = ()>>(
        connections: usize,
        body: impl FnOnce(Rc<Server>, std::path::PathBuf) -> F,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        LocalSet::new()
            .run_until(async {
                let settings = Settings {
                    root: dir.path().join("root"),
                    run: dir.path().join("run"),
                    lib: dir.path().join("lib"),
                    program: dir.path().join("program"),
                    qemu: None,
                    accelerator: "auto".to_owned(),
                    boot_timeout_ms: 1,
                    health_deadline_ms: 1,
                    scratch_size: 1,
                    isolation: Isolation::Process,
                    log: Default::default(),
                    registries: Default::default(),
                    max_downloads: 1,
                    networks: Default::default(),
                };
                let daemon = Daemon::open(settings).await.unwrap();
                let server = Server::new(daemon, Rc::default(), Limits { connections, head: HEAD });
                server.listen(Listener::Unix(UnixListener::bind(&path).unwrap()));
                body(server, path.clone()).await;
            })
            .await;
    }

    /// As long as they like, and more of them than may have a thread.
    #[test]
    fn clients_that_do_not_send_their_archives_hold_up_nobody_else() {
        const CLIENTS: usize = paced::THREADS + 8;
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().max_blocking_threads(paced::THREADS + 1).build().unwrap();
        runtime.block_on(serving(CLIENTS + 1, |_, path| async move {
            let mut stalled = Vec::new();
            for path_and_query in ["/images/load", "/images/create?fromSrc=-&repo=x"].into_iter().cycle().take(CLIENTS) {
                let mut client = UnixStream::connect(&path).await.unwrap();
                let head = format!(
                    "POST {path_and_query} HTTP/1.1\r\nHost: docker\r\nContent-Length: 1000000\r\nExpect: 100-continue\r\n\r\n"
                );
                client.write_all(head.as_bytes()).await.unwrap();
                // Its handler wants the archive, and does not get it.
                let mut start = [0; 12];
                client.read_exact(&mut start).await.unwrap();
                assert_eq!(&start, b"HTTP/1.1 100");
                stalled.push(client);
            }
            let mut other = UnixStream::connect(&path).await.unwrap();
            other.write_all(b"GET /images/json HTTP/1.1\r\nHost: docker\r\n\r\n").await.unwrap();
            let mut start = [0; 12];
            let answered = tokio::time::timeout(PATIENCE, other.read_exact(&mut start)).await;
            drop(stalled);
            assert!(answered.is_ok(), "no thread is left for the images");
            assert_eq!(&start, b"HTTP/1.1 200");
        }));
    }

    async fn rest_of(mut stream: UnixStream) -> String {
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    #[tokio::test]
    async fn half_a_head_is_not_waited_for() {
        serving(8, |_, path| async move {
            let mut slow = UnixStream::connect(&path).await.unwrap();
            slow.write_all(&REQUEST[..20]).await.unwrap();
            let answer = rest_of(slow).await;
            assert!(!answer.contains("200"), "{answer}");
            // Neither is a second request of one that had its answer.
            let mut slow = UnixStream::connect(&path).await.unwrap();
            slow.write_all(REQUEST).await.unwrap();
            let answer = rest_of(slow).await;
            assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("OK"), "{answer}");
        })
        .await;
    }

    #[tokio::test]
    async fn clients_beyond_the_limit_wait_for_others_to_leave() {
        serving(1, |_, path| async move {
            let first = UnixStream::connect(&path).await.unwrap();
            let mut second = UnixStream::connect(&path).await.unwrap();
            second.write_all(REQUEST).await.unwrap();
            let mut byte = [0];
            let answered = tokio::time::timeout(HEAD / 4, second.read_exact(&mut byte)).await;
            assert!(answered.is_err(), "the second client was served beside the first");
            drop(first);
            second.read_exact(&mut byte).await.unwrap();
            assert_eq!(&byte, b"H");
        })
        .await;
    }

    #[tokio::test]
    async fn a_stop_lets_idle_clients_go_and_takes_no_others() {
        serving(8, |server, path| async move {
            let mut idle = UnixStream::connect(&path).await.unwrap();
            idle.write_all(REQUEST).await.unwrap();
            let mut start = [0; 12];
            idle.read_exact(&mut start).await.unwrap();
            let mut events = UnixStream::connect(&path).await.unwrap();
            events.write_all(b"GET /events HTTP/1.1\r\nHost: docker\r\n\r\n").await.unwrap();
            events.read_exact(&mut start).await.unwrap();
            let stopped = tokio::time::timeout(HEAD, server.stop(Duration::from_secs(3600))).await;
            assert!(stopped.is_ok(), "a stop waits for what has no end");
            rest_of(idle).await;
            rest_of(events).await;
            assert!(UnixStream::connect(&path).await.is_err());
        })
        .await;
    }
}
