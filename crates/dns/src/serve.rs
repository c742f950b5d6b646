//! A resolver on sockets of its container.

use std::io;
use std::net::SocketAddr;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::{sleep, timeout};

use crate::limits::{CONNECTIONS, IDLE, PAUSE, QUERY};
use crate::names::Names;
use crate::query::Transport;
use crate::resolver::{Resolver, Step};
use crate::upstream::{Connector, framed};

impl<N: Names, C: Connector> Resolver<N, C> {
    /// Answers datagrams until it is dropped, and with it all that it has under
    /// way. Queries are answered as their answers come, in any order. An answer
    /// that the socket has no room for is lost, as on any network.
    pub async fn serve_udp(&self, socket: &UdpSocket) {
        let mut buffer = vec![0; QUERY];
        // No more than `UNANSWERED`, which is what `receive` lets wait.
        let mut waiting = FuturesUnordered::new();
        loop {
            let (client, answer) = tokio::select! {
                received = receive(socket, &mut buffer) => {
                    let Some((length, client)) = received else {
                        continue;
                    };
                    match self.receive(&buffer[..length], Transport::Udp) {
                        Step::Answer(answer) => (client, answer),
                        Step::Ask(query) => {
                            waiting.push(async move { (client, self.ask(query).await) });
                            continue;
                        }
                    }
                }
                Some(answered) = waiting.next() => answered,
            };
            if let Some(answer) = answer
                && let Err(error) = socket.try_send_to(&answer, client)
            {
                tracing::debug!(%error, "answer lost");
            }
        }
    }

    /// Answers connections until it is dropped, and with it all of them.
    /// [`CONNECTIONS`] at a time; the queries of each one after the other.
    pub async fn serve_tcp(&self, listener: &TcpListener) {
        let mut connections = FuturesUnordered::new();
        loop {
            tokio::select! {
                accepted = accept(listener), if connections.len() < CONNECTIONS => {
                    connections.extend(accepted.map(|stream| self.serve_connection(stream)));
                }
                Some(ended) = connections.next() => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "connection");
                    }
                }
            }
        }
    }

    /// Ends, without an answer to what came last, with a client that sends what is
    /// no query, or is idle.
    async fn serve_connection(&self, mut stream: TcpStream) -> io::Result<()> {
        // An answer does not wait until the one before has been acknowledged.
        stream.set_nodelay(true)?;
        while let Some(query) = timeout(IDLE, read_query(&mut stream)).await?? {
            let Some(answer) = self.answer(&query, Transport::Tcp).await else {
                return Ok(());
            };
            timeout(IDLE, stream.write_all(&framed(&answer))).await??;
        }
        Ok(())
    }
}

/// `None` after a failure, which has nothing to do with any one query.
async fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> Option<(usize, SocketAddr)> {
    match socket.recv_from(buffer).await {
        Ok(received) => Some(received),
        Err(error) => {
            tracing::debug!(%error, "query not received");
            sleep(PAUSE).await;
            None
        }
    }
}

async fn accept(listener: &TcpListener) -> Option<TcpStream> {
    match listener.accept().await {
        Ok((stream, _)) => Some(stream),
        Err(error) => {
            tracing::debug!(%error, "connection not accepted");
            sleep(PAUSE).await;
            None
        }
    }
}

/// `None` if there are no more, or this is longer than any query.
async fn read_query(stream: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let length = match stream.read_u16().await {
        Ok(length) => usize::from(length),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    if length > QUERY {
        return Ok(None);
    }
    let mut query = vec![0; length];
    stream.read_exact(&mut query).await?;
    Ok(Some(query))
}
