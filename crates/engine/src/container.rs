//! A container as its records and its lock tell it.

use std::fs;
use std::io;
use std::time::Duration;

use casemate_model::{ContainerId, ContainerName, Digest, Isolation, Signal};
use casemate_record::file::RecordError;
use casemate_record::{
    ContainerPaths, ContainerRecord, EndRecord, HealthRecord, RestartPolicyRecord, RestartRecord, StateRecord, file,
};

use crate::daemon::{HealthCheck, RestartPolicy};
use crate::error::FindError;
use crate::{Engine, lock};

/// The exit code of a container whose end nobody saw; Docker's dockerd uses
/// 255 in the same place.
pub(crate) const UNSEEN_EXIT: i32 = 255;

#[derive(Clone, Debug)]
pub struct Container {
    pub id: ContainerId,
    pub name: ContainerName,
    pub isolation: Isolation,
    /// Lowest first.
    pub layers: Vec<Digest>,
    pub stop_signal: Signal,
    pub record: ContainerRecord,
    pub state: StateRecord,
    pub restart: RestartRecord,
    pub paths: ContainerPaths,
}

impl Container {
    /// Whether its keeper lives: it runs, is about to, or is being cleared up.
    pub fn has_keeper(&self) -> bool {
        lock::is_held(&self.paths.keeper_lock())
    }

    pub fn restart_policy(&self) -> RestartPolicy {
        let RestartPolicyRecord { name, retries } = &self.record.restart;
        // What cannot be read restarts nothing.
        RestartPolicy::new(name, i64::from(*retries)).unwrap_or_default()
    }

    pub fn health_check(&self) -> Option<HealthCheck> {
        let HealthRecord { test, interval, timeout, start_period, start_interval, retries } =
            self.record.health.clone()?;
        Some(HealthCheck {
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
        let record: ContainerRecord = file::read(&paths.config()).map_err(FindError::Record)?;
        let mut state: StateRecord = match file::read(&paths.state()) {
            Ok(state) => state,
            Err(error) if error.is_missing() => StateRecord::created(),
            Err(error) => return Err(FindError::Record(error)),
        };
        let restart = match file::read(&paths.restart()) {
            Ok(restart) => restart,
            Err(error) if error.is_missing() => RestartRecord::new(),
            Err(error) => return Err(FindError::Record(error)),
        };
        if state.is_running() && !paths.run.exists() {
            state = state.ended(EndRecord {
                exit_code: UNSEEN_EXIT,
                oom_killed: false,
                error: Some("the host went down".to_owned()),
            });
        }
        let invalid = |field, value: &str| FindError::Field { path: paths.config(), field, value: value.to_owned() };
        let layers = record.image.layers.iter();
        Ok(Container {
            id: id.clone(),
            name: record.name.parse().map_err(|_| invalid("name", &record.name))?,
            isolation: record.isolation.parse().map_err(|_| invalid("isolation", &record.isolation))?,
            layers: layers.map(|d| d.parse().map_err(|_| invalid("layer", d))).collect::<Result<_, _>>()?,
            stop_signal: Signal::from_number(record.stop_signal.into())
                .map_err(|_| invalid("stop signal", &record.stop_signal.to_string()))?,
            record,
            state,
            restart,
            paths,
        })
    }

    /// All containers, newest first. One that is just being made or removed is
    /// left out.
    pub fn containers(&self) -> Result<Vec<Container>, FindError> {
        let mut containers = Vec::new();
        for id in self.ids()? {
            match self.container(&id) {
                Ok(container) => containers.push(container),
                Err(FindError::Record(error)) if error.is_missing() => {}
                Err(error) => return Err(error),
            }
        }
        containers.sort_by(|a, b| b.record.created.cmp(&a.record.created));
        Ok(containers)
    }

    /// The container of this name, id, or unambiguous beginning of an id.
    pub fn find(&self, text: &str) -> Result<Container, FindError> {
        let not_found = || FindError::NotFound { name: text.to_owned() };
        let ids = self.ids()?;
        if let Some(id) = ids.iter().find(|id| id.as_str() == text) {
            return self.container(id);
        }
        let name = text.strip_prefix('/').unwrap_or(text);
        if let Some(container) = self.containers()?.into_iter().find(|c| c.name.as_str() == name) {
            return Ok(container);
        }
        let mut matching = ids.iter().filter(|id| !text.is_empty() && id.as_str().starts_with(text));
        match (matching.next(), matching.next()) {
            (Some(id), None) => self.container(id),
            (Some(_), Some(_)) => Err(FindError::Ambiguous { name: text.to_owned() }),
            _ => Err(not_found()),
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

    /// Whether a container stands on this layer.
    pub fn uses_layer(&self, layer: &Digest) -> Result<bool, FindError> {
        Ok(self.containers()?.iter().any(|container| container.layers.contains(layer)))
    }

    fn ids(&self) -> Result<Vec<ContainerId>, FindError> {
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
