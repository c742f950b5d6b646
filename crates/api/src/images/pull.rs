//! `POST /images/create`: pull, and import.

use std::rc::Rc;
use std::sync::Arc;

use casemate_engine::{Daemon, paced};
use casemate_image::{ImportRequest, Platform, PullError, PullProgress, PullRequest, Pulled, Reference};
use casemate_registry::Credentials;
use hyper::body::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{change, credentials, joined, parse_reference};
use crate::body::Body;
use crate::error::ApiError;
use crate::reply::{self, Reply};
use crate::request::Call;
use crate::upload;

pub(crate) async fn create(call: Call) -> Reply {
    let platform = super::platform(&call)?;
    match call.query.get("fromImage") {
        Some(image) => {
            let name = parse_reference(image)?;
            let name = match call.query.get("tag") {
                None => name,
                Some(tag) => tagged(&name, tag).ok_or_else(|| ApiError::bad_request("invalid tag format"))?,
            };
            pull(&call, name, platform).await
        }
        None => import(call, platform).await,
    }
}

/// A digest may stand where the tag does.
fn tagged(name: &Reference, tag: &str) -> Option<Reference> {
    match tag.contains(':') {
        true => tag.parse().ok().map(|digest| name.with_digest(digest)),
        false => name.with_tag(tag),
    }
}

/// Refused with a status as long as nothing was told; after that the error is
/// the last that is told.
async fn pull(call: &Call, name: Reference, platform: Option<Platform>) -> Reply {
    let (sender, mut told) = mpsc::unbounded_channel();
    let job = Job { daemon: Rc::clone(&call.daemon), credentials: credentials::of(call), platform, told: sender };
    let mut work = Box::pin(job.run(name));
    // What is told first, or why nothing is.
    let mut ended = None;
    let first = tokio::select! {
        biased;
        first = told.recv() => first,
        result = &mut work => {
            ended = Some(result);
            told.try_recv().ok()
        }
    };
    let Some(first) = first else {
        return match ended {
            Some(Err(error)) => Err(error),
            _ => reply::stream("application/json", Body::Empty),
        };
    };
    let (sender, body) = Body::stream();
    tokio::task::spawn_local(async move {
        let mut next = Some(first);
        let told_all = async {
            // The work goes on while a client is slow: it has a turn that others
            // wait for.
            while ended.is_none() || next.is_some() {
                tokio::select! {
                    biased;
                    permit = sender.reserve(), if next.is_some() => {
                        match (permit, next.take()) {
                            (Ok(permit), Some(line)) => permit.send(line),
                            _ => return,
                        }
                    }
                    Some(line) = told.recv(), if next.is_none() => next = Some(line),
                    result = &mut work, if ended.is_none() => ended = Some(result),
                }
                next = next.or_else(|| told.try_recv().ok());
            }
            if let Some(Err(ApiError { message, .. })) = ended {
                let error = json!({ "errorDetail": { "message": message }, "error": message });
                let _ = sender.send(line(&error)).await;
            }
        };
        tokio::select! {
            () = told_all => {}
            // Who is gone does not want the image: what is under way is dropped.
            () = sender.closed() => {}
        }
    });
    reply::stream("application/json", body)
}

struct Job {
    daemon: Rc<Daemon>,
    credentials: Credentials,
    platform: Option<Platform>,
    told: mpsc::UnboundedSender<Bytes>,
}

impl Job {
    /// A name without tag and digest means all tags, as in dockerd.
    async fn run(self, name: Reference) -> Result<(), ApiError> {
        if name.tag().is_some() || name.digest().is_some() {
            return self.pull(name).await;
        }
        for name in self.daemon.puller().tags(&name, &self.credentials).await? {
            self.pull(name).await?;
        }
        Ok(())
    }

    async fn pull(&self, reference: Reference) -> Result<(), ApiError> {
        let name = (reference.to_string(), reference.repository());
        let request = PullRequest { reference, platform: self.platform.clone(), credentials: self.credentials.clone() };
        let told = self.told.clone();
        let mut progress = move |progress: PullProgress| {
            // Nobody listens once the client has gone.
            let _ = told.send(line(&describe(&progress)));
        };
        let pulled: Result<Pulled, PullError> = self.daemon.puller().pull(&request, &mut progress).await;
        pulled?;
        self.daemon.note_image("pull", &name.0, &name.1);
        Ok(())
    }
}

fn line(value: &Value) -> Bytes {
    Bytes::from(format!("{value}\r\n"))
}

/// As `docker` draws it (moby `streamformatter`).
fn describe(progress: &PullProgress) -> Value {
    match progress {
        PullProgress::PullingFrom { tag_or_digest, .. } => {
            json!({ "status": progress.to_string(), "id": tag_or_digest })
        }
        PullProgress::Layer { blob, state } => {
            let detail = match state.bytes() {
                Some((current, total)) => json!({ "current": current, "total": total }),
                None => json!({}),
            };
            json!({ "status": progress.to_string(), "progressDetail": detail, "id": blob.short() })
        }
        PullProgress::Digest(_) | PullProgress::Warning(_) | PullProgress::Status { .. } => {
            json!({ "status": progress.to_string() })
        }
    }
}

async fn import(call: Call, platform: Option<Platform>) -> Reply {
    match call.query.get("fromSrc") {
        Some("-") => {}
        Some(_) => {
            return Err(ApiError::not_implemented(
                "this daemon fetches no archives: fetch it, and give it to 'docker import -'",
            ));
        }
        None => return Err(ApiError::bad_request("one of fromImage and fromSrc is needed")),
    }
    let request = ImportRequest {
        name: change::target(&call)?,
        message: call.query.get("message").unwrap_or_default().to_owned(),
        changes: call.query.all("changes"),
        platform,
    };
    let name = request.name.clone();
    let Call { daemon, request: http, .. } = call;
    let engine = Arc::clone(daemon.engine());
    let (archive, rest) = upload::reader(http.into_body());
    let importing = paced::spawn(move || engine.images().import(archive, &request)).await;
    let imported = joined(importing.await)?;
    if imported.is_err() {
        rest.discard().await;
    }
    let id = imported?.to_string();
    daemon.note_image("import", &id, &name.map_or_else(|| id.clone(), |name| name.or_latest().to_string()));
    reply::stream("application/json", Body::from(line(&json!({ "status": id })).to_vec()))
}
