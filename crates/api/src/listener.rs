//! Where clients connect.

use std::fmt;
use std::io;
use std::time::Duration;

use rustix::net::sockopt::{set_socket_keepalive, set_tcp_keepidle};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_rustls::TlsAcceptor;

use crate::hangup::Socket;

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

pub(crate) trait Stream: AsyncRead + AsyncWrite + Socket + Unpin {}

impl<T: AsyncRead + AsyncWrite + Socket + Unpin> Stream for T {}

impl Listener {
    pub(crate) async fn accept(&self) -> io::Result<Arrival> {
        Ok(match self {
            Self::Unix(listener) => Arrival::Unix(listener.accept().await?.0),
            Self::Tcp(listener) => Arrival::Tcp(listener.accept().await?.0),
            Self::Tls(listener, acceptor) => Arrival::Tls(listener.accept().await?.0, acceptor.clone()),
        })
    }
}

/// A client whose machine is gone is asked for after this, as by Go's programs.
const KEEPALIVE: Duration = Duration::from_secs(15);

fn settle(stream: &TcpStream) -> io::Result<()> {
    // Keystrokes must not wait for more of them.
    stream.set_nodelay(true)?;
    set_socket_keepalive(stream, true)?;
    Ok(set_tcp_keepidle(stream, KEEPALIVE)?)
}

impl Arrival {
    /// Once who speaks has been established.
    pub(crate) async fn stream(self) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Unix(stream) => Box::new(stream),
            Self::Tcp(stream) => {
                settle(&stream)?;
                Box::new(stream)
            }
            Self::Tls(stream, acceptor) => {
                settle(&stream)?;
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
