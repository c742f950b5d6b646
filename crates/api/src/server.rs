//! Connections.

use std::convert::Infallible;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use casemate_engine::Daemon;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::UnixListener;

use crate::route;

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
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let (daemon, facts) = (Rc::clone(&daemon), Rc::clone(&facts));
        async move { Ok::<_, Infallible>(route::answer(daemon, facts, request).await) }
    });
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades();
    connection.await.map_err(io::Error::other)
}
