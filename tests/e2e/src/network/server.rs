//! Servers that say always the same, and remember to whom.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::io::AsyncWriteExt;
use tokio::net;
use tokio::runtime::Builder;
use tokio::sync::oneshot;

use super::node::Node;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Tcp,
    Udp,
}

/// One that spoke: a connection, or a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    pub protocol: Protocol,
    /// The server's address that it spoke to.
    pub at: SocketAddr,
    pub from: SocketAddr,
}

type Log = Arc<Mutex<Vec<Heard>>>;

/// Ended with this.
#[derive(Debug)]
pub struct Server {
    log: Log,
    _thread: Background,
}

/// Work on a thread of its own. Nothing of it is there any more when this is dropped.
#[derive(Debug)]
pub(super) struct Background {
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Background {
    /// `start` has it begin, in a runtime of tokio.
    pub(super) fn start(start: impl FnOnce() + Send + 'static) -> Self {
        let (end, ended) = oneshot::channel::<()>();
        let runtime = Builder::new_current_thread().enable_io().build().expect("a runtime");
        let work = async {
            start();
            // Told by its sender's end.
            let _ = ended.await;
        };
        Self { end: Some(end), thread: Some(std::thread::spawn(move || runtime.block_on(work))) }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.end.take();
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Node {
    /// Listens with TCP and UDP on each of these addresses, and answers all who come
    /// with the text.
    pub fn serve(&self, text: &'static str, addresses: &[SocketAddr]) -> Server {
        let bind = |at: &SocketAddr| {
            let bound = TcpListener::bind(at).and_then(|tcp| Ok((tcp, UdpSocket::bind(at)?)));
            let (tcp, udp) = bound.unwrap_or_else(|error| panic!("{at}: {error}"));
            tcp.set_nonblocking(true).expect("a socket that does not block");
            udp.set_nonblocking(true).expect("a socket that does not block");
            (tcp, udp)
        };
        let sockets = self.run(|| addresses.iter().map(bind).collect::<Vec<_>>());
        let log = Log::default();
        let ours = Arc::clone(&log);
        let thread = Background::start(move || {
            for (tcp, udp) in sockets {
                let tcp = net::TcpListener::from_std(tcp).expect("a socket");
                let udp = net::UdpSocket::from_std(udp).expect("a socket");
                tokio::spawn(answer_streams(tcp, text, Arc::clone(&ours)));
                tokio::spawn(answer_datagrams(udp, text, Arc::clone(&ours)));
            }
        });
        Server { log, _thread: thread }
    }
}

impl Server {
    /// Who spoke so far. Whoever has an answer is among them.
    pub fn heard(&self) -> Vec<Heard> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn note(log: &Log, protocol: Protocol, at: SocketAddr, from: SocketAddr) {
    log.lock().unwrap_or_else(PoisonError::into_inner).push(Heard { protocol, at, from });
}

async fn answer_streams(listener: net::TcpListener, text: &'static str, log: Log) {
    let at = listener.local_addr().expect("an address");
    // A connection that has broken before it was accepted is none.
    loop {
        let Ok((mut stream, from)) = listener.accept().await else { continue };
        note(&log, Protocol::Tcp, at, from);
        tokio::spawn(async move {
            let (mut read, mut write) = stream.split();
            let _ = write.write_all(text.as_bytes()).await;
            let _ = write.shutdown().await;
            // What is not read when a connection is closed would break it, and the text may not have come.
            let _ = tokio::io::copy(&mut read, &mut tokio::io::sink()).await;
        });
    }
}

async fn answer_datagrams(socket: net::UdpSocket, text: &'static str, log: Log) {
    let at = socket.local_addr().expect("an address");
    loop {
        // Errors are those of answers before.
        if let Ok((_, from)) = socket.recv_from(&mut [0; 64]).await {
            note(&log, Protocol::Udp, at, from);
            let _ = socket.send_to(text.as_bytes(), from).await;
        }
    }
}
