//! Connections, passed on to the container.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::Mark;
use rustix::io::{Errno, write};
use rustix::net::sockopt::{set_socket_linger, set_socket_oobinline};
use rustix::net::{RecvFlags, Shutdown, recv, shutdown};
use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, splice};
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::sleep;

use super::PAUSE;
use crate::LOOPBACK_MARK;

/// Connections of one port at a time; more wait to be accepted. Each takes six
/// descriptors of this process, and of the kernel's memory two pipes (64 KiB) beside
/// its sockets.
pub(super) const CONNECTIONS: usize = 1024;

/// What is moved at once: as much as a pipe holds.
const PIPE: usize = 64 << 10;

pub(super) async fn serve(listener: TcpListener, to: SocketAddr, most: usize) {
    let mut connections = FuturesUnordered::new();
    loop {
        tokio::select! {
            accepted = accept(&listener), if connections.len() < most => {
                connections.extend(accepted.map(|client| pass(client, to)));
            }
            Some(ended) = connections.next() => {
                if let Err(error) = ended {
                    tracing::debug!(%to, %error, "connection");
                }
            }
        }
    }
}

async fn accept(listener: &TcpListener) -> Option<TcpStream> {
    match listener.accept().await {
        Ok((client, _)) => Some(client),
        Err(error) => {
            tracing::debug!(%error, "connection not accepted");
            sleep(PAUSE).await;
            None
        }
    }
}

/// Until both ends have nothing more to say, or one has gone.
async fn pass(client: TcpStream, to: SocketAddr) -> io::Result<()> {
    prepare(&client)?;
    let container = connect(to).await?;
    prepare(&container)?;
    let passed = async { tokio::try_join!(pass_on(&client, &container), pass_on(&container, &client)) };
    tokio::select! {
        // What came before the end of an end is passed on.
        biased;
        passed = passed => passed.map(drop),
        error = broken(&client) => Err(error),
        error = broken(&container) => Err(error),
    }
}

fn prepare(end: &TcpStream) -> io::Result<()> {
    // What is said does not wait until what was said before has been acknowledged.
    end.set_nodelay(true)?;
    // What is urgent comes with the rest, in its place.
    set_socket_oobinline(end, true)?;
    // Closed before it is said that it is whole, it is reset: nobody takes a part for the whole.
    Ok(set_socket_linger(end, Some(Duration::ZERO))?)
}

async fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    setsockopt(&socket, Mark, &LOOPBACK_MARK)?;
    socket.connect(to).await
}

/// One direction, by way of a pipe: the kernel moves it without a copy, which takes
/// two thirds of the processor's time that reads and writes would.
async fn pass_on(from: &TcpStream, to: &TcpStream) -> io::Result<()> {
    let (outlet, inlet) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    loop {
        let mut held = from.async_io(Interest::READABLE, || Ok(take(from, &inlet)?)).await?;
        if held == 0 {
            break;
        }
        while held > 0 {
            let give = || Ok(splice(&outlet, None, to, None, held, SpliceFlags::NONBLOCK)?);
            held -= to.async_io(Interest::WRITABLE, give).await?;
        }
    }
    shutdown(to, Shutdown::Write)?;
    Ok(set_socket_linger(to, None)?)
}

/// Into a pipe that is empty. How much it was; nothing at the end.
fn take(from: &TcpStream, inlet: &OwnedFd) -> Result<usize, Errno> {
    match splice(from, None, inlet, None, PIPE, SpliceFlags::NONBLOCK) {
        // Before a byte that is urgent, too.
        Ok(0) | Err(Errno::AGAIN) => {
            let mut byte = [0];
            let (length, _) = recv(from, &mut byte, RecvFlags::empty())?;
            if length > 0 { write(inlet, &byte) } else { Ok(0) }
        }
        taken => taken,
    }
}

/// Returns when an end has been reset, even if nobody waits for what it says.
async fn broken(end: &TcpStream) -> io::Error {
    match end.ready(Interest::ERROR).await.and_then(|_| end.take_error()) {
        Ok(error) => error.unwrap_or_else(|| io::ErrorKind::ConnectionReset.into()),
        Err(error) => error,
    }
}
