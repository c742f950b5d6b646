//! `casemate daemon`: the Docker Engine API as a service of this host.
//!
//! ```text
//!   configuration ─▶ locks ─▶ sockets ─▶ containers taken over ─▶ READY ─▶ SIGTERM: STOPPING
//!                                                                  └─SIGHUP: RELOADING─▶┘
//! ```
//!
//! It starts whole or not at all: whatever fails before READY takes back what
//! was made. Containers do not end with it.

mod activation;
mod config;
mod facts;
mod file;
mod given;
mod host;
mod listen;
mod log;
mod notify;
mod pidfile;
mod signals;

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use casemate_api::{HostFacts, Limits, Server};
use casemate_engine::Daemon;
use casemate_engine::daemon::Subject;
use casemate_model::chain;
use rustix::fs::Mode;
use rustix::process::{Resource, getrlimit};

use crate::report::CliError;

pub(crate) use activation::{claim as claim_sockets, close_others as close_inherited};
pub(crate) use config::Sources;
pub(crate) use given::Given;

use config::{Config, ConfigError};
use listen::ListenError;
use log::Log;
use pidfile::{PidFile, PidFileError};
use signals::{Signal, Signals};

/// dockerd's: who is slower than this sends no request.
const HEAD: Duration = Duration::from_secs(5 * 60);

/// Enough for every client of a busy host, and for their memory to be small.
const MOST_CONNECTIONS: u64 = 4096;

#[derive(Debug, thiserror::Error)]
pub(crate) enum DaemonError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("casemate daemon needs to be started with root privileges")]
    NotRoot,
    #[error("cannot leave the session")]
    Session(#[source] io::Error),
    #[error("cannot listen for signals")]
    Signals(#[source] io::Error),
    #[error("cannot make {path}")]
    Dir { path: PathBuf, source: io::Error },
    #[error("failed to start daemon: another one serves {root}")]
    Root { root: PathBuf, source: PidFileError },
    #[error("failed to start daemon, ensure casemate is not running or delete {path}")]
    PidFile { path: PathBuf, source: PidFileError },
    #[error("failed to load listeners")]
    Listen(#[from] ListenError),
}

pub(crate) async fn run(sources: Sources) -> Result<ExitCode, CliError> {
    // Whatever the shell or the service manager had.
    rustix::process::umask(Mode::from_bits_truncate(0o022));
    if sources.on_demand() {
        // It goes on when the terminal is closed, and hears none of its keys.
        rustix::process::setsid().map_err(|error| DaemonError::Session(error.into()))?;
    }
    let config = sources.load().map_err(DaemonError::from)?;
    let tls = listen::Guard::new(config.tls.as_ref()).map_err(DaemonError::from)?;
    tls.check(&config.hosts).map_err(DaemonError::from)?;
    if sources.only_validate() {
        eprintln!("configuration OK");
        return Ok(ExitCode::SUCCESS);
    }
    if !rustix::process::geteuid().is_root() {
        return Err(DaemonError::NotRoot.into());
    }
    let log = Log::start(&config.log);
    for key in &config.of_no_effect {
        tracing::warn!(key, file = %sources.file().display(), "of no effect here");
    }
    let mut signals = Signals::listen().map_err(DaemonError::Signals)?;
    let (root, run) = (config.settings.root.clone(), config.settings.run.clone());
    make_dirs(&root, &run)?;
    let _alone = PidFile::take(&root.join("daemon.lock"), pidfile::Afterwards::Stays)
        .map_err(|source| DaemonError::Root { root, source })?;
    let path = config.pidfile.clone();
    let _pidfile =
        PidFile::take(&path, pidfile::Afterwards::Goes).map_err(|source| DaemonError::PidFile { path, source })?;
    let listening = listen::listen(&config.hosts, &tls, config.group.as_ref()).map_err(DaemonError::from)?;
    let facts = Rc::new(facts::look(&config, &listening));
    let daemon = Daemon::open(config.settings.clone()).await?;

    let server = Server::new(Rc::clone(&daemon), Rc::clone(&facts), limits());
    let mut sockets = Vec::new();
    for listen::Listening { listener, address, socket } in listening {
        tracing::info!(address, "API listens");
        server.listen(listener);
        sockets.extend(socket);
    }
    notify::ready();

    let mut service = Service { sources, config, log, facts, daemon };
    while let Signal::Reload = signals.next().await {
        service.reload();
    }
    notify::stopping();
    tracing::info!("stopping; containers go on");
    // Nobody comes any more; those who have get their answers.
    drop(sockets);
    tokio::select! {
        () = server.stop(service.config.shutdown_timeout) => {}
        () = signals.stop_again() => tracing::warn!("told twice: requests cut short"),
    }
    Ok(ExitCode::SUCCESS)
}

/// What serves, and what it was told to be.
struct Service {
    sources: Sources,
    config: Config,
    log: Log,
    facts: Rc<HostFacts>,
    daemon: Rc<Daemon>,
}

impl Service {
    /// Takes up what can change while containers run. A configuration that is
    /// not valid changes nothing.
    fn reload(&mut self) {
        notify::reloading();
        tracing::info!(file = %self.sources.file().display(), "configuration is read again");
        match self.sources.load() {
            Ok(config) => self.take_up(config),
            Err(error) => tracing::error!(error = chain(&error), "configuration not reloaded; the old one stays"),
        }
        notify::ready();
    }

    fn take_up(&mut self, config: Config) {
        for key in self.config.fixed_that_differ(&config) {
            tracing::warn!(key, "changed; takes effect when the daemon is started again");
        }
        let Config { settings, hosts: _, group: _, pidfile: _, tls: _, log, shutdown_timeout, of_no_effect: _ } =
            config;
        self.log.set(&log);
        self.daemon.engine().set_default_isolation(settings.isolation);
        self.facts.debug.set(log.is_debug());
        let attributes = [
            ("name", self.facts.host_name.clone()),
            ("debug", log.is_debug().to_string()),
            ("log-level", log.level.as_str().to_owned()),
            ("isolation", settings.isolation.to_string()),
            ("shutdown-timeout", shutdown_timeout.as_secs().to_string()),
        ];
        let attributes: BTreeMap<_, _> = attributes.map(|(name, value)| (name.to_owned(), value)).into();
        self.daemon.events().emit(Subject::Daemon, "reload", &self.facts.machine_id, attributes);
        self.config.settings.isolation = settings.isolation;
        self.config.log = log;
        self.config.shutdown_timeout = shutdown_timeout;
    }
}

/// Others may pass through the run directory, to the socket if they are of its
/// group; what else is in it is closed to them.
fn make_dirs(root: &Path, run: &Path) -> Result<(), DaemonError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| DaemonError::Dir { path, source }
    };
    DirBuilder::new().recursive(true).mode(0o700).create(root).map_err(failed(root))?;
    DirBuilder::new().recursive(true).mode(0o711).create(run).map_err(failed(run))?;
    let mode = fs::metadata(run).map_err(failed(run))?.permissions().mode();
    fs::set_permissions(run, Permissions::from_mode(mode | 0o011)).map_err(failed(run))
}

/// A third of what may be open is for clients, of whom those who attach have two
/// each, the rest for containers.
fn limits() -> Limits {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let connections = (files / 3).clamp(1, MOST_CONNECTIONS);
    Limits { connections: connections as usize, head: HEAD }
}
