//! Where clients connect.

use std::fmt;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_rustls::TlsAcceptor;

/// A client that does not end TLS's handshake in this time is no client.
const HANDSHAKE: Duration = Duration::from_secs(10);

pub enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
    Tls(TcpListener, TlsAcceptor),
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(listener) => listener.fmt(f),
            Self::Tcp(listener) | Self::Tls(listener, _) => listener.fmt(f),
        }
    }
}

/// A client that has connected and said nothing yet.
pub(crate) enum Arrival {
    Unix(UnixStream),
    Tcp(TcpStream),
    Tls(TcpStream, TlsAcceptor),
}

pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

impl Listener {
    pub(crate) async fn accept(&self) -> io::Result<Arrival> {
        Ok(match self {
            Self::Unix(listener) => Arrival::Unix(listener.accept().await?.0),
            Self::Tcp(listener) => Arrival::Tcp(listener.accept().await?.0),
            Self::Tls(listener, acceptor) => Arrival::Tls(listener.accept().await?.0, acceptor.clone()),
        })
    }
}

impl Arrival {
    /// Once who speaks has been established.
    pub(crate) async fn stream(self) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Unix(stream) => Box::new(stream),
            Self::Tcp(stream) => {
                // Keystrokes must not wait for more of them.
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
            Self::Tls(stream, acceptor) => {
                stream.set_nodelay(true)?;
                let peer = stream.peer_addr()?;
                let named =
                    |error: io::Error| io::Error::new(error.kind(), format!("TLS handshake with {peer}: {error}"));
                match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                    Ok(accepted) => Box::new(accepted.map_err(named)?),
                    Err(_) => return Err(named(io::ErrorKind::TimedOut.into())),
                }
            }
        })
    }
}
