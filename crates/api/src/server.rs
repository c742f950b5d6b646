//! Connections.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use casemate_engine::Daemon;
use hyper::header::HeaderValue;
use hyper::server::conn::http1::{self, Parts};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::UnixListener;

use crate::hijack::{Connection, Hijack};
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
}

/// Gives those who hold descriptors time to let go of them.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves clients of a listening socket for ever, on the current `LocalSet`.
pub async fn serve(daemon: Rc<Daemon>, facts: Rc<HostFacts>, listener: UnixListener) -> Infallible {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let (daemon, facts) = (Rc::clone(&daemon), Rc::clone(&facts));
                tokio::task::spawn_local(async move {
                    if let Err(error) = answer(daemon, facts, stream).await {
                        tracing::debug!(%error, "connection");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "client not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn answer<T>(daemon: Rc<Daemon>, facts: Rc<HostFacts>, stream: T) -> Result<(), io::Error>
where
    T: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let hijack = Rc::new(RefCell::new(None));
    let served = Served { daemon, facts, hijack: Rc::clone(&hijack) };
    let service = service_fn(move |request| {
        let (served, hijack) = (served.clone(), Rc::clone(&served.hijack));
        Box::pin(async move {
            let mut response = route::answer(served, request).await;
            if hijack.borrow().is_some() {
                response.headers_mut().insert("connection", HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response)
        })
    });
    let stream = Silenced { stream, hijack: Rc::clone(&hijack) };
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    poll_fn(|context| connection.poll_without_shutdown(context)).await.map_err(io::Error::other)?;
    let Some(Hijack { head, taker }) = hijack.take() else {
        return Ok(());
    };
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
