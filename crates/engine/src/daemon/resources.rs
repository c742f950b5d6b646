//! What a running container may use, and what it does: pause, update, stats.

use std::rc::Rc;
use std::sync::Arc;

use casemate_model::{ErrorClass, Failure};
use casemate_record::LimitsRecord;
use casemate_wire::Stats;

use super::entry::{Entry, Status};
use super::{Daemon, RestartPolicy, blocking, to_its_end};
use crate::error::{PauseError, UpdateError};
use crate::limits::check_available;
use crate::options::limits_of;

/// New limits; what is absent stays as it is.
#[derive(Clone, Debug, Default)]
pub struct UpdateRequest {
    pub memory: Option<u64>,
    pub nano_cpus: Option<u64>,
    pub limits: LimitsRecord,
    pub restart: Option<RestartPolicy>,
}

impl Daemon {
    pub async fn pause(self: &Rc<Self>, entry: &Rc<Entry>) -> Result<(), PauseError> {
        self.set_paused(entry, true).await
    }

    pub async fn unpause(self: &Rc<Self>, entry: &Rc<Entry>) -> Result<(), PauseError> {
        self.set_paused(entry, false).await
    }

    async fn set_paused(self: &Rc<Self>, entry: &Rc<Entry>, pause: bool) -> Result<(), PauseError> {
        let (this, entry) = (Rc::clone(self), Rc::clone(entry));
        to_its_end(async move {
            let _changing = entry.changing.lock().await;
            let id = || entry.id.to_string();
            let Some(client) = entry.client() else {
                return Err(PauseError::NotRunning { id: id() });
            };
            match (entry.status(), pause) {
                (Status::Paused, true) => return Err(PauseError::AlreadyPaused { id: id() }),
                (Status::Running, false) => return Err(PauseError::NotPaused { id: id() }),
                _ => {}
            }
            let done = if pause { client.pause().await } else { client.unpause().await };
            done.map_err(|error| PauseError::Refused(error.into()))?;
            entry.set_status(if pause { Status::Paused } else { Status::Running });
            this.note(&entry, if pause { "pause" } else { "unpause" }, []);
            Ok(())
        })
        .await
    }

    /// Changes what is given of a container's limits, now and for its later
    /// starts, and its restart policy. Returns what cannot hold, in Docker's words.
    pub async fn update(
        self: &Rc<Self>,
        entry: &Rc<Entry>,
        request: UpdateRequest,
    ) -> Result<Vec<&'static str>, UpdateError> {
        let (this, entry) = (Rc::clone(self), Rc::clone(entry));
        to_its_end(async move {
            let _changing = entry.changing.lock().await;
            let container = entry.container().as_ref().clone();
            let mut record = container.record.clone();
            if record.auto_remove && request.restart.is_some_and(|policy| policy != RestartPolicy::No) {
                return Err(UpdateError::AutoRemove);
            }
            record.memory = request.memory.or(record.memory);
            record.nano_cpus = request.nano_cpus.or(record.nano_cpus);
            record.host.limits = merged(&record.host.limits, &request.limits);
            let limits =
                limits_of(record.memory, record.nano_cpus, &record.host.limits).map_err(UpdateError::Option)?;
            check_available(&limits).map_err(UpdateError::Option)?;
            let (limits, warnings) = this.engine.supported(container.isolation, limits);
            if let Some(client) = entry.client() {
                client.update(&limits).await.map_err(|error| UpdateError::Refused(error.into()))?;
            }
            if let Some(policy) = request.restart {
                record.restart.name = policy.name().to_owned();
                record.restart.retries = policy.retries();
            }
            let engine = Arc::clone(&this.engine);
            let container = blocking(move || engine.rewrite(container, record)).await.map_err(UpdateError::Record)?;
            entry.set_container(container);
            this.note(&entry, "update", []);
            Ok(warnings)
        })
        .await
    }
}

/// Zero and empty leave a limit as it is.
fn merged(old: &LimitsRecord, new: &LimitsRecord) -> LimitsRecord {
    let number = |old: i64, new: i64| if new == 0 { old } else { new };
    let text = |old: &String, new: &String| if new.is_empty() { old.clone() } else { new.clone() };
    let LimitsRecord {
        memory_swap,
        memory_reservation,
        memory_swappiness,
        oom_kill_disable,
        cpu_shares,
        cpu_period,
        cpu_quota,
        cpuset_cpus,
        cpuset_mems,
        pids,
        blkio_weight,
    } = old;
    LimitsRecord {
        memory_swap: number(*memory_swap, new.memory_swap),
        memory_reservation: number(*memory_reservation, new.memory_reservation),
        memory_swappiness: new.memory_swappiness.or(*memory_swappiness),
        oom_kill_disable: *oom_kill_disable || new.oom_kill_disable,
        cpu_shares: number(*cpu_shares, new.cpu_shares),
        cpu_period: number(*cpu_period, new.cpu_period),
        cpu_quota: number(*cpu_quota, new.cpu_quota),
        cpuset_cpus: text(cpuset_cpus, &new.cpuset_cpus),
        cpuset_mems: text(cpuset_mems, &new.cpuset_mems),
        pids: number(*pids, new.pids),
        blkio_weight: if new.blkio_weight == 0 { *blkio_weight } else { new.blkio_weight },
    }
}

impl Entry {
    /// What it uses now, on the kernel that runs it.
    pub async fn stats(&self) -> Result<Stats, Failure> {
        let not_running = || Failure::new(ErrorClass::Conflict, format!("container {} is not running", self.id));
        let client = self.client().ok_or_else(not_running)?;
        Ok(client.stats().await?)
    }
}
