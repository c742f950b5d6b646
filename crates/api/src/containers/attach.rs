//! `POST /containers/{id}/attach`, and `GET …/attach/ws`.

use std::rc::Rc;

use casemate_engine::daemon::{Entry, LogRequest, Status, Streams};
use casemate_model::DetachKeys;
use tokio::io::AsyncWriteExt;
use tokio::sync::oneshot;

use crate::error::ApiError;
use crate::hijack::{self, Connection, Wanted};
use crate::reply::Reply;
use crate::request::Call;
use crate::websocket;

/// What a client that attaches asks for.
struct Asked {
    entry: Rc<Entry>,
    keys: DetachKeys,
    wanted: Wanted,
    logs: bool,
    stream: bool,
}

impl Asked {
    fn of(call: &Call, id: &str) -> Result<Self, ApiError> {
        let entry = call.container(id)?;
        let query = &call.query;
        let keys = hijack::detach_keys(query.get("detachKeys"))?;
        let refused = |state: &str, instead: &str| {
            Err(ApiError::conflict(format!("container {} is {state}, {instead}", entry.id)))
        };
        match entry.status() {
            Status::Paused => return refused("paused", "unpause the container before attach"),
            Status::Restarting => return refused("restarting", "wait until the container is running"),
            _ => {}
        }
        let wanted = Wanted {
            stdin: query.flag("stdin") && entry.container().record.open_stdin,
            stdout: query.flag("stdout"),
            stderr: query.flag("stderr"),
            stdin_once: entry.container().record.stdin_once,
        };
        Ok(Self { entry, keys, wanted, logs: query.flag("logs"), stream: query.flag("stream") })
    }

    /// The streams are promised before the client is told to go on: its next
    /// request may be the start.
    async fn promise(&self) -> Result<Option<oneshot::Receiver<Streams>>, ApiError> {
        Ok(match self.stream {
            true => Some(self.entry.attach().await?),
            false => None,
        })
    }

    async fn serve(self, mut connection: Connection, streams: Option<oneshot::Receiver<Streams>>) {
        if self.logs && self.replay(&mut connection).await.is_err() {
            return;
        }
        // A container that never starts has no streams, and not every client waits.
        let streams = match streams {
            Some(streams) => tokio::select! {
                streams = streams => streams.ok(),
                () = &mut connection.gone => None,
            },
            None => None,
        };
        let Some(mut streams) = streams else {
            let _ = connection.writer.shutdown().await;
            return;
        };
        hijack::join(connection, &mut streams, self.wanted, &self.keys, self.entry.started(), async {}).await;
    }

    /// What it wrote before.
    async fn replay(&self, connection: &mut Connection) -> std::io::Result<()> {
        let Wanted { stdout, stderr, .. } = self.wanted;
        let mut items = self.entry.logs(LogRequest { stdout, stderr, ..LogRequest::default() }).await?;
        let raw = self.entry.container().record.tty || !connection.framed;
        while let Some(item) = items.recv().await {
            connection.writer.write_all(&hijack::framed(item.stderr, &item.text, raw)).await?;
        }
        connection.writer.flush().await
    }
}

pub(crate) async fn attach(call: Call, id: &str) -> Reply {
    let asked = Asked::of(&call, id)?;
    let streams = asked.promise().await?;
    call.daemon.note_use(&asked.entry, "attach");
    let (response, taken) = hijack::upgrade(&call, asked.entry.container().record.tty);
    tokio::task::spawn_local(async move {
        if let Ok(connection) = taken.await {
            asked.serve(connection, streams).await;
        }
    });
    Ok(response)
}

/// The same over a WebSocket: bytes without headers, in binary messages.
pub(crate) async fn attach_websocket(call: Call, id: &str) -> Reply {
    let asked = Asked::of(&call, id)?;
    let head = websocket::head(&call)?;
    let streams = asked.promise().await?;
    call.daemon.note_use(&asked.entry, "attach");
    let (response, taken) = hijack::take(&call, head);
    tokio::task::spawn_local(async move {
        if let Ok(connection) = taken.await {
            let (inner, carried) = websocket::carry(connection).await;
            tokio::join!(asked.serve(inner, streams), carried);
        }
    });
    Ok(response)
}
