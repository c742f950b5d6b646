//! A container's files: what is asked about them is done by children of this
//! program, one for each request, since it may take as long as the files are
//! large.
//!
//! ```text
//!   child ──report (begun) ──data… ──report (ended)──▶ here
//!     ▲└────────────────── or data… ──────────────────┘
//!     └ killed when what was handed out is dropped
//! ```

mod error;
mod path;
mod work;
mod worker;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use casemate_launch::{Child, ChildFds, LaunchError};
use casemate_model::{ErrorClass, Failure};
use casemate_wire::frame::FrameError;
use casemate_wire::{CallError, CopyIn, FileStream, PathStat, report};
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::Supervisor;
use crate::fd::FdStream;
use work::Talk;
use worker::Worker;
pub(crate) use worker::Workers;

/// What a child and this program may have between them, in bytes: enough that
/// neither waits for the other at every piece.
const PIPE: usize = 256 << 10;

impl Supervisor {
    /// Mounts the root of a container that is not going to be started.
    pub fn open_files(&self) -> Result<(), Failure> {
        self.cage.hold_root().map_err(|error| Failure::from_error(&error))
    }

    pub async fn stat_path(&self, path: String) -> Result<PathStat, Failure> {
        let mut began = self.begin(Way::Out, Job::Stat { path })?;
        began.stat().await
    }

    pub async fn copy_out(&self, path: String) -> Result<(PathStat, Archive), Failure> {
        let mut began = self.begin(Way::Out, Job::CopyOut { path })?;
        let stat = began.stat().await?;
        Ok((stat, began.archive()))
    }

    pub async fn copy_in(&self, copy: CopyIn) -> Result<Unpacking, Failure> {
        let mut began = self.begin(Way::In, Job::CopyIn(copy))?;
        began.begun().await?;
        let Began { data, report, worker } = began;
        Ok(Unpacking { data, report, worker })
    }

    pub async fn stream_files(&self, what: FileStream) -> Result<Archive, Failure> {
        let mut began = self.begin(Way::Out, Job::Stream(what))?;
        began.begun().await?;
        Ok(began.archive())
    }

    /// Starts a child on the job.
    fn begin(&self, way: Way, job: Job) -> Result<Began, Failure> {
        let failed = |error: io::Error| internal(format!("cannot work on the container's files: {error}"));
        let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(|errno| failed(errno.into()));
        let (report, child_report) = pipe()?;
        let (read, write) = pipe()?;
        // A smaller one does as well.
        let _ = fcntl_setpipe_size(&write, PIPE);
        let (ours, childs) = match way {
            Way::Out => (read, write),
            Way::In => (write, read),
        };
        let child = self.child(&job, &childs, &child_report).map_err(|error| Failure::from_error(&error))?;
        drop((childs, child_report));
        Ok(Began {
            data: FdStream::new(ours).map_err(failed)?,
            report: FdStream::new(report).map_err(failed)?,
            worker: self.workers.watch(child).map_err(failed)?,
        })
    }

    fn child(&self, job: &Job, data: &OwnedFd, report: &OwnedFd) -> Result<Child, LaunchError> {
        let fds = ChildFds { report: report.as_fd(), data: data.as_fd() };
        let talk = Talk::new(fds);
        let container = self.cage.container();
        match job {
            Job::Stream(FileStream::Changes) => self.cage.with_layers(fds, |layers| talk.about(layers, work::changes)),
            Job::Stream(FileStream::Layer) => self.cage.with_layers(fds, |layers| talk.about(layers, work::layer)),
            Job::Stream(FileStream::Export) => self.cage.with_root(false, fds, |root| talk.about(root, work::export)),
            Job::Stat { path } => self.cage.with_root(true, fds, |root| {
                talk.about(root, |root, talk| work::stat(root, container, path, talk));
            }),
            Job::CopyOut { path } => self.cage.with_root(true, fds, |root| {
                talk.about(root, |root, talk| work::copy_out(root, container, path, talk));
            }),
            Job::CopyIn(copy) => self.cage.with_root(true, fds, |root| {
                talk.about(root, |root, talk| work::copy_in(root, container, copy, talk));
            }),
        }
    }
}

/// What is asked of a child.
#[derive(Debug)]
enum Job {
    Stat { path: String },
    CopyOut { path: String },
    CopyIn(CopyIn),
    Stream(FileStream),
}

/// Which way the data goes.
#[derive(Clone, Copy, Debug)]
enum Way {
    Out,
    In,
}

/// A child at work.
struct Began {
    data: FdStream,
    report: FdStream,
    worker: Worker,
}

impl Began {
    async fn stat(&mut self) -> Result<PathStat, Failure> {
        let stat = report::read_begun(&mut self.report).await.map_err(reported)?;
        stat.ok_or_else(|| internal("a child did not say what it found".to_owned()))
    }

    async fn begun(&mut self) -> Result<(), Failure> {
        report::read_begun(&mut self.report).await.map(drop).map_err(reported)
    }

    fn archive(self) -> Archive {
        let Self { data, report, worker } = self;
        Archive { data, end: End::Open { report, worker } }
    }
}

/// What a child reads of the container's files. Dropped, the child is killed.
pub struct Archive {
    data: FdStream,
    end: End,
}

enum End {
    Open { report: FdStream, worker: Worker },
    Reported(Pin<Box<dyn Future<Output = Result<(), Failure>>>>),
    Over,
}

impl std::fmt::Debug for Archive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Archive").field("data", &self.data).finish_non_exhaustive()
    }
}

impl AsyncRead for Archive {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        if matches!(self.end, End::Open { .. }) {
            ready!(Pin::new(&mut self.data).poll_read(cx, buf))?;
            if buf.filled().len() > before || buf.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            // A pipe also ends when its writer dies.
            if let End::Open { mut report, worker } = std::mem::replace(&mut self.end, End::Over) {
                self.end = End::Reported(Box::pin(async move {
                    let ended = report::read_ended(&mut report).await.map_err(reported);
                    drop(worker);
                    ended
                }));
            }
        }
        if let End::Reported(reported) = &mut self.end {
            let outcome = ready!(reported.as_mut().poll(cx));
            self.end = End::Over;
            return Poll::Ready(outcome.map_err(io::Error::other));
        }
        Poll::Ready(Ok(()))
    }
}

/// What a child unpacks in the container. Dropped, the child is killed.
#[derive(Debug)]
pub struct Unpacking {
    data: FdStream,
    report: FdStream,
    worker: Worker,
}

impl AsyncWrite for Unpacking {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.data).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.data).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

impl casemate_wire::Unpacking for Unpacking {
    async fn finish(self) -> Result<(), Failure> {
        let Self { data, mut report, worker } = self;
        drop(data);
        let ended = report::read_ended(&mut report).await.map_err(reported);
        drop(worker);
        ended
    }
}

/// A child's word, or that there is none.
fn reported(error: CallError) -> Failure {
    match error {
        CallError::Refused(failure) => failure,
        CallError::Frame(FrameError::Io(_)) => internal("the process that worked on the files was killed".to_owned()),
        other => internal(casemate_model::chain(&other)),
    }
}

fn internal(message: String) -> Failure {
    Failure::new(ErrorClass::Internal, message)
}
