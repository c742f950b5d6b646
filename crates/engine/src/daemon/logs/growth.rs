//! Tells followers that a log has grown, or goes on in another file.
//!
//! All share one inotify instance, made when the first comes: a host has few of
//! them for each of its users (128), root's other programs need some too, and a
//! log may have any number of followers. Single-threaded, on a `LocalSet`.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// Room for events that are read at once; each needs less than 300 bytes.
const EVENTS: usize = 4096;

/// Of all logs.
#[derive(Debug, Default)]
pub(in crate::daemon) struct Growth(OnceCell<Running>);

#[derive(Debug)]
struct Running {
    instance: Rc<Instance>,
    telling: AbortHandle,
}

#[derive(Debug)]
struct Instance {
    inotify: AsyncFd<OwnedFd>,
    watched: RefCell<HashMap<i32, Watched>>,
}

/// A directory, which has one log.
#[derive(Debug)]
struct Watched {
    log: OsString,
    grown: watch::Sender<()>,
}

/// One follower's.
#[derive(Debug)]
pub(super) struct Grown {
    instance: Rc<Instance>,
    watch: i32,
    grown: watch::Receiver<()>,
}

impl Growth {
    /// From here on, of this log.
    pub(super) fn of(&self, log: &Path) -> io::Result<Grown> {
        let (Some(dir), Some(name)) = (log.parent(), log.file_name()) else {
            return Err(ErrorKind::InvalidInput.into());
        };
        let instance = self.instance()?;
        // Of the directory: it stays when the log's files are renamed.
        let flags = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO;
        let watch = inotify::add_watch(&instance.inotify, dir, flags)?;
        let mut watched = instance.watched.borrow_mut();
        let of_log =
            watched.entry(watch).or_insert_with(|| Watched { log: name.to_owned(), grown: watch::Sender::default() });
        Ok(Grown { instance: Rc::clone(instance), watch, grown: of_log.grown.subscribe() })
    }

    fn instance(&self) -> io::Result<&Rc<Instance>> {
        let running = match self.0.get() {
            Some(running) => running,
            None => {
                let started = Running::start()?;
                self.0.get_or_init(|| started)
            }
        };
        Ok(&running.instance)
    }
}

impl Running {
    fn start() -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let inotify = registered(inotify)?;
        let instance = Rc::new(Instance { inotify, watched: RefCell::default() });
        let telling = tokio::task::spawn_local(Rc::clone(&instance).tell_all()).abort_handle();
        Ok(Self { instance, telling })
    }
}

#[allow(unsafe_code, reason = "the engine's only registration of a descriptor of its own")]
fn registered(inotify: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` stays open and the same descriptor as long as it lives,
    // and nothing takes it out of the `AsyncFd` or puts another in its place.
    unsafe { AsyncFd::register(inotify) }.map_err(|error| error.into_parts().1)
}

impl Drop for Running {
    fn drop(&mut self) {
        self.telling.abort();
    }
}

impl Instance {
    async fn tell_all(self: Rc<Self>) {
        loop {
            let told = match self.inotify.readable().await {
                Ok(mut ready) => match self.tell_some() {
                    Err(Errno::WOULDBLOCK) => {
                        ready.clear_ready();
                        Ok(())
                    }
                    told => told.map_err(io::Error::from),
                },
                Err(error) => Err(error),
            };
            if let Err(error) = told {
                tracing::error!(%error, "growing logs are not followed");
                return;
            }
            // A container that floods its log is always ready to be read. Everybody
            // else has a turn.
            tokio::task::yield_now().await;
        }
    }

    /// As many as fit.
    fn tell_some(&self) -> rustix::io::Result<()> {
        let mut events = [MaybeUninit::uninit(); EVENTS];
        let mut events = inotify::Reader::new(self.inotify.get_ref(), &mut events);
        loop {
            match events.next() {
                Ok(event) => self.tell(&event),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
            if events.is_buffer_empty() {
                return Ok(());
            }
        }
    }

    fn tell(&self, event: &inotify::Event<'_>) {
        let watched = self.watched.borrow();
        if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
            watched.values().for_each(Watched::tell);
        } else if let Some(watched) = watched.get(&event.wd())
            && event.file_name().is_some_and(|name| name.to_bytes() == watched.log.as_bytes())
        {
            watched.tell();
        }
    }
}

impl Watched {
    fn tell(&self) {
        self.grown.send_replace(());
    }
}

impl Grown {
    /// Returns when it has since this was asked for the last time.
    pub(super) async fn grown(&mut self) {
        // The sender stays as long as there is a receiver.
        let _ = self.grown.changed().await;
    }
}

impl Drop for Grown {
    /// The last one's directory is no longer watched.
    fn drop(&mut self) {
        let mut watched = self.instance.watched.borrow_mut();
        if watched.get(&self.watch).is_some_and(|of_log| of_log.grown.receiver_count() == 1) {
            watched.remove(&self.watch);
            // Its directory may have been removed.
            let _ = inotify::remove_watch(&self.instance.inotify, self.watch);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::time::Duration;

    use tokio::task::LocalSet;
    use tokio::time::timeout;

    use super::*;

    /// Long against what the kernel takes to tell.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// Those of this process, which other tests have too.
    fn instances() -> usize {
        let descriptors = fs::read_dir("/proc/self/fd").unwrap().flatten();
        let targets = descriptors.filter_map(|entry| fs::read_link(entry.path()).ok());
        targets.filter(|target| target.as_os_str() == "anon_inode:inotify").count()
    }

    /// More than a user may have instances, each of whom is told, and not of what
    /// is not a log's.
    #[tokio::test]
    async fn any_number_of_followers_share_an_instance() {
        let test = async {
            let growth = Growth::default();
            let dir = tempfile::tempdir().unwrap();
            let logs: Vec<_> = ["one", "two"].map(|name| dir.path().join(name).join("log")).into();
            logs.iter().for_each(|log| fs::create_dir(log.parent().unwrap()).unwrap());
            let mut followers: Vec<_> = (0..400).map(|n| growth.of(&logs[n % 2]).unwrap()).collect();
            // A few for those of other tests.
            assert!(instances() < 10, "{} instances", instances());
            let write = |name: &str| {
                let path = dir.path().join("one").join(name);
                fs::File::options().create(true).append(true).open(path).unwrap().write_all(b"x").unwrap();
            };
            write("log");
            for follower in followers.iter_mut().step_by(2) {
                timeout(PATIENCE, follower.grown()).await.unwrap();
            }
            // What was written before it has been told of by now.
            let mut late = growth.of(&logs[0]).unwrap();
            write("scratch.ext4");
            fs::write(&logs[1], b"x").unwrap();
            timeout(PATIENCE, followers[1].grown()).await.unwrap();
            assert!(!late.grown.has_changed().unwrap(), "told of another file than the log");
            fs::rename(dir.path().join("one/scratch.ext4"), &logs[0]).unwrap();
            timeout(PATIENCE, late.grown()).await.unwrap();
            drop(followers);
            let instance = Rc::clone(growth.instance().unwrap());
            assert_eq!(instance.watched.borrow().len(), 1, "directories without followers are watched");
            // One that is gone is nobody's failure.
            fs::remove_dir_all(dir.path().join("one")).unwrap();
            drop(late);
            assert!(instance.watched.borrow().is_empty());
        };
        LocalSet::new().run_until(test).await;
    }
}
