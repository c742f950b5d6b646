//! Files of containers: `archive`, `changes`, `export`.

use std::rc::Rc;

use casemate_engine::daemon::{Entry, FilesAccess};
use casemate_model::{Classify, ErrorClass, Failure};
use casemate_wire::{CallError, ChangeKind, CopyIn, PathStat};
use data_encoding::BASE64;
use hyper::header::HeaderValue;
use hyper::{Response, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use crate::body::Body;
use crate::error::ApiError;
use crate::reply::{self, Reply};
use crate::request::Call;
use crate::upload::{self, Plain};

/// What is read of an archive at once.
const CHUNK: usize = 64 << 10;

async fn open(call: &Call, id: &str) -> Result<(Rc<Entry>, FilesAccess), ApiError> {
    let entry = call.container(id)?;
    let files = call.daemon.files(&entry).await?;
    Ok((entry, files))
}

fn path(call: &Call) -> Result<&str, ApiError> {
    call.query.get("path").ok_or_else(|| ApiError::bad_request("bad parameter: 'path' cannot be empty"))
}

/// In dockerd's words, which `docker cp` repeats.
fn refused(error: CallError, id: &str, path: &str) -> ApiError {
    let failure = Failure::from(error);
    match failure.class() {
        ErrorClass::NotFound => ApiError::not_found(format!("Could not find the file {path} in container {id}")),
        _ => failure.into(),
    }
}

fn with_stat(mut response: Response<Body>, stat: &PathStat) -> Reply {
    let (seconds, nanos) = stat.mtime;
    let mtime = Timestamp::new(seconds, i32::try_from(nanos).unwrap_or(0)).unwrap_or_default();
    let json = json!({
        "name": stat.name, "size": stat.size, "mode": stat.go_mode(), "mtime": mtime.to_string(),
        "linkTarget": stat.link_target,
    });
    let header = HeaderValue::from_str(&BASE64.encode(json.to_string().as_bytes()));
    let header = header.map_err(|error| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    response.headers_mut().insert("x-docker-container-path-stat", header);
    Ok(response)
}

pub(crate) async fn stat(call: &Call, id: &str) -> Reply {
    let path = path(call)?;
    let (_, files) = open(call, id).await?;
    let stat = files.stat_path(path).await.map_err(|error| refused(error, id, path))?;
    with_stat(Response::new(Body::Empty), &stat)
}

pub(crate) async fn copy_out(call: &Call, id: &str) -> Reply {
    let path = path(call)?;
    let (entry, files) = open(call, id).await?;
    let (stat, archive) = files.copy_out(path).await.map_err(|error| refused(error, id, path))?;
    call.daemon.note_use(&entry, "archive-path");
    with_stat(streamed(files, archive)?, &stat)
}

pub(crate) async fn export(call: &Call, id: &str) -> Reply {
    let (entry, files) = open(call, id).await?;
    let archive = files.export().await.map_err(Failure::from)?;
    call.daemon.note_use(&entry, "export");
    streamed(files, archive)
}

/// An archive as a body; the right to the files ends with it.
fn streamed(files: FilesAccess, mut archive: impl AsyncRead + Unpin + 'static) -> Reply {
    let (sender, body) = Body::archive();
    tokio::task::spawn_local(async move {
        let mut chunk = vec![0; CHUNK];
        loop {
            let length = tokio::select! {
                length = archive.read(&mut chunk) => length,
                () = sender.closed() => break,
            };
            let piece = match length {
                Ok(0) => break,
                Ok(length) => Ok(chunk[..length].to_vec().into()),
                Err(error) => Err(error),
            };
            let failed = piece.is_err();
            if sender.send(piece).await.is_err() || failed {
                break;
            }
        }
        drop(archive);
        drop(files);
    });
    reply::stream("application/x-tar", body)
}

pub(crate) async fn copy_in(call: Call, id: &str) -> Reply {
    let copy = CopyIn {
        path: path(&call)?.to_owned(),
        no_overwrite_dir_non_dir: call.query.flag("noOverwriteDirNonDir"),
        copy_uid_gid: call.query.flag("copyUIDGID"),
    };
    let (entry, files) = open(&call, id).await?;
    let mut upload = match files.copy_in(&copy).await {
        Ok(upload) => upload,
        Err(error) => {
            // Nobody waits for a client that is slow to hear of it.
            drop(files);
            upload::discard(call.request.into_body()).await;
            return Err(refused(error, id, &copy.path));
        }
    };
    let unreadable = |error| ApiError::bad_request(format!("cannot read the archive: {error}"));
    let daemon = Rc::clone(&call.daemon);
    let mut archive = Plain::of(call.request.into_body()).await.map_err(unreadable)?;
    let copied = async {
        loop {
            let piece = tokio::select! {
                piece = archive.next() => piece,
                // The container is being removed.
                _ = files.lost() => break,
            };
            let Some(piece) = piece else { break };
            if upload.write_all(&piece.map_err(unreadable)?).await.is_err() {
                // The verdict says why.
                break;
            }
        }
        upload.finish().await.map_err(|error| refused(error, id, &copy.path))
    };
    let copied = copied.await;
    drop(files);
    if let Err(error) = copied {
        archive.discard().await;
        return Err(error);
    }
    daemon.note_use(&entry, "extract-to-dir");
    reply::empty(StatusCode::OK)
}

pub(crate) async fn changes(call: &Call, id: &str) -> Reply {
    let (_, files) = open(call, id).await?;
    let changes = files.changes().await.map_err(Failure::from)?;
    let kind = |kind: ChangeKind| match kind {
        ChangeKind::Modified => 0,
        ChangeKind::Added => 1,
        ChangeKind::Deleted => 2,
    };
    let rows: Vec<Value> =
        changes.iter().map(|change| json!({ "Path": change.path, "Kind": kind(change.kind) })).collect();
    reply::json(&Value::Array(rows))
}
