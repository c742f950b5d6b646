//! The container's outputs: to the log, and to whoever is attached.
//!
//! A client that reads slowly makes the container wait, as in Docker: nothing
//! is dropped and nothing piles up. One that has gone is forgotten at its next
//! chunk.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;

use casemate_model::OutputStream;
use casemate_record::log::{LineBuffer, LogFile};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, DuplexStream};

/// What is read of an output at once, and what one attached client may leave
/// unread before the container waits.
const CHUNK: usize = 64 << 10;

#[derive(Debug)]
pub(crate) struct Outputs {
    log: RefCell<LogFile>,
    stdout: Attached,
    stderr: Attached,
}

#[derive(Debug, Default)]
struct Attached {
    clients: RefCell<Vec<DuplexStream>>,
    ended: Cell<bool>,
}

impl Outputs {
    pub(crate) fn new(log: LogFile) -> Self {
        Self { log: RefCell::new(log), stdout: Attached::default(), stderr: Attached::default() }
    }

    /// What the container writes from now on, until it ends.
    pub(crate) fn attach(&self, stream: OutputStream) -> DuplexStream {
        let (client, ours) = tokio::io::duplex(CHUNK);
        let attached = self.attached(stream);
        if !attached.ended.get() {
            attached.clients.borrow_mut().push(ours);
        }
        client
    }

    /// Copies one output until its end.
    pub(crate) async fn pump(self: Rc<Self>, stream: OutputStream, mut output: Box<dyn AsyncRead + Unpin>) {
        let mut lines = LineBuffer::new(match stream {
            OutputStream::Stdout => "stdout",
            OutputStream::Stderr => "stderr",
        });
        let mut chunk = vec![0; CHUNK];
        loop {
            let length = match output.read(&mut chunk).await {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) => {
                    tracing::warn!(%error, ?stream, "output ended early");
                    break;
                }
            };
            let logged = lines.append(&chunk[..length], &mut self.log.borrow_mut());
            note(logged);
            self.pass_on(stream, &chunk[..length]).await;
        }
        note(lines.flush(&mut self.log.borrow_mut()));
        self.end(stream);
    }

    async fn pass_on(&self, stream: OutputStream, bytes: &[u8]) {
        let attached = self.attached(stream);
        // Taken out while it is written to: another may attach meanwhile.
        for mut client in attached.clients.take() {
            if client.write_all(bytes).await.is_ok() {
                attached.clients.borrow_mut().push(client);
            }
        }
    }

    /// No more comes of this output: its readers see the end.
    pub(crate) fn end(&self, stream: OutputStream) {
        let attached = self.attached(stream);
        attached.ended.set(true);
        attached.clients.take();
    }

    fn attached(&self, stream: OutputStream) -> &Attached {
        match stream {
            OutputStream::Stdout => &self.stdout,
            OutputStream::Stderr => &self.stderr,
        }
    }
}

/// A full disk must not stop a container: what cannot be logged is lost.
fn note(logged: io::Result<()>) {
    if let Err(error) = logged {
        tracing::warn!(%error, "output not logged");
    }
}
