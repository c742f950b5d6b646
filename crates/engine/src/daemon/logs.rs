//! Reading a container's log, once or as it grows.
//!
//! A thread reads, and waits when its client does; a log of gigabytes costs
//! neither the daemon's memory nor anybody else's time.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use casemate_record::log::{self, Entry as LogEntry};
use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify;
use tokio::sync::mpsc;

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
    pub fn logs(self: &Rc<Self>, request: LogRequest) -> io::Result<mpsc::Receiver<LogItem>> {
        let (items, receiver) = mpsc::channel(AHEAD);
        let paths = self.container().paths.clone();
        let follow = request.follow && self.status().is_up();
        // Closed when there is no more to come, which wakes the thread.
        let (over, ending) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let reader = Reader { log: paths.log(), request, items: items.clone(), over };
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
            tokio::task::spawn_blocking(move || reader.follow(&watch));
        } else {
            tokio::task::spawn_blocking(move || reader.read_once());
        }
        Ok(receiver)
    }
}

struct Reader {
    log: PathBuf,
    request: LogRequest,
    items: mpsc::Sender<LogItem>,
    over: OwnedFd,
}

/// The client has gone.
struct Gone;

impl Reader {
    fn read_once(self) {
        if let Err(error) = self.read_all() {
            tracing::warn!(path = %self.log.display(), %error, "log not read");
        }
    }

    fn follow(self, watch: &Watch) {
        if let Err(error) = self.try_follow(watch) {
            tracing::warn!(path = %self.log.display(), %error, "log not followed");
        }
    }

    fn try_follow(&self, watch: &Watch) -> io::Result<()> {
        let Some(mut current) = self.read_all()? else {
            return Ok(());
        };
        loop {
            let over = watch.wait(&self.over)?;
            loop {
                if let Some(reader) = &mut current
                    && self.pass_on(reader).is_err()
                {
                    return Ok(());
                }
                // A rotated log goes on in a new file.
                match File::open(&self.log).ok().filter(|file| is_another(current.as_ref(), file)) {
                    Some(file) => current = Some(BufReader::new(file)),
                    None => break,
                }
            }
            if over {
                return Ok(());
            }
        }
    }

    /// What is there; the newest file's reader is returned, unless the client
    /// has gone.
    fn read_all(&self) -> io::Result<Option<Option<BufReader<File>>>> {
        let mut skip = match self.request.tail {
            Some(tail) => self.count()?.saturating_sub(tail),
            None => 0,
        };
        let mut current = None;
        for path in log::files(&self.log) {
            let mut reader = match File::open(&path) {
                Ok(file) => BufReader::new(file),
                // Rotated away meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            while let Some(entry) = next_entry(&mut reader)? {
                if !self.wants(&entry) {
                    continue;
                }
                if skip > 0 {
                    skip -= 1;
                    continue;
                }
                if self.send(entry).is_err() {
                    return Ok(None);
                }
            }
            current = Some(reader);
        }
        Ok(Some(current))
    }

    fn count(&self) -> io::Result<usize> {
        let mut count = 0;
        for path in log::files(&self.log) {
            let mut reader = BufReader::new(File::open(&path)?);
            while let Some(entry) = next_entry(&mut reader)? {
                count += usize::from(self.wants(&entry));
            }
        }
        Ok(count)
    }

    fn pass_on(&self, reader: &mut BufReader<File>) -> Result<(), Gone> {
        while let Ok(Some(entry)) = next_entry(reader) {
            if self.wants(&entry) {
                self.send(entry)?;
            }
        }
        Ok(())
    }

    fn wants(&self, entry: &LogEntry) -> bool {
        let LogRequest { stdout, stderr, since, until, .. } = &self.request;
        let stream = if entry.stream == "stderr" { *stderr } else { *stdout };
        if !stream || (since.is_none() && until.is_none()) {
            return stream;
        }
        let Ok(time) = entry.time.parse::<Timestamp>() else {
            return true;
        };
        since.is_none_or(|since| time >= since) && until.is_none_or(|until| time <= until)
    }

    fn send(&self, entry: LogEntry) -> Result<(), Gone> {
        let LogEntry { log, stream, attrs, time } = entry;
        let item = LogItem { text: log.into_bytes(), stderr: stream == "stderr", attrs, time };
        self.items.blocking_send(item).map_err(|_| Gone)
    }
}

fn is_another(current: Option<&BufReader<File>>, file: &File) -> bool {
    let inode = |file: &File| file.metadata().map(|metadata| metadata.ino()).ok();
    current.is_none_or(|reader| inode(reader.get_ref()) != inode(file))
}

/// The next whole entry from where the reader stands; a damaged line does not
/// hide the others.
fn next_entry(reader: &mut BufReader<File>) -> io::Result<Option<LogEntry>> {
    let mut line = Vec::new();
    loop {
        let length = reader.read_until(b'\n', &mut line)?;
        if length == 0 {
            return Ok(None);
        }
        if !line.ends_with(b"\n") {
            // Half written: read again from its beginning next time.
            reader.seek(SeekFrom::Current(-(line.len() as i64)))?;
            return Ok(None);
        }
        if let Some(entry) = LogEntry::parse(&line) {
            return Ok(Some(entry));
        }
        line.clear();
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
