//! `POST /containers/{id}/wait`.

use casemate_engine::daemon::Life;
use serde_json::json;

use crate::body::Body;
use crate::error::ApiError;
use crate::reply::{self, Reply};
use crate::request::Call;

pub(crate) fn wait(call: &Call, id: &str) -> Reply {
    let entry = call.container(id)?;
    let mut life = entry.watch();
    let exits = life.borrow().exits;
    let condition: Box<dyn FnMut(&Life) -> bool> = match call.query.get("condition") {
        None | Some("not-running") => Box::new(|life| !life.status.is_up() || life.removed),
        Some("next-exit") => Box::new(move |life| life.exits != exits || life.removed),
        Some("removed") => Box::new(|life| life.removed),
        Some(other) => return Err(ApiError::bad_request(format!("invalid condition: \"{other}\""))),
    };
    // The head goes out at once: a client starts the container after it.
    let (sender, body) = Body::endless();
    tokio::task::spawn_local(async move {
        let reached = tokio::select! {
            reached = life.wait_for(condition) => reached.map(|life| life.clone()),
            () = sender.closed() => return,
        };
        let Ok(life) = reached else {
            return;
        };
        let mut answer = json!({ "StatusCode": life.exit_code });
        if let Some(error) = &life.error {
            answer["Error"] = json!({ "Message": error });
        }
        let _ = sender.send(format!("{answer}\n").into()).await;
    });
    reply::stream("application/json", body)
}
