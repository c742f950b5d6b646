//! Copies an output from its source to the log and to those attached.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use casemate_model::{Exited, OutputStream};
use casemate_record::log::{LineBuffer, LogFile};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::attach::Output;

/// What is read of an output at once.
const CHUNK: usize = 64 << 10;

/// How long the outputs of an ended process may keep their reader waiting, in
/// all: dockerd's patience. An honest kernel ends an init's outputs with it;
/// this is for a guest that does not, for an exec that has left something behind
/// which holds its outputs open, and for those who pass descriptors on.
const LAST_OUTPUT: Duration = Duration::from_secs(2);

/// More than an ended process can have left to read: its pipe has a mebibyte at
/// most, a window between guest and host a quarter of that.
const LAST_BYTES: usize = 4 << 20;

/// An output's way into the container's log.
#[derive(Debug)]
pub(crate) struct Logged {
    lines: LineBuffer,
    file: Rc<RefCell<LogFile>>,
}

impl Logged {
    pub(crate) fn new(stream: OutputStream, file: Rc<RefCell<LogFile>>) -> Self {
        let name = match stream {
            OutputStream::Stdout => "stdout",
            OutputStream::Stderr => "stderr",
        };
        Self { lines: LineBuffer::new(name), file }
    }

    fn add(&mut self, bytes: &[u8]) {
        note(self.lines.append(bytes, &mut self.file.borrow_mut()));
    }

    fn end(&mut self) {
        note(self.lines.flush(&mut self.file.borrow_mut()));
    }
}

/// A full disk must not stop a container: what cannot be logged is lost.
fn note(logged: io::Result<()>) {
    if let Err(error) = logged {
        tracing::warn!(%error, "output not logged");
    }
}

/// An output's source, and how long it is read.
#[derive(Debug)]
pub(crate) struct Source<R> {
    reader: R,
    exited: watch::Receiver<Option<Exited>>,
    time_left: Duration,
    bytes_left: usize,
}

impl<R: AsyncRead + Unpin> Source<R> {
    /// To be read to its end; once its process has ended, with limits.
    pub(crate) fn new(reader: R, exited: watch::Receiver<Option<Exited>>) -> Self {
        Self { reader, exited, time_left: LAST_OUTPUT, bytes_left: LAST_BYTES }
    }

    /// Zero at the end.
    async fn read(&mut self, chunk: &mut [u8]) -> io::Result<usize> {
        let Self { reader, exited, time_left, bytes_left } = self;
        let mut read = std::pin::pin!(reader.read(chunk));
        let has_exited = exited.borrow().is_some();
        if !has_exited {
            tokio::select! {
                biased;
                read = &mut read => return read,
                // Without a sender it has ended too.
                _ = exited.wait_for(Option::is_some) => {}
            }
        }
        let from = Instant::now();
        let read = tokio::time::timeout(*time_left, read).await;
        *time_left = time_left.saturating_sub(from.elapsed());
        match read {
            Ok(Ok(length)) if length <= *bytes_left => {
                *bytes_left -= length;
                Ok(length)
            }
            Ok(Ok(_)) => Err(io::Error::other("more than it can have left behind")),
            Ok(Err(error)) => Err(error),
            // Held open by whoever is left.
            Err(_) => Ok(0),
        }
    }
}

/// Copies one output until its end.
pub(crate) async fn pump<R: AsyncRead + Unpin>(mut source: Source<R>, output: Rc<Output>, mut log: Option<Logged>) {
    let mut chunk = vec![0; CHUNK];
    loop {
        let length = match source.read(&mut chunk).await {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) => {
                tracing::warn!(%error, "output ended early");
                break;
            }
        };
        if let Some(log) = &mut log {
            log.add(&chunk[..length]);
        }
        output.pass_on(&chunk[..length]).await;
        // A flood is always ready to be read. Everybody else has a turn.
        tokio::task::yield_now().await;
    }
    if let Some(log) = &mut log {
        log.end();
    }
    output.end();
}

#[cfg(test)]
mod tests {
    use casemate_model::ExitStatus;
    use tokio::io::AsyncWriteExt;

    use super::*;

    const ENDED: Exited = Exited { status: ExitStatus::Code(0), oom_killed: false, reason: None };

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, test);
    }

    /// Starts to pump; its end, and what a client of it read.
    fn pumped<R: AsyncRead + Unpin + 'static>(
        reader: R,
        exited: &watch::Sender<Option<Exited>>,
    ) -> tokio::task::JoinHandle<Vec<u8>> {
        let output = Rc::new(Output::default());
        let mut client = output.attach();
        let source = Source::new(reader, exited.subscribe());
        tokio::task::spawn_local(async move {
            let mut read = Vec::new();
            let (_, all) = tokio::join!(pump(source, output, None), client.read_to_end(&mut read));
            all.unwrap();
            read
        })
    }

    #[test]
    fn an_output_held_open_ends_a_while_after_its_process() {
        run(async {
            let exited = watch::channel(None).0;
            let (reader, mut held_open) = tokio::io::duplex(64);
            held_open.write_all(b"all it said").await.unwrap();
            let pumped = pumped(reader, &exited);
            // However long it is silent before.
            tokio::time::sleep(LAST_OUTPUT.mul_f64(1.2)).await;
            assert!(!pumped.is_finished());
            exited.send_replace(Some(ENDED));
            let from = Instant::now();
            assert_eq!(pumped.await.unwrap(), b"all it said");
            assert!(from.elapsed() >= LAST_OUTPUT);
        });
    }

    /// In all, not each time.
    #[test]
    fn an_output_that_drips_ends_too() {
        run(async {
            let exited = watch::channel(Some(ENDED)).0;
            let (reader, mut held_open) = tokio::io::duplex(64);
            let pumped = pumped(reader, &exited);
            let from = Instant::now();
            while held_open.write_all(b".").await.is_ok() {
                tokio::time::sleep(LAST_OUTPUT / 10).await;
            }
            assert!(from.elapsed() < 2 * LAST_OUTPUT);
            assert!(pumped.await.unwrap().len() >= 5);
        });
    }

    #[test]
    fn an_output_that_floods_ends_too() {
        run(async {
            let exited = watch::channel(Some(ENDED)).0;
            assert!(pumped(tokio::io::repeat(b'y'), &exited).await.unwrap().len() <= LAST_BYTES);
        });
    }

    /// What is there is read to its end, however slowly its client takes it.
    #[test]
    fn a_slow_client_loses_nothing() {
        run(async {
            let exited = watch::channel(Some(ENDED)).0;
            let output = Rc::new(Output::default());
            let mut client = output.attach();
            let bytes = vec![b'x'; 5 * CHUNK];
            let source = Source::new(std::io::Cursor::new(bytes.clone()), exited.subscribe());
            tokio::task::spawn_local(pump(source, output, None));
            tokio::time::sleep(LAST_OUTPUT.mul_f64(1.2)).await;
            let mut read = Vec::new();
            client.read_to_end(&mut read).await.unwrap();
            assert_eq!(read, bytes);
        });
    }

    /// A source that is always ready does not keep others from their turn.
    #[test]
    fn a_flood_leaves_others_their_turn() {
        run(async {
            let exited = watch::channel(None).0;
            let output = Rc::new(Output::default());
            let flood =
                tokio::task::spawn_local(pump(Source::new(tokio::io::repeat(b'y'), exited.subscribe()), output, None));
            // A descriptor that becomes readable is seen while it goes on.
            let (mut left, mut right) = tokio::net::UnixStream::pair().unwrap();
            for _ in 0..100 {
                left.write_all(b"?").await.unwrap();
                right.read_exact(&mut [0]).await.unwrap();
            }
            flood.abort();
        });
    }
}
