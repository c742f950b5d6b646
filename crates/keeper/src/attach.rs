//! The outputs of a process, and who is attached to them.
//!
//! A client that reads slowly makes the process wait, as in Docker: nothing is
//! dropped and nothing piles up. One that has gone is forgotten at the next
//! chunk, or when another comes.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use casemate_model::OutputStream;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::{mpsc, watch};

/// Chunks that a client may leave unread before the process waits.
const UNREAD: usize = 1;

/// Both outputs of a process; clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outputs {
    stdout: Rc<Output>,
    stderr: Rc<Output>,
}

impl Outputs {
    pub(crate) fn of(&self, stream: OutputStream) -> &Rc<Output> {
        match stream {
            OutputStream::Stdout => &self.stdout,
            OutputStream::Stderr => &self.stderr,
        }
    }

    /// Somebody else has them too.
    pub(crate) fn are_known(&self) -> bool {
        Rc::strong_count(&self.stdout) > 1
    }

    /// Nobody else will come: what is written need not wait for a first client.
    pub(crate) fn expect_nobody(&self) {
        self.stdout.expected.send_replace(false);
        self.stderr.expected.send_replace(false);
    }
}

/// One output of a process.
#[derive(Debug)]
pub(crate) struct Output {
    clients: RefCell<Vec<mpsc::Sender<Rc<[u8]>>>>,
    /// Whether a first client is still to come.
    expected: watch::Sender<bool>,
    ended: Cell<bool>,
}

impl Default for Output {
    fn default() -> Self {
        Self { clients: RefCell::default(), expected: watch::channel(true).0, ended: Cell::new(false) }
    }
}

impl Output {
    /// What the process writes from now on, until it ends.
    pub(crate) fn attach(&self) -> Attached {
        let (client, chunks) = mpsc::channel(UNREAD);
        if !self.ended.get() {
            let mut clients = self.clients.borrow_mut();
            clients.retain(|client| !client.is_closed());
            clients.push(client);
            self.expected.send_replace(false);
        }
        Attached { chunks, current: Rc::default(), offset: 0 }
    }

    /// Returns when the first client has come, or nobody is expected any more.
    pub(crate) async fn attended(&self) {
        // The sender is `self`.
        let _ = self.expected.subscribe().wait_for(|expected| !expected).await;
    }

    /// Returns when all clients have taken it.
    pub(crate) async fn pass_on(&self, bytes: &[u8]) {
        // Taken out while it is written to: another may attach meanwhile.
        let clients = self.clients.take();
        if clients.is_empty() {
            return;
        }
        let bytes: Rc<[u8]> = bytes.into();
        for client in clients {
            if client.send(Rc::clone(&bytes)).await.is_ok() {
                self.clients.borrow_mut().push(client);
            }
        }
    }

    /// No more comes of this output: its readers see the end.
    pub(crate) fn end(&self) {
        self.ended.set(true);
        self.clients.take();
    }
}

/// A client's place at an output. Dropping it leaves.
#[derive(Debug)]
pub(crate) struct Attached {
    chunks: mpsc::Receiver<Rc<[u8]>>,
    current: Rc<[u8]>,
    offset: usize,
}

impl AsyncRead for Attached {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.offset == this.current.len() {
            match ready!(this.chunks.poll_recv(context)) {
                Some(chunk) => (this.current, this.offset) = (chunk, 0),
                None => return Poll::Ready(Ok(())),
            }
        }
        let rest = &this.current[this.offset..];
        let length = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..length]);
        this.offset += length;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, test);
    }

    #[test]
    fn all_who_are_attached_read_the_same() {
        run(async {
            let output = Rc::new(Output::default());
            let mut first = output.attach();
            let mut second = output.attach();
            let writer = Rc::clone(&output);
            tokio::task::spawn_local(async move {
                for chunk in ["one ", "two ", "three"] {
                    writer.pass_on(chunk.as_bytes()).await;
                }
                writer.end();
            });
            let (mut a, mut b) = (String::new(), String::new());
            let (read_a, read_b) = tokio::join!(first.read_to_string(&mut a), second.read_to_string(&mut b));
            assert_eq!((read_a.unwrap(), read_b.unwrap()), (13, 13));
            assert_eq!((a.as_str(), b.as_str()), ("one two three", "one two three"));
            assert_eq!(output.attach().read(&mut [0; 8]).await.unwrap(), 0, "an end is an end for all");
        });
    }

    /// Neither time nor memory, however many there were.
    #[test]
    fn clients_that_have_gone_cost_nothing() {
        run(async {
            let output = Output::default();
            let mut stays = output.attach();
            for _ in 0..1000 {
                drop(output.attach());
            }
            assert!(output.clients.borrow().len() <= 2, "{} are kept", output.clients.borrow().len());
            output.pass_on(b"x").await;
            assert_eq!(output.clients.borrow().len(), 1);
            // One that goes while it is waited for is no longer waited for.
            let slow = output.attach();
            let mut byte = [0];
            stays.read_exact(&mut byte).await.unwrap();
            output.pass_on(b"y").await;
            stays.read_exact(&mut byte).await.unwrap();
            tokio::join!(output.pass_on(b"z"), async { drop(slow) });
            stays.read_exact(&mut byte).await.unwrap();
            assert_eq!(byte, *b"z");
        });
    }
}
