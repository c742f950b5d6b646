//! Notices that a client is gone for good. To read does not tell: a client that
//! has nothing more to say may still listen.

use std::future::Future;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;

use tokio::io::Interest;
use tokio::net::UnixStream;

/// Done when the client is gone.
pub(crate) type Gone = Pin<Box<dyn Future<Output = ()>>>;

/// Watches a socket beside whoever reads and writes it. The socket is open as
/// long as this is.
pub(crate) fn of(socket: BorrowedFd<'_>) -> io::Result<Gone> {
    // One of TCP will do: it is neither read nor written here.
    let socket = UnixStream::from_std(socket.try_clone_to_owned()?.into())?;
    Ok(Box::pin(async move {
        // Closed for writing is what a socket is at its end (EPOLLHUP); that it can be written is no news.
        while let Ok(ready) = socket.ready(Interest::WRITABLE).await
            && !ready.is_write_closed()
        {
            let _ = socket.try_io(Interest::WRITABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
        }
    }))
}

/// What can be watched so.
pub(crate) trait Socket {
    fn socket(&self) -> BorrowedFd<'_>;
}

impl Socket for UnixStream {
    fn socket(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }
}

impl Socket for tokio::net::TcpStream {
    fn socket(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }
}

impl Socket for tokio_rustls::server::TlsStream<tokio::net::TcpStream> {
    fn socket(&self) -> BorrowedFd<'_> {
        self.get_ref().0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    /// Whether it is done at once.
    async fn is_done(gone: &mut Gone) -> bool {
        tokio::time::timeout(Duration::from_millis(50), gone).await.is_ok()
    }

    #[tokio::test]
    async fn a_client_that_has_said_all_is_not_gone_until_it_is() {
        let (mut client, mut server) = UnixStream::pair().unwrap();
        let mut gone = of(server.socket()).unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(server.read(&mut [0]).await.unwrap(), 0);
        assert!(!is_done(&mut gone).await);
        server.write_all(b"still here").await.unwrap();
        client.read_exact(&mut [0; 10]).await.unwrap();
        assert!(!is_done(&mut gone).await);
        drop(client);
        gone.await;
    }

    #[tokio::test]
    async fn nor_one_of_tcp() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        let mut gone = of(server.socket()).unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(server.read(&mut [0]).await.unwrap(), 0);
        assert!(!is_done(&mut gone).await);
        // It answers what comes now with a reset.
        drop(client);
        server.write_all(b"anyone?").await.unwrap();
        gone.await;
    }
}
