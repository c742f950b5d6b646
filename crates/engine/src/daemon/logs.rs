//! Reading a container's log, once or as it grows.
//!
//! A thread reads, and waits when its client does; a log of gigabytes costs
//! neither the daemon's memory nor anybody else's time.

mod reader;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify;
use tokio::sync::mpsc;

use self::reader::{Reader, Step};
use super::entry::Entry;

/// Entries read ahead of the client.
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
    /// container's run.
    pub fn logs(self: &Rc<Self>, mut request: LogRequest) -> io::Result<mpsc::Receiver<LogItem>> {
        let (items, receiver) = mpsc::channel(AHEAD);
        let paths = self.container().paths.clone();
        request.follow &= self.status().is_up();
        let follow = request.follow;
        // Closed when there is no more to come, which wakes the thread.
        let (over, ending) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let passing = Passing { log: paths.log(), request, items: items.clone(), over };
        if follow {
            let watch = Watch::new(&paths.dir)?;
            let mut life = self.watch();
            let exits = life.borrow().exits;
            tokio::task::spawn_local(async move {
                tokio::select! {
                    _ = life.wait_for(|life| life.exits != exits || life.removed) => {}
                    () = items.closed() => {}
                }
                drop(ending);
            });
            tokio::task::spawn_blocking(move || passing.pass_on(Some(&watch)));
        } else {
            tokio::task::spawn_blocking(move || passing.pass_on(None));
        }
        Ok(receiver)
    }
}

/// Reads in a thread of its own.
struct Passing {
    log: PathBuf,
    request: LogRequest,
    items: mpsc::Sender<LogItem>,
    over: OwnedFd,
}

impl Passing {
    fn pass_on(self, watch: Option<&Watch>) {
        if let Err(error) = self.try_pass_on(watch) {
            tracing::warn!(path = %self.log.display(), %error, "log not read");
        }
    }

    fn try_pass_on(&self, watch: Option<&Watch>) -> io::Result<()> {
        let mut reader = Reader::open(self.log.clone(), self.request.clone())?;
        let mut over = watch.is_none();
        loop {
            let Step { items, is_at_end } = reader.step()?;
            for item in items {
                if self.items.blocking_send(item).is_err() {
                    return Ok(());
                }
            }
            match watch {
                _ if !is_at_end => {}
                Some(watch) if !over => over = watch.wait(&self.over)?,
                _ => return Ok(()),
            }
        }
    }
}

/// Tells of changes in a container's directory: its log grows, or is rotated.
struct Watch(OwnedFd);

impl Watch {
    fn new(dir: &Path) -> io::Result<Self> {
        let fd = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        let events = inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO;
        inotify::add_watch(fd.as_fd(), dir, events)?;
        Ok(Self(fd))
    }

    /// Waits for a change; true if there is no more to come.
    fn wait(&self, over: &OwnedFd) -> io::Result<bool> {
        let mut polled = [PollFd::new(&self.0, PollFlags::IN), PollFd::new(over, PollFlags::IN)];
        loop {
            match poll(&mut polled, None) {
                Ok(_) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        // What happened does not matter: everything is looked at again.
        let mut events = [0; 4096];
        while let Ok(1..) = rustix::io::read(&self.0, &mut events) {}
        Ok(!polled[1].revents().is_empty())
    }
}
