//! `POST /containers/{id}/attach`.

use std::rc::Rc;

use casemate_engine::daemon::{Entry, LogRequest, Status};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;

use crate::error::ApiError;
use crate::hijack::{self, Connection, Wanted};
use crate::reply::Reply;
use crate::request::Call;

pub(crate) async fn attach(mut call: Call, id: &str) -> Reply {
    let entry = call.container(id)?;
    let query = &call.query;
    let keys = hijack::detach_keys(query.get("detachKeys"))?;
    let wanted = Wanted { stdin: query.flag("stdin"), stdout: query.flag("stdout"), stderr: query.flag("stderr") };
    let (with_logs, stream) = (query.flag("logs"), query.flag("stream"));
    match entry.status() {
        Status::Paused => {
            let id = &entry.id;
            return Err(ApiError::conflict(format!("container {id} is paused, unpause the container before attach")));
        }
        Status::Restarting => {
            let id = &entry.id;
            return Err(ApiError::conflict(format!(
                "container {id} is restarting, wait until the container is running"
            )));
        }
        _ => {}
    }
    let record = entry.container();
    let wanted = Wanted { stdin: wanted.stdin && record.record.open_stdin, ..wanted };
    let terminal = record.record.tty;
    let (response, upgrade) = hijack::upgrade(&mut call.request, call.version, terminal)?;
    // Promised before the client is told to go on: its next request may be the
    // start.
    let streams = match stream {
        true => Some(entry.attach().await?),
        false => None,
    };
    tokio::task::spawn_local(async move {
        let Ok(upgraded) = upgrade.await else {
            return;
        };
        let mut connection = TokioIo::new(upgraded);
        if with_logs && replay(&mut connection, &entry, wanted, terminal).await.is_err() {
            return;
        }
        let Some(streams) = streams else {
            let _ = connection.shutdown().await;
            return;
        };
        // A container that never starts has no streams.
        let Ok(mut streams) = streams.await else {
            let _ = connection.shutdown().await;
            return;
        };
        let started = entry.started();
        hijack::join(connection, &mut streams, wanted, &keys, started).await;
    });
    Ok(response)
}

/// What it wrote before.
async fn replay(connection: &mut Connection, entry: &Rc<Entry>, wanted: Wanted, terminal: bool) -> std::io::Result<()> {
    let mut items = entry.logs(LogRequest { stdout: wanted.stdout, stderr: wanted.stderr, ..LogRequest::default() })?;
    while let Some(item) = items.recv().await {
        connection.write_all(&hijack::framed(item.stderr, &item.text, terminal)).await?;
    }
    Ok(())
}
