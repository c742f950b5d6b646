//! Asking about a container's files.

use tokio::io::AsyncReadExt;

use super::{CallError, Client, ask};
use crate::bulk::{Download, Upload};
use crate::convert::InvalidMessage;
use crate::files::{Change, CopyIn, FileStream, PathStat};
use crate::message::{FilesRequest, Request};
use crate::vocabulary::Create;

/// The changes of a container that are taken into memory, in bytes. A million
/// files of usual names have as much.
const MAX_CHANGES: u64 = 64 << 20;

impl Client {
    /// Has the container prepared for requests about its files, and not to be
    /// started: instead of [`Client::create`]. Nothing of this changes its state.
    pub async fn open_files(&self, create: &Create) -> Result<(), CallError> {
        self.done(Request::OpenFiles(Box::new(create.into()))).await
    }

    pub async fn stat_path(&self, path: &str) -> Result<PathStat, CallError> {
        self.call(Request::Files(FilesRequest::StatPath { path: path.to_owned() })).await?.try_into()
    }

    /// A tar stream of what is at the path, and what it is.
    pub async fn copy_out(&self, path: &str) -> Result<(PathStat, Download), CallError> {
        let request = Request::Files(FilesRequest::CopyOut { path: path.to_owned() });
        let mut stream = self.open(&request).await?;
        let stat = ask(&mut stream, &request).await?.try_into()?;
        Ok((stat, Download::new(stream)))
    }

    /// Where to write a tar stream to.
    pub async fn copy_in(&self, copy: &CopyIn) -> Result<Upload, CallError> {
        Ok(Upload::new(self.raw(Request::Files(copy.into())).await?))
    }

    /// What differs from the container's image, parents first.
    pub async fn changes(&self) -> Result<Vec<Change>, CallError> {
        let stream = self.stream_files(FileStream::Changes).await?;
        let mut bytes = Vec::new();
        let read = stream.take(MAX_CHANGES).read_to_end(&mut bytes).await;
        read.map_err(|error| CallError::Refused(crate::bulk::failure_of(error)))?;
        if bytes.len() as u64 == MAX_CHANGES {
            return Err(CallError::Invalid(InvalidMessage::TooManyChanges));
        }
        Change::parse_all(&bytes).map_err(CallError::Invalid)
    }

    /// A tar stream of the whole root.
    pub async fn export(&self) -> Result<Download, CallError> {
        self.stream_files(FileStream::Export).await
    }

    /// A tar stream of what the container has of its own, as a layer.
    pub async fn layer(&self) -> Result<Download, CallError> {
        self.stream_files(FileStream::Layer).await
    }

    pub async fn stream_files(&self, what: FileStream) -> Result<Download, CallError> {
        Ok(Download::new(self.raw(Request::Files(what.into())).await?))
    }
}
