//! A container as its records and its lock tell it.

use std::fs;
use std::io;
use std::time::Duration;

use casemate_image::Healthcheck;
use casemate_model::{ContainerId, ContainerName, Digest, Isolation, Signal};
use casemate_record::file::RecordError;
use casemate_record::{
    ContainerPaths, ContainerRecord, EndRecord, HealthRecord, RestartPolicyRecord, RestartRecord, StateRecord, file,
};

use crate::daemon::RestartPolicy;
use crate::error::{Damage, FindError};
use crate::{Engine, lock};

/// The exit code of a container whose end nobody saw; Docker's dockerd uses
/// 255 in the same place.
pub(crate) const UNSEEN_EXIT: i32 = 255;

#[derive(Clone, Debug)]
pub struct Container {
    pub id: ContainerId,
    pub name: ContainerName,
    pub isolation: Isolation,
    pub image: Digest,
    /// Lowest first.
    pub layers: Vec<Digest>,
    pub stop_signal: Signal,
    pub record: ContainerRecord,
    pub state: StateRecord,
    pub restart: RestartRecord,
    pub paths: ContainerPaths,
}

/// All containers.
#[derive(Debug, Default)]
pub struct Listing {
    /// Newest first.
    pub containers: Vec<Container>,
    /// Those whose records cannot be read, each with the reason: nothing can be
    /// done with them but to remove them.
    pub damaged: Vec<FindError>,
}

impl Container {
    /// The configuration has been read; the rest is looked at here.
    fn from_records(id: &ContainerId, paths: ContainerPaths, record: ContainerRecord) -> Result<Self, Damage> {
        let mut state = or_if_missing(file::read(&paths.state()), StateRecord::created)?;
        let restart = or_if_missing(file::read(&paths.restart()), RestartRecord::new)?;
        if state.is_running() && !paths.run.exists() {
            state = state.ended(EndRecord {
                exit_code: UNSEEN_EXIT,
                oom_killed: false,
                error: Some("the host went down".to_owned()),
            });
        }
        let invalid = |field, value: &str| Damage::Field { path: paths.config(), field, value: value.to_owned() };
        let layers = record.image.layers.iter();
        Ok(Self {
            id: id.clone(),
            name: record.name.parse().map_err(|_| invalid("name", &record.name))?,
            isolation: record.isolation.parse().map_err(|_| invalid("isolation", &record.isolation))?,
            image: record.image.id.parse().map_err(|_| invalid("image", &record.image.id))?,
            layers: layers.map(|d| d.parse().map_err(|_| invalid("layer", d))).collect::<Result<_, _>>()?,
            stop_signal: Signal::from_number(record.stop_signal.into())
                .map_err(|_| invalid("stop signal", &record.stop_signal.to_string()))?,
            record,
            state,
            restart,
            paths,
        })
    }

    /// Whether its keeper lives: it runs, is about to, or is being cleared up.
    pub fn has_keeper(&self) -> bool {
        lock::is_held(&self.paths.keeper_lock())
    }

    /// The environment without what the engine adds to every container's.
    pub fn configured_env(&self) -> Vec<&str> {
        let hostname = format!("HOSTNAME={}", self.record.hostname);
        let is_own = |entry: &&str| *entry != hostname && !(self.record.tty && *entry == "TERM=xterm");
        self.record.env.iter().map(String::as_str).filter(is_own).collect()
    }

    pub fn restart_policy(&self) -> RestartPolicy {
        let RestartPolicyRecord { name, retries } = &self.record.restart;
        // What cannot be read restarts nothing.
        RestartPolicy::new(name, i64::from(*retries)).unwrap_or_default()
    }

    pub fn health_check(&self) -> Option<Healthcheck> {
        let HealthRecord { test, interval, timeout, start_period, start_interval, retries } =
            self.record.health.clone()?;
        Some(Healthcheck {
            test,
            interval: interval.map(Duration::from_nanos),
            timeout: timeout.map(Duration::from_nanos),
            start_period: start_period.map(Duration::from_nanos),
            start_interval: start_interval.map(Duration::from_nanos),
            retries,
        })
    }
}

impl Engine {
    /// Reads a container's records. A container that was running when the host
    /// went down is one that has exited.
    pub fn container(&self, id: &ContainerId) -> Result<Container, FindError> {
        let paths = self.layout.container(id);
        let record: ContainerRecord = match file::read(&paths.config()) {
            // It is being removed, or was.
            Err(error) if error.is_missing() => return Err(FindError::NotFound { name: id.to_string() }),
            read => read.map_err(|error| FindError::Damaged { id: id.clone(), name: None, source: error.into() })?,
        };
        let name = record.name.clone();
        let damaged = |source| FindError::Damaged { id: id.clone(), name: Some(name), source };
        Container::from_records(id, paths, record).map_err(damaged)
    }

    /// All containers but those that are just being removed.
    pub fn list(&self) -> Result<Listing, FindError> {
        let mut listing = Listing::default();
        for id in self.ids()? {
            match self.container(&id) {
                Ok(container) => listing.containers.push(container),
                Err(FindError::NotFound { .. }) => {}
                Err(error) => listing.damaged.push(error),
            }
        }
        listing.containers.sort_by(|a, b| b.record.created.cmp(&a.record.created));
        Ok(listing)
    }

    /// One whose records cannot be read, by its id, its name if that is known, or
    /// the unambiguous beginning of its id.
    pub(crate) fn find_damaged(&self, text: &str) -> Result<ContainerId, FindError> {
        let wanted = text.strip_prefix('/').unwrap_or(text);
        let damaged = self.list()?.damaged.into_iter().filter_map(|error| match error {
            FindError::Damaged { id, name, .. } => Some((id, name)),
            _ => None,
        });
        let damaged: Vec<_> = damaged.collect();
        if let Some((id, _)) = damaged.iter().find(|(id, name)| id.as_str() == text || name.as_deref() == Some(wanted))
        {
            return Ok(id.clone());
        }
        let mut matching = damaged.iter().filter(|(id, _)| !text.is_empty() && id.as_str().starts_with(text));
        match (matching.next(), matching.next()) {
            (Some((id, _)), None) => Ok(id.clone()),
            (Some(_), Some(_)) => Err(FindError::Ambiguous { name: text.to_owned() }),
            _ => Err(FindError::NotFound { name: text.to_owned() }),
        }
    }

    /// Gives it another name, which must be free.
    pub(crate) fn rename(&self, container: Container, name: ContainerName) -> Result<Container, RecordError> {
        let record = ContainerRecord { name: name.to_string(), ..container.record.clone() };
        Ok(Container { name, ..self.rewrite(container, record)? })
    }

    /// Gives it another configuration.
    pub(crate) fn rewrite(&self, container: Container, record: ContainerRecord) -> Result<Container, RecordError> {
        file::write(&container.paths.config(), &record, file::Durability::Synced)?;
        Ok(Container { record, ..container })
    }

    pub(crate) fn ids(&self) -> Result<Vec<ContainerId>, FindError> {
        let path = self.layout.containers();
        let failed = |source: io::Error| FindError::List { path: path.clone(), source };
        let mut ids = Vec::new();
        for entry in fs::read_dir(&path).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            if let Some(id) = name.to_str().and_then(|name| name.parse().ok()) {
                ids.push(id);
            }
        }
        Ok(ids)
    }
}

fn or_if_missing<T>(read: Result<T, RecordError>, new: impl FnOnce() -> T) -> Result<T, RecordError> {
    match read {
        Err(error) if error.is_missing() => Ok(new()),
        read => read,
    }
}
