//! Reading a container's log, once or as it grows.
//!
//! It is read a step at a time, in a thread; between two steps nothing but a task
//! waits, for the client or for the log. So a log of gigabytes costs neither the
//! daemon's memory nor anybody else's time, and a client that does not read holds
//! no thread.

mod growth;
mod reader;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use jiff::Timestamp;
use tokio::sync::{mpsc, watch};

use self::growth::Grown;
pub(super) use self::growth::Growth;
use self::reader::{Reader, Step};
use super::blocking;
use super::entry::{Entry, Life};

/// Entries read ahead of the client, beside those of a step.
const AHEAD: usize = 64;

/// Which part of a log is wanted.
#[derive(Clone, Debug, Default)]
pub struct LogRequest {
    pub stdout: bool,
    pub stderr: bool,
    pub follow: bool,
    /// The last so many.
    pub tail: Option<usize>,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
}

#[derive(Clone, Debug)]
pub struct LogItem {
    pub text: Vec<u8>,
    pub stderr: bool,
    /// What the user wants to have with each line.
    pub attrs: BTreeMap<String, String>,
    pub time: String,
}

impl Entry {
    /// The log, oldest first; ends with the log, or when followed with the
    /// container's run. On a `LocalSet`.
    pub async fn logs(&self, mut request: LogRequest) -> io::Result<mpsc::Receiver<LogItem>> {
        let log = self.container().paths.log();
        request.follow &= self.status().is_up();
        // Before anything is read: what comes later is told of.
        let following = match request.follow {
            true => {
                Some(Following { grown: self.growth.of(&log)?, life: self.watch(), exits: self.life.borrow().exits })
            }
            false => None,
        };
        read(log, request, following).await
    }
}

async fn read(log: PathBuf, request: LogRequest, following: Option<Following>) -> io::Result<mpsc::Receiver<LogItem>> {
    let path = log.clone();
    let reader = blocking(move || Reader::open(path, request)).await?;
    let (items, receiver) = mpsc::channel(AHEAD);
    tokio::task::spawn_local(async move {
        if let Err(error) = pass_on(reader, following, &items).await {
            tracing::warn!(path = %log.display(), %error, "log not read");
        }
    });
    Ok(receiver)
}

/// What a follower waits for.
struct Following {
    grown: Grown,
    life: watch::Receiver<Life>,
    exits: u64,
}

impl Following {
    /// True if there is more to come.
    async fn more(&mut self) -> bool {
        let exits = self.exits;
        tokio::select! {
            () = self.grown.grown() => true,
            _ = self.life.wait_for(|life| life.exits != exits || life.removed) => false,
        }
    }
}

/// Until there is no more, or nobody who wants it.
async fn pass_on(
    mut reader: Reader,
    mut following: Option<Following>,
    items: &mpsc::Sender<LogItem>,
) -> io::Result<()> {
    while !items.is_closed() {
        let (rest, step) = blocking(move || {
            let step = reader.step()?;
            Ok::<_, io::Error>((reader, step))
        })
        .await?;
        reader = rest;
        let Step { items: read, is_at_end } = step;
        for item in read {
            if items.send(item).await.is_err() {
                return Ok(());
            }
        }
        if !is_at_end {
            continue;
        }
        let Some(waiting) = &mut following else {
            return Ok(());
        };
        tokio::select! {
            more = waiting.more() => if !more {
                // What it wrote last is still to be read.
                following = None;
            },
            () = items.closed() => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use casemate_record::log::{LineBuffer, LogFile, Retention};
    use tokio::task::LocalSet;
    use tokio::time::timeout;

    use super::super::entry::Status;
    use super::*;

    /// Long against what any of it takes.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// Runs the body where there is one thread for all that blocks.
    fn run(body: impl Future<Output = ()>) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().max_blocking_threads(1).build().unwrap();
        LocalSet::new().block_on(&runtime, async { timeout(PATIENCE, body).await.expect("it takes for ever") });
    }

    fn life() -> watch::Sender<Life> {
        let life = Life { status: Status::Running, exits: 0, exit_code: 0, error: None, removed: false };
        watch::channel(life).0
    }

    struct Bed {
        dir: tempfile::TempDir,
        log: LogFile,
        lines: LineBuffer,
        growth: Growth,
        life: watch::Sender<Life>,
    }

    impl Bed {
        fn new(retention: Retention) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let log = LogFile::open(dir.path().join("log"), retention, &BTreeMap::new()).unwrap();
            Self { dir, log, lines: LineBuffer::new("stdout"), growth: Growth::default(), life: life() }
        }

        fn write(&mut self, text: &str) {
            self.lines.append(text.as_bytes(), &mut self.log).unwrap();
        }

        async fn read(&self, follow: bool) -> mpsc::Receiver<LogItem> {
            let log = self.dir.path().join("log");
            let request = LogRequest { stdout: true, stderr: true, follow, ..LogRequest::default() };
            let following = follow.then(|| Following {
                grown: self.growth.of(&log).unwrap(),
                life: self.life.subscribe(),
                exits: 0,
            });
            read(log, request, following).await.unwrap()
        }
    }

    async fn next(items: &mut mpsc::Receiver<LogItem>) -> Option<String> {
        Some(String::from_utf8(items.recv().await?.text).unwrap())
    }

    #[test]
    fn clients_that_do_not_read_hold_no_thread() {
        run(async {
            let mut bed = Bed::new(Retention::default());
            let text: String = (0..20_000).map(|number| format!("{number}\n")).collect();
            bed.write(&text);
            let mut unread = Vec::new();
            for number in 0..20 {
                unread.push(bed.read(number % 2 == 0).await);
            }
            for items in &unread {
                // Each has come as far as it may.
                while items.len() < AHEAD {
                    tokio::task::yield_now().await;
                }
            }
            tokio::task::spawn_blocking(|| ()).await.unwrap();
            // And is not lost.
            let mut last = unread.swap_remove(1);
            for number in 0..20_000 {
                assert_eq!(next(&mut last).await.unwrap(), format!("{number}\n"));
            }
            assert_eq!(next(&mut last).await, None);
        });
    }

    /// All that it writes, in however many files, up to what it wrote last.
    #[test]
    fn followers_read_until_the_container_has_ended() {
        run(async {
            let mut bed = Bed::new(Retention { file_size: 1000, files: 20 });
            bed.write("first\n");
            let mut items = bed.read(true).await;
            assert_eq!(next(&mut items).await.unwrap(), "first\n");
            for number in 0..30 {
                bed.write(&format!("{number}\n"));
                assert_eq!(next(&mut items).await.unwrap(), format!("{number}\n"));
            }
            let burst: String = (30..100).map(|number| format!("{number}\n")).collect();
            bed.write(&burst);
            bed.life.send_modify(|life| life.exits += 1);
            for number in 30..100 {
                assert_eq!(next(&mut items).await.unwrap(), format!("{number}\n"));
            }
            assert_eq!(next(&mut items).await, None);
        });
    }
}
