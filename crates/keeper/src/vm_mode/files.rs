//! A guest's files: what is asked is asked of the agent.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use casemate_model::{ErrorClass, Failure};
use casemate_wire::frame::FrameError;
use casemate_wire::{CallError, CopyIn, Download, FileStream, PathStat, Upload};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::VmMode;
use super::watch::Ending;

/// Has a VM that stands still run while somebody works on its files; what is in
/// the container goes on standing still.
#[derive(Debug)]
pub(super) struct Awake(Rc<VmMode>);

impl Awake {
    fn keep(vm: &Rc<VmMode>) -> Result<Self, Failure> {
        if vm.ending.is_frozen() {
            vm.thaw()?;
        }
        vm.at_work.set(vm.at_work.get() + 1);
        Ok(Self(Rc::clone(vm)))
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        let vm = &self.0;
        vm.at_work.set(vm.at_work.get() - 1);
        if vm.at_work.get() > 0 || vm.standing.borrow().is_none() || vm.ending.has_ended() {
            return;
        }
        if let Err(failure) = vm.freeze() {
            tracing::warn!(error = failure.message, "a paused container's VM goes on");
        }
    }
}

/// Comes from the guest, which is held to the protocol.
#[derive(Debug)]
pub(crate) struct GuestArchive {
    download: Download,
    ending: Rc<Ending>,
    _awake: Awake,
}

impl AsyncRead for GuestArchive {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.download).poll_read(cx, buf);
        if let Poll::Ready(Err(error)) = &read
            && let Some(failure) = error.get_ref().and_then(|inner| inner.downcast_ref::<Failure>())
            && failure.class == ErrorClass::Protocol
        {
            self.ending.end(&format!("the guest broke the protocol: {}", failure.message));
        }
        read
    }
}

/// Goes to the guest.
#[derive(Debug)]
pub(crate) struct GuestUnpacking {
    upload: Upload,
    ending: Rc<Ending>,
    _awake: Awake,
}

impl GuestUnpacking {
    pub(crate) async fn finish(self) -> Result<(), Failure> {
        // It takes as long as the guest's disk does.
        match self.upload.finish().await {
            Ok(()) => Ok(()),
            Err(CallError::Refused(failure)) => Err(failure),
            Err(CallError::Lost(_) | CallError::Frame(FrameError::Io(_))) => Err(self.ending.failure().await),
            Err(error) => {
                self.ending.end(&format!("the guest broke the protocol: {}", casemate_model::chain(&error)));
                Err(self.ending.failure().await)
            }
        }
    }

    pub(crate) fn upload(&mut self) -> Pin<&mut impl AsyncWrite> {
        Pin::new(&mut self.upload)
    }
}

impl VmMode {
    pub(crate) async fn stat_path(self: &Rc<Self>, path: &str) -> Result<PathStat, Failure> {
        let _awake = Awake::keep(self)?;
        self.ending.answered(self.client.stat_path(path)).await
    }

    pub(crate) async fn copy_out(self: &Rc<Self>, path: &str) -> Result<(PathStat, GuestArchive), Failure> {
        let awake = Awake::keep(self)?;
        let (stat, download) = self.ending.answered(self.client.copy_out(path)).await?;
        Ok((stat, self.archive(download, awake)))
    }

    pub(crate) async fn copy_in(self: &Rc<Self>, copy: &CopyIn) -> Result<GuestUnpacking, Failure> {
        let awake = Awake::keep(self)?;
        let upload = self.ending.answered(self.client.copy_in(copy)).await?;
        Ok(GuestUnpacking { upload, ending: Rc::clone(&self.ending), _awake: awake })
    }

    pub(crate) async fn stream_files(self: &Rc<Self>, what: FileStream) -> Result<GuestArchive, Failure> {
        let awake = Awake::keep(self)?;
        let download = self.ending.answered(self.client.stream_files(what)).await?;
        Ok(self.archive(download, awake))
    }

    fn archive(&self, download: Download, awake: Awake) -> GuestArchive {
        GuestArchive { download, ending: Rc::clone(&self.ending), _awake: awake }
    }
}
