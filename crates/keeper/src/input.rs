//! The input of a container's init, shared by those who are attached.
//!
//! Clients come and go. One that ends its input ends the init's only where the
//! container was made so (`StdinOnce`); one that just goes never does.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_util::sync::PollSender;

use crate::backend::Input;

/// What a client writes at once.
const CHUNK: usize = 64 << 10;

/// Pieces that may wait for an init which reads slowly.
const BACKLOG: usize = 4;

/// One client's end. An empty piece says that it has no more to say.
#[derive(Clone, Debug)]
pub(crate) struct ClientInput(PollSender<Vec<u8>>);

impl ClientInput {
    /// Passes on to `init` what this and its clones write. Runs on the current
    /// `LocalSet`.
    pub(crate) fn to(init: Input, once: bool) -> Self {
        let (sender, pieces) = mpsc::channel(BACKLOG);
        tokio::task::spawn_local(pass_on(init, pieces, once));
        Self(PollSender::new(sender))
    }
}

async fn pass_on(mut init: Input, mut pieces: mpsc::Receiver<Vec<u8>>, once: bool) {
    while let Some(piece) = pieces.recv().await {
        if piece.is_empty() {
            if once {
                break;
            }
        } else if init.write_all(&piece).await.is_err() {
            // It has closed its input.
            break;
        }
    }
    let _ = init.shutdown().await;
}

fn closed<E>(_: E) -> io::Error {
    io::ErrorKind::BrokenPipe.into()
}

impl AsyncWrite for ClientInput {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let length = bytes.len().min(CHUNK);
        if length > 0 {
            ready!(self.0.poll_reserve(context)).map_err(closed)?;
            self.0.send_item(bytes[..length].to_vec()).map_err(closed)?;
        }
        Poll::Ready(Ok(length))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.0.poll_reserve(context)).map_err(closed)?;
        Poll::Ready(self.0.send_item(Vec::new()).map_err(closed))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::task::LocalSet;

    use super::*;

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        LocalSet::new().block_on(&runtime, test);
    }

    #[test]
    fn clients_share_the_input_and_only_an_end_that_counts_ends_it() {
        run(async {
            let (init, mut read) = tokio::io::duplex(1024);
            let input = ClientInput::to(Box::new(init), false);
            let mut first = input.clone();
            first.write_all(b"one ").await.unwrap();
            first.shutdown().await.unwrap();
            drop(first);
            let mut second = input.clone();
            second.write_all(b"two").await.unwrap();
            let mut text = [0; 7];
            read.read_exact(&mut text).await.unwrap();
            assert_eq!(&text, b"one two");

            let (init, mut read) = tokio::io::duplex(1024);
            let input = ClientInput::to(Box::new(init), true);
            let gone = input.clone();
            drop(gone);
            let mut last = input.clone();
            last.write_all(b"all").await.unwrap();
            last.shutdown().await.unwrap();
            let mut text = Vec::new();
            read.read_to_end(&mut text).await.unwrap();
            assert_eq!(text, b"all");
            let mut late = input.clone();
            // What is sent before the end is known may be lost; after it, it fails.
            while late.write_all(b"x").await.is_ok() {
                tokio::task::yield_now().await;
            }
        });
    }
}
