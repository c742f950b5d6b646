//! Answering requests about a container's files.

use casemate_model::Failure;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::respond;
use crate::bulk;
use crate::connection::Stream;
use crate::files::{self, CopyIn, FileStream, Files};
use crate::message::{FilesRequest, Response};

pub(super) async fn answer<S: Files>(service: &S, request: FilesRequest, mut stream: Stream) {
    match request {
        FilesRequest::StatPath { path } => {
            let mut end = [0; 1];
            let stat = async { service.stat_path(files::path(path)?).await };
            let stat = tokio::select! {
                stat = stat => stat,
                _ = stream.read(&mut end) => return,
            };
            respond(&mut stream, stat.map(Into::into)).await;
            let _ = stream.shutdown().await;
        }
        FilesRequest::CopyOut { path } => {
            let opened = async { service.copy_out(files::path(path)?).await };
            let opened = opened.await.map(|(stat, archive)| (stat.into(), archive));
            download(opened, stream).await;
        }
        FilesRequest::CopyIn { path, no_overwrite_dir_non_dir, copy_uid_gid } => {
            let opened = async {
                let path = files::path(path)?;
                service.copy_in(CopyIn { path, no_overwrite_dir_non_dir, copy_uid_gid }).await
            };
            match opened.await {
                Ok(unpacking) => {
                    if respond(&mut stream, Ok(Response::Done)).await {
                        bulk::receive(unpacking, stream).await;
                    }
                }
                Err(failure) => refuse(failure, stream).await,
            }
        }
        FilesRequest::Changes => all(service, FileStream::Changes, stream).await,
        FilesRequest::Export => all(service, FileStream::Export, stream).await,
        FilesRequest::Layer => all(service, FileStream::Layer, stream).await,
    }
}

async fn all<S: Files>(service: &S, what: FileStream, stream: Stream) {
    let opened = service.stream_files(what).await.map(|archive| (Response::Done, archive));
    download(opened, stream).await;
}

async fn download(opened: Result<(Response, impl tokio::io::AsyncRead + Unpin), Failure>, mut stream: Stream) {
    match opened {
        Ok((head, archive)) => {
            if respond(&mut stream, Ok(head)).await {
                bulk::send(archive, stream).await;
            }
        }
        Err(failure) => refuse(failure, stream).await,
    }
}

async fn refuse(failure: Failure, mut stream: Stream) {
    respond(&mut stream, Err(failure)).await;
    let _ = stream.shutdown().await;
}
