//! `commit`: an image of what a container has written.

use std::rc::Rc;
use std::sync::Arc;

use casemate_image::{Image, ImageConfig, MakeRequest, Reference};
use casemate_model::{Digest, Failure, Signal};

use super::entry::{Entry, Status};
use super::{Daemon, blocking, to_its_end};
use crate::container::Container;
use crate::error::{CommitError, StartError};
use crate::paced;
use crate::pieces::Pieces;

/// An image to be made.
#[derive(Clone, Debug, Default)]
pub struct CommitRequest {
    pub name: Option<Reference>,
    pub author: String,
    pub comment: String,
    /// Instructions of a Dockerfile.
    pub changes: Vec<String>,
    /// Whether a container that runs stands still meanwhile.
    pub pause: bool,
}

impl Daemon {
    /// Makes an image of the container's own image and what it has written since,
    /// to run as it was told to run.
    pub async fn commit(self: &Rc<Self>, entry: &Rc<Entry>, request: CommitRequest) -> Result<Digest, CommitError> {
        let (this, entry) = (Rc::clone(self), Rc::clone(entry));
        // One that was paused for it goes on afterwards.
        to_its_end(async move { this.commit_to_its_end(&entry, request).await }).await
    }

    async fn commit_to_its_end(
        self: &Rc<Self>,
        entry: &Rc<Entry>,
        request: CommitRequest,
    ) -> Result<Digest, CommitError> {
        let paused = request.pause && entry.status() == Status::Running;
        if paused {
            self.pause(entry).await?;
        }
        let made = self.make_image(entry, &request).await;
        if paused && entry.status() == Status::Paused {
            // It may have been killed meanwhile.
            if let Err(error) = self.unpause(entry).await {
                tracing::warn!(container = %entry.id.short(), error = casemate_model::chain(&error), "still paused");
            }
        }
        let id = made?;
        let name = request.name.map(|name| name.or_latest().to_string()).unwrap_or_default();
        let attributes = [("comment", request.comment), ("imageID", id.to_string()), ("imageRef", name)];
        self.note(entry, "commit", attributes);
        Ok(id)
    }

    async fn make_image(self: &Rc<Self>, entry: &Rc<Entry>, request: &CommitRequest) -> Result<Digest, CommitError> {
        let container = entry.container();
        let record = &container.record;
        let (engine, image) = (Arc::clone(&self.engine), record.image.id.clone());
        let base: Image = blocking(move || engine.images().resolve(&image)).await.map_err(CommitError::Image)?;
        let mut config = config(&container, &base.config);
        config.change(&request.changes).map_err(CommitError::Change)?;
        let request = MakeRequest {
            name: request.name.clone(),
            config,
            author: request.author.clone(),
            comment: request.comment.clone(),
            created_by: record.args.join(" "),
        };
        let files = self.files(entry).await.map_err(CommitError::Files)?;
        let layer =
            files.layer().await.map_err(|error| CommitError::Files(StartError::Refused(Failure::from(error))))?;
        let layer = Pieces::of(layer);
        let engine = Arc::clone(&self.engine);
        // At the pace of the guest, if it has one.
        let made = paced::spawn(move || engine.images().make_on(&base, layer, &request)).await.await;
        drop(files);
        made.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic())).map_err(CommitError::Make)
    }
}

/// As the container was told to run; the rest is its image's.
fn config(container: &Container, image: &ImageConfig) -> ImageConfig {
    let record = &container.record;
    let (entrypoint, cmd) = record.args.split_at(record.image.entrypoint_length.min(record.args.len()));
    let set = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    ImageConfig {
        env: container.configured_env().into_iter().map(str::to_owned).collect(),
        entrypoint: entrypoint.to_vec(),
        cmd: cmd.to_vec(),
        working_dir: set(&record.cwd).filter(|dir| dir != "/").or_else(|| image.working_dir.clone()),
        user: set(&record.user),
        stop_signal: match container.stop_signal {
            Signal::TERM => image.stop_signal.clone(),
            other => Some(other.to_string()),
        },
        labels: record.labels.clone(),
        healthcheck: container.health_check(),
        ..image.clone()
    }
}
