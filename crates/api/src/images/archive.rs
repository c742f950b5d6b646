//! Images as archives: load and save.

use std::io::{self, Write};
use std::sync::Arc;

use casemate_engine::paced;
use casemate_image::SaveError;
use hyper::body::Bytes;
use serde_json::json;
use tokio::sync::mpsc;

use super::joined;
use crate::body::Body;
use crate::error::ApiError;
use crate::reply::{self, Reply};
use crate::request::Call;
use crate::upload;

pub(crate) async fn load(call: Call) -> Reply {
    let Call { daemon, request, .. } = call;
    let engine = Arc::clone(daemon.engine());
    let (archive, rest) = upload::reader(request.into_body());
    let loading = paced::spawn(move || engine.images().load(archive, &mut |_| {})).await;
    let loaded = joined(loading.await)?;
    if loaded.is_err() {
        rest.discard().await;
    }
    let mut text = String::new();
    for image in loaded? {
        let id = image.id.to_string();
        let lines: Vec<String> = match image.names.as_slice() {
            [] => vec![format!("Loaded image ID: {id}")],
            names => names.iter().map(|name| format!("Loaded image: {name}")).collect(),
        };
        for line in lines {
            text.push_str(&format!("{}\n", json!({ "stream": format!("{line}\n") })));
        }
        daemon.note_image("load", &id, &image.names.first().map_or(id.clone(), ToString::to_string));
    }
    reply::stream("application/json", Body::from(text.into_bytes()))
}

/// One archive of all these images. What cannot be found is refused before the
/// archive begins.
pub(crate) async fn save(call: &Call, names: Vec<String>) -> Reply {
    if names.is_empty() {
        return Err(ApiError::bad_request("no images to save"));
    }
    let engine = Arc::clone(call.daemon.engine());
    let (sender, mut pieces) = mpsc::channel(1);
    let asked = names.clone();
    let mut saved = paced::spawn(move || {
        let names: Vec<&str> = asked.iter().map(String::as_str).collect();
        let mut download = Download { pieces: sender, pending: Vec::new() };
        engine.images().save(&names, &mut download)?;
        download.flush().map_err(SaveError::Write)
    })
    .await;
    let Some(first) = pieces.recv().await else {
        joined(saved.await)??;
        return Err(ApiError::new(hyper::StatusCode::INTERNAL_SERVER_ERROR, "an archive without content"));
    };
    for name in &names {
        call.daemon.note_image("save", name, name);
    }
    let (sender, body) = Body::archive();
    tokio::task::spawn_local(async move {
        if sender.send(Ok(first)).await.is_err() {
            return;
        }
        while let Some(piece) = pieces.recv().await {
            if sender.send(Ok(piece)).await.is_err() {
                return;
            }
        }
        if let Err(error) = joined((&mut saved).await).and_then(|saved| saved.map_err(ApiError::from)) {
            tracing::warn!(error = error.message, "an archive broke off");
            // Nobody may take a part for the whole.
            let _ = sender.send(Err(io::Error::other(error.message))).await;
        }
    });
    reply::stream("application/x-tar", body)
}

/// Where a thread writes what a client is to read, in pieces of some size.
struct Download {
    pieces: mpsc::Sender<Bytes>,
    pending: Vec<u8>,
}

const PIECE: usize = 64 << 10;

impl Write for Download {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pending.extend_from_slice(bytes);
        if self.pending.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let piece = Bytes::from(std::mem::take(&mut self.pending));
        self.pieces.blocking_send(piece).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
