//! Programs that a test starts: what they write is taken in as it comes, and
//! every wait has an end.

use std::fmt;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use crate::deadline::{PATIENCE, eventually};

/// A program that has ended.
#[derive(Clone)]
pub struct Finished {
    what: String,
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl fmt::Debug for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, code, .. } = self;
        write!(f, "{what}\nexit code {code}\nstdout: {}\nstderr: {}", shown(&self.stdout), shown(&self.stderr))
    }
}

fn shown(bytes: &[u8]) -> String {
    const MOST: usize = 4000;
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(MOST)]);
    if bytes.len() > MOST { format!("{text}… ({} bytes)", bytes.len()) } else { text.into_owned() }
}

impl Finished {
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    #[track_caller]
    pub fn ok(self) -> Self {
        self.exits(0)
    }

    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "exit code of {self:?}");
        self
    }

    #[track_caller]
    pub fn prints(self, out: &str) -> Self {
        assert_eq!(self.out(), out, "output of {self:?}");
        self
    }

    #[track_caller]
    pub fn complains(self, about: &str) -> Self {
        assert!(self.err().contains(about), "{about:?} is not in the complaint of {self:?}");
        self
    }

    /// On whichever output: Docker tells on the standard one why an exec could
    /// not be started.
    #[track_caller]
    pub fn says(self, what: &str) -> Self {
        assert!(self.out().contains(what) || self.err().contains(what), "{what:?} is not in what {self:?} says");
        self
    }

    /// Standard output without the white space around it.
    #[track_caller]
    pub fn word(self) -> String {
        self.ok().out().trim().to_owned()
    }
}

/// Bytes as they come in, and whether their end has.
#[derive(Debug, Default)]
struct Gathered {
    state: Mutex<(Vec<u8>, bool)>,
    changed: Condvar,
}

impl Gathered {
    /// A test that fails while it looks must not fail the reader too.
    fn locked(&self) -> MutexGuard<'_, (Vec<u8>, bool)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, (Vec<u8>, bool)>, within: Duration) -> MutexGuard<'a, (Vec<u8>, bool)> {
        self.changed.wait_timeout(state, within).unwrap_or_else(PoisonError::into_inner).0
    }

    fn end(&self) {
        self.locked().1 = true;
        self.changed.notify_all();
    }

    fn add(&self, bytes: &[u8]) {
        self.locked().0.extend_from_slice(bytes);
        self.changed.notify_all();
    }
}

/// One output of a program, read by a thread of its own.
#[derive(Debug)]
pub struct Output(Arc<Gathered>);

impl Output {
    pub fn read(mut from: impl Read + Send + 'static) -> Self {
        let gathered = Arc::new(Gathered::default());
        let ours = Arc::clone(&gathered);
        std::thread::spawn(move || {
            let mut chunk = vec![0; 64 << 10];
            // A terminal's end is an error (EIO).
            while let Ok(length @ 1..) = from.read(&mut chunk) {
                ours.add(&chunk[..length]);
            }
            ours.end();
        });
        Self(gathered)
    }

    pub fn so_far(&self) -> Vec<u8> {
        self.0.locked().0.clone()
    }

    /// Waits until the text has come, counted from the beginning.
    #[track_caller]
    pub fn wait_for(&self, text: &str) {
        self.wait_for_count(text, 1);
    }

    #[track_caller]
    pub fn wait_for_count(&self, text: &str, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.0.locked();
        loop {
            if String::from_utf8_lossy(&state.0).matches(text).count() >= count {
                return;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!state.1, "{text:?} did not come; the output was {}", shown(&state.0));
            assert!(!left.is_zero(), "{text:?} has not come; the output so far is {}", shown(&state.0));
            state = self.0.wait(state, left);
        }
    }

    /// Whether the text comes in time.
    pub fn comes_within(&self, text: &str, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        let mut state = self.0.locked();
        loop {
            if String::from_utf8_lossy(&state.0).contains(text) {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if state.1 || left.is_zero() {
                return false;
            }
            state = self.0.wait(state, left);
        }
    }

    /// All of it, once its end has come.
    fn to_end(&self, deadline: Instant) -> Option<Vec<u8>> {
        let mut state = self.0.locked();
        while !state.1 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            state = self.0.wait(state, left);
        }
        Some(std::mem::take(&mut state.0))
    }
}

/// A program that runs. Dropped before its end, it is killed.
#[derive(Debug)]
pub struct Spawned {
    what: String,
    child: Child,
    stdin: Option<ChildStdin>,
    feeding: Option<JoinHandle<()>>,
    unread: (Option<ChildStdout>, Option<ChildStderr>),
    pub stdout: Output,
    pub stderr: Output,
}

impl Spawned {
    /// Takes in both outputs from the start.
    pub fn start(command: Command) -> Self {
        let mut spawned = Self::start_unread(command);
        spawned.read_on();
        spawned
    }

    /// Reads nothing of what the program writes before [`Self::read_on`]: its
    /// pipes fill, and stay full.
    pub fn start_unread(mut command: Command) -> Self {
        let what = format!("{command:?}");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {what}: {error}"));
        let unread = (child.stdout.take(), child.stderr.take());
        let stdin = child.stdin.take();
        let empty = || Output(Arc::new(Gathered::default()));
        Self { what, child, stdin, feeding: None, unread, stdout: empty(), stderr: empty() }
    }

    pub fn read_on(&mut self) {
        if let (Some(out), Some(err)) = (self.unread.0.take(), self.unread.1.take()) {
            self.stdout = Output::read(out);
            self.stderr = Output::read(err);
        }
    }

    /// Nobody will ever read what it writes here: its pipe breaks.
    pub fn leave_stdout(&mut self) {
        self.unread.0.take().expect("an output that is not read");
        self.stderr = Output::read(self.unread.1.take().expect("an output that is not read"));
    }

    pub fn leave_stderr(&mut self) {
        self.unread.1.take().expect("an output that is not read");
        self.stdout = Output::read(self.unread.0.take().expect("an output that is not read"));
    }

    /// Its exit code, whatever became of its outputs.
    #[track_caller]
    pub fn code(mut self) -> i32 {
        assert!(ended_within(self.child.id(), PATIENCE), "{} has not ended", self.what);
        code(self.child.wait().expect("a child's exit status"))
    }

    /// Waits until the pipe that nobody reads is full.
    #[track_caller]
    pub fn until_stuck(&self) {
        let out = self.unread.0.as_ref().expect("an output that is not read");
        // How many bytes that is depends on how they were written: a page
        // holds a write whole or not at all. Its writing end knows.
        let path = format!("/proc/self/fd/{}", out.as_raw_fd());
        eventually("the pipe is full", PATIENCE, || {
            let writer = File::options().write(true).open(&path).map_err(|err| err.to_string())?;
            let mut polled = [PollFd::new(&writer, PollFlags::OUT)];
            match poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
                Ok(0) => Ok(()),
                _ => Err(format!("it has room, and holds {:?} bytes", rustix::io::ioctl_fionread(out))),
            }
        });
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn write(&mut self, bytes: &[u8]) {
        let stdin = self.stdin.as_mut().expect("an open standard input");
        stdin.write_all(bytes).and_then(|()| stdin.flush()).expect("a program that reads");
    }

    /// Writes it all and closes, beside whatever else the test does.
    pub fn feed(&mut self, bytes: Vec<u8>) {
        let mut stdin = self.stdin.take().expect("an open standard input");
        // A program that ends without reading all is no failure of the test.
        self.feeding = Some(std::thread::spawn(move || drop(stdin.write_all(&bytes))));
    }

    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    pub fn signal(&self, signal: Signal) {
        // Still a child that nobody has waited for: the number is its own.
        kill_process(pid(self.child.id()), signal).expect("a child to be signalled");
    }

    /// Not waited for by this: its number stays its own.
    pub fn has_ended(&self) -> bool {
        ended_within(self.child.id(), Duration::ZERO)
    }

    #[track_caller]
    pub fn wait(self) -> Finished {
        self.wait_within(PATIENCE)
    }

    #[track_caller]
    pub fn wait_within(mut self, within: Duration) -> Finished {
        let deadline = Instant::now() + within;
        // A program that reads to the end of its input must see one.
        self.close_stdin();
        self.read_on();
        if !ended_within(self.child.id(), within) {
            let (out, err) = (self.stdout.so_far(), self.stderr.so_far());
            panic!("{} has not ended after {within:?}\nstdout: {}\nstderr: {}", self.what, shown(&out), shown(&err));
        }
        let status = self.child.wait().expect("a child's exit status");
        // Others may have its outputs open; they must not keep the test.
        let grace = deadline.max(Instant::now() + Duration::from_secs(5));
        let output = |output: &Output| match output.to_end(grace) {
            Some(bytes) => bytes,
            None => panic!("{} has ended, and something of it still has its output open", self.what),
        };
        Finished {
            what: self.what.clone(),
            code: code(status),
            stdout: output(&self.stdout),
            stderr: output(&self.stderr),
        }
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        // Fine if it has ended: a child not waited for keeps its number.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// As a shell has it.
fn code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

pub fn pid(number: u32) -> Pid {
    i32::try_from(number).ok().and_then(Pid::from_raw).expect("a process id")
}

/// Whether the process ends in time. One that is not there has ended.
pub fn ended_within(number: u32, within: Duration) -> bool {
    let Ok(pidfd) = pidfd_open(pid(number), PidfdFlags::empty()) else {
        return true;
    };
    is_readable(&pidfd, within)
}

fn is_readable(fd: &OwnedFd, within: Duration) -> bool {
    let deadline = Instant::now() + within;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&timeout)) {
            Ok(count) => return count > 0,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => panic!("poll: {errno}"),
        }
    }
}
