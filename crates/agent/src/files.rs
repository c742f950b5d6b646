//! The container's files, for the keeper.

use casemate_model::Failure;
use casemate_supervisor::{Archive, Unpacking};
use casemate_wire::{CopyIn, Create, FileStream, Files, PathStat, Service};

use crate::service::Agent;

impl Files for Agent {
    type Archive = Archive;
    type Unpacking = Unpacking;

    async fn open_files(&self, create: Create) -> Result<(), Failure> {
        self.create(create).await?;
        self.supervisor()?.open_files()
    }

    async fn stat_path(&self, path: String) -> Result<PathStat, Failure> {
        self.supervisor()?.stat_path(path).await
    }

    async fn copy_out(&self, path: String) -> Result<(PathStat, Archive), Failure> {
        self.supervisor()?.copy_out(path).await
    }

    async fn copy_in(&self, copy: CopyIn) -> Result<Unpacking, Failure> {
        self.supervisor()?.copy_in(copy).await
    }

    async fn stream_files(&self, what: FileStream) -> Result<Archive, Failure> {
        self.supervisor()?.stream_files(what).await
    }
}
