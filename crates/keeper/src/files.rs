//! Work on a container's files, and how long the container is kept for it.
//!
//! A running container's is done while it runs; work that is under way when it
//! ends is done to its end before the rest is taken away. For one that does not
//! run, the keeper is asked to `open_files` instead of to `create` it:
//!
//! ```text
//!   new ──open_files──▶ files ──(first client gone, or shutdown)──▶ ended
//! ```
//!
//! What that changes is the files that were copied in. The container's state is
//! left as it is, whatever happens, and its disk is brought to a clean state
//! before the keeper goes.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use casemate_model::Failure;
use casemate_supervisor::{Archive, Unpacking};
use casemate_wire::{CopyIn, Create, FileStream, Files, PathStat};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;

use crate::backend::Backend;
use crate::service::Desk;
use crate::vm_mode::{GuestArchive, GuestUnpacking};

/// How much work is under way.
#[derive(Clone, Debug)]
pub(crate) struct AtWork(Rc<watch::Sender<usize>>);

/// One piece of it.
#[derive(Debug)]
struct Piece(AtWork);

impl AtWork {
    pub(crate) fn new() -> Self {
        Self(Rc::new(watch::channel(0).0))
    }

    fn begin(&self) -> Piece {
        self.0.send_modify(|pieces| *pieces += 1);
        Piece(self.clone())
    }

    /// Waits until there is none.
    pub(crate) async fn done(&self) {
        // The sender is `self`.
        let _ = self.0.subscribe().wait_for(|pieces| *pieces == 0).await;
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.0.0.send_modify(|pieces| *pieces -= 1);
    }
}

/// From either kind of container.
#[derive(Debug)]
pub(crate) struct FilesOut {
    from: From,
    _piece: Piece,
}

#[derive(Debug)]
enum From {
    Process(Archive),
    Vm(GuestArchive),
}

impl AsyncRead for FilesOut {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.from {
            From::Process(archive) => Pin::new(archive).poll_read(cx, buf),
            From::Vm(archive) => Pin::new(archive).poll_read(cx, buf),
        }
    }
}

/// To either kind of container.
#[derive(Debug)]
pub(crate) struct FilesIn {
    to: To,
    _piece: Piece,
}

#[derive(Debug)]
enum To {
    Process(Unpacking),
    Vm(GuestUnpacking),
}

impl AsyncWrite for FilesIn {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.to {
            To::Process(unpacking) => Pin::new(unpacking).poll_write(cx, bytes),
            To::Vm(unpacking) => unpacking.upload().poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.to {
            To::Process(unpacking) => Pin::new(unpacking).poll_flush(cx),
            To::Vm(unpacking) => unpacking.upload().poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

impl casemate_wire::Unpacking for FilesIn {
    async fn finish(self) -> Result<(), Failure> {
        match self.to {
            To::Process(unpacking) => unpacking.finish().await,
            To::Vm(unpacking) => unpacking.finish().await,
        }
    }
}

impl Files for Desk {
    type Archive = FilesOut;
    type Unpacking = FilesIn;

    async fn open_files(&self, create: Create) -> Result<(), Failure> {
        self.keeper.open_files(create).await
    }

    async fn stat_path(&self, path: String) -> Result<PathStat, Failure> {
        let _piece = self.keeper.at_work.begin();
        match self.keeper.with_files()? {
            Backend::Process(supervisor) => supervisor.stat_path(path).await,
            Backend::Vm(vm) => vm.stat_path(&path).await,
        }
    }

    async fn copy_out(&self, path: String) -> Result<(PathStat, FilesOut), Failure> {
        let piece = self.keeper.at_work.begin();
        let (stat, from) = match self.keeper.with_files()? {
            Backend::Process(supervisor) => {
                let (stat, archive) = supervisor.copy_out(path).await?;
                (stat, From::Process(archive))
            }
            Backend::Vm(vm) => {
                let (stat, archive) = vm.copy_out(&path).await?;
                (stat, From::Vm(archive))
            }
        };
        Ok((stat, FilesOut { from, _piece: piece }))
    }

    async fn copy_in(&self, copy: CopyIn) -> Result<FilesIn, Failure> {
        let piece = self.keeper.at_work.begin();
        let to = match self.keeper.with_files()? {
            Backend::Process(supervisor) => To::Process(supervisor.copy_in(copy).await?),
            Backend::Vm(vm) => To::Vm(vm.copy_in(&copy).await?),
        };
        Ok(FilesIn { to, _piece: piece })
    }

    async fn stream_files(&self, what: FileStream) -> Result<FilesOut, Failure> {
        let piece = self.keeper.at_work.begin();
        let from = match self.keeper.with_files()? {
            Backend::Process(supervisor) => From::Process(supervisor.stream_files(what).await?),
            Backend::Vm(vm) => From::Vm(vm.stream_files(what).await?),
        };
        Ok(FilesOut { from, _piece: piece })
    }
}
