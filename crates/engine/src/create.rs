//! From a request to a container on disk.

use std::time::Duration;

use casemate_image::{Healthcheck, Image, ImageConfig, Platform, Reference, ResolveError};
use casemate_model::{Classify, ContainerId, ContainerName, ErrorClass};
use casemate_record::{
    ContainerPaths, ContainerRecord, HealthRecord, HostRecord, ImageRecord, NetworkingRecord, RestartPolicyRecord, file,
};
use rand::RngCore;

use crate::config::{ContainerConfig, CreateRequest};
use crate::error::CreateError;
use crate::options::Options;
use crate::{Engine, limits, lock, log_options, networks};

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

    /// Makes a container under a name that is free: checks the request, gives
    /// it an id, and writes its configuration. Nothing is left when it fails.
    pub(crate) fn create(&self, request: &CreateRequest, name: &ContainerName) -> Result<ContainerId, CreateError> {
        let image = self.image(&request.image)?;
        if let Some(platform) = request.platform.as_ref().filter(|platform| !platform.runs(&image)) {
            let (reference, platform) = (request.image.clone(), platform.to_string());
            return Err(CreateError::Platform { reference, found: Platform::from(&image).to_string(), platform });
        }
        // What has no configuration when nobody has the lock is a leftover.
        let _containers = self.lock_containers().map_err(CreateError::Lock)?;
        // Until the record names them, nothing else keeps the layers.
        let _layers = self.images.hold(&image).map_err(CreateError::Image)?;
        let mut random = [0; 32];
        rand::rng().fill_bytes(&mut random);
        let id = ContainerId::from_random(random);
        let config = ContainerConfig::new(request, &image.config, id.short())?;

        let isolation = request.isolation.unwrap_or_else(|| self.default_isolation());
        let paths = self.layout.container(&id);
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
            isolation: isolation.to_string(),
            args: config.command.args,
            env: config.env,
            cwd: config.cwd,
            user: config.user.to_string(),
            hostname: config.hostname,
            tty: request.tty,
            open_stdin: request.open_stdin,
            stdin_once: request.stdin_once,
            read_only: request.read_only,
            auto_remove: request.auto_remove,
            memory: config.memory.map(|bytes| bytes.0),
            nano_cpus: config.cpus.map(|cpus| cpus.0),
            stop_signal: config.stop_signal.number(),
            stop_timeout_s: request.stop_timeout_s,
            labels: config.labels,
            restart: RestartPolicyRecord {
                name: request.restart.name().to_owned(),
                retries: request.restart.retries(),
            },
            health: config.health.as_ref().map(health_record),
            host: HostRecord {
                log: log_options::with_defaults(&request.host.log, &self.settings.log),
                ..request.host.clone()
            },
            networking: with_exposed(&request.networking, &image.config),
        };
        let options = Options::of(&record, isolation).map_err(CreateError::Option)?;
        limits::check_available(&options.limits).map_err(CreateError::Option)?;
        match keep(&paths, &record) {
            Ok(()) => Ok(id),
            Err(error) => {
                if let Err(error) = casemate_tree::remove(&paths.dir) {
                    tracing::warn!(path = %paths.dir.display(), %error, "left behind");
                }
                Err(error)
            }
        }
    }
}

/// A container exists once its record is there.
fn keep(paths: &ContainerPaths, record: &ContainerRecord) -> Result<(), CreateError> {
    lock::make_private_dir(&paths.dir).map_err(|source| CreateError::Dir { path: paths.dir.clone(), source })?;
    // One that goes with its end need not survive a power failure.
    let durability = if record.auto_remove { file::Durability::Ordered } else { file::Durability::Synced };
    file::write(&paths.config(), record, durability).map_err(CreateError::Record)
}

fn health_record(check: &Healthcheck) -> HealthRecord {
    let Healthcheck { test, interval, timeout, start_period, start_interval, retries } = check;
    let nanos = |duration: &Option<Duration>| duration.map(|d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX));
    HealthRecord {
        test: test.clone(),
        interval: nanos(interval),
        timeout: nanos(timeout),
        start_period: nanos(start_period),
        start_interval: nanos(start_interval),
        retries: *retries,
    }
}

/// The image's ports too, of those that are any.
fn with_exposed(asked: &NetworkingRecord, image: &ImageConfig) -> NetworkingRecord {
    let mut networking = asked.clone();
    let of_image = image.exposed_ports.iter().map(|port| port.to_ascii_lowercase());
    networking.exposed.extend(of_image.filter(|port| networks::is_port(port)));
    networking
}

/// A name that was looked for has its tag, as Docker shows it.
fn not_found(error: ResolveError) -> CreateError {
    match error {
        ResolveError::NotFound { reference } => CreateError::NoImage { reference },
        error => CreateError::Image(error),
    }
}
