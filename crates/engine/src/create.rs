//! From a request to a container on disk.

use std::fs::File;
use std::path::Path;

use casemate_image::{Image, Reference, ResolveError};
use casemate_model::{Classify, ContainerId, ErrorClass, Isolation};
use casemate_record::{ContainerRecord, ImageRecord, file};
use rand::RngCore;

use crate::config::{ContainerConfig, CreateRequest};
use crate::error::{CreateError, FindError};
use crate::{Engine, lock, names};

/// A container that was just made. Its lock is held, so that nobody takes it
/// for a leftover before its keeper has the lock.
#[derive(Debug)]
pub struct Created {
    pub id: ContainerId,
    pub(crate) lock: File,
}

impl Engine {
    /// The image of this name; the built-in one is brought in when it is asked
    /// for first.
    fn image(&self, reference: &str) -> Result<Image, CreateError> {
        match self.images.resolve(reference) {
            Err(error) if error.class() == ErrorClass::NotFound => {
                let builtin: Reference = match "busybox".parse() {
                    Ok(builtin) => builtin,
                    Err(_) => unreachable!("the built-in image has a valid name"),
                };
                if reference.parse::<Reference>().is_ok_and(|asked| asked.canonical() == builtin.canonical()) {
                    let archive = self.settings.lib.join("busybox.tar");
                    self.images.load_builtin(&builtin, &archive).map_err(CreateError::Builtin)?;
                    return self.images.resolve(reference).map_err(CreateError::Image);
                }
                Err(not_found(error))
            }
            other => other.map_err(CreateError::Image),
        }
    }

    /// Makes a container: checks the request, gives it an id and a name, and
    /// writes its configuration. Nothing is left when it fails.
    pub fn create(&self, request: &CreateRequest) -> Result<Created, CreateError> {
        let image = self.image(&request.image)?;
        // Until the record names them, nothing else keeps the layers.
        let _layers = self.images.hold(&image).map_err(CreateError::Image)?;
        let mut random = [0; 32];
        rand::rng().fill_bytes(&mut random);
        let id = ContainerId::from_random(random);
        let config = ContainerConfig::new(request, &image.config, id.short())?;

        // While this is held, no one else gives out names or takes layers away.
        let path = self.layout.lock();
        let _numbers = lock::exclusive(&path).map_err(|source| CreateError::Lock { path, source })?;
        let name = match &request.name {
            Some(name) => match self.containers().map_err(CreateError::Find)?.iter().find(|c| c.name == *name) {
                Some(owner) => {
                    let (name, id) = (name.to_string(), owner.id.to_string());
                    return Err(CreateError::NameTaken { name, id });
                }
                None => name.clone(),
            },
            None => {
                let containers = self.containers().map_err(CreateError::Find)?;
                names::random(|name| containers.iter().any(|c| c.name.as_str() == name))
            }
        };

        let paths = self.layout.container(&id);
        let make = |dir: &Path| {
            lock::make_private_dir(dir).map_err(|source| CreateError::Dir { path: dir.to_owned(), source })
        };
        // In this order: whatever exists of a container, its lock does.
        make(&paths.run)?;
        let lock_path = paths.keeper_lock();
        let lock = lock::exclusive(&lock_path).map_err(|source| CreateError::Lock { path: lock_path, source })?;
        make(&paths.dir)?;
        let record = ContainerRecord {
            version: ContainerRecord::VERSION,
            id: id.to_string(),
            name: name.to_string(),
            created: jiff::Timestamp::now().to_string(),
            image: ImageRecord {
                name: request.image.clone(),
                id: image.id.to_string(),
                layers: image.layers.iter().map(ToString::to_string).collect(),
                entrypoint_length: config.command.entrypoint_length,
            },
            isolation: request.isolation.unwrap_or(Isolation::Process).to_string(),
            args: config.command.args,
            env: config.env,
            cwd: config.cwd,
            user: config.user.to_string(),
            hostname: config.hostname,
            tty: request.tty,
            open_stdin: request.open_stdin,
            read_only: request.read_only,
            auto_remove: request.auto_remove,
            memory: request.memory.map(|bytes| bytes.0),
            nano_cpus: request.cpus.map(|cpus| cpus.0),
            stop_signal: config.stop_signal.number(),
            stop_timeout_s: request.stop_timeout_s,
            labels: request.labels.clone(),
        };
        // A container that goes with its end need not survive a power failure.
        let durability = if request.auto_remove { file::Durability::Ordered } else { file::Durability::Synced };
        if let Err(error) = file::write(&paths.config(), &record, durability) {
            for dir in [&paths.dir, &paths.run] {
                if let Err(error) = std::fs::remove_dir_all(dir) {
                    tracing::warn!(path = %dir.display(), %error, "left behind");
                }
            }
            return Err(CreateError::Record(error));
        }
        Ok(Created { id, lock })
    }
}

/// A name that was looked for has its tag, as Docker shows it.
fn not_found(error: ResolveError) -> CreateError {
    match error {
        ResolveError::NotFound { reference } => CreateError::NoImage { reference },
        error => CreateError::Image(error),
    }
}

impl From<FindError> for CreateError {
    fn from(error: FindError) -> Self {
        Self::Find(error)
    }
}
