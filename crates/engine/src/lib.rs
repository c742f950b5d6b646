//! The engine: containers from request to removal, on records and keepers.
//!
//! ```text
//!            create            start                exit
//!   request ───────▶ created ────────▶ running ──────────────▶ exited
//!                       │                 │ (keeper holds        │
//!                       └──── remove ─────┴── keeper.lock) ──────┘
//! ```
//!
//! The engine holds no container alive: what exists is what the records say and
//! what [`reconcile`] finds. The [`Daemon`] is the engine in service, one on a
//! root. It agrees with keepers, also those of a daemon that was killed, through
//! locks: one for names and numbers, and one for each container, which its
//! keeper holds as long as it lives.

mod config;
mod container;
mod create;
pub mod daemon;
mod directories;
mod disk_usage;
mod error;
mod host;
mod images;
mod keeper;
mod limits;
mod lock;
mod log_options;
mod names;
pub mod networks;
mod options;
pub mod paced;
mod pieces;
mod reconcile;
mod remove;
mod request;
mod seccomp;
mod start;

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Child;
use std::sync::{Mutex, OnceLock, PoisonError};

use casemate_image::Store;
use casemate_model::{ContainerId, Isolation, LimitSupport};
use casemate_record::{Layout, LogRecord};

pub use config::{Command, ContainerConfig, CreateRequest};
pub use container::{Container, Listing};
pub use daemon::Daemon;
pub use disk_usage::DiskUsage;
pub use error::{
    CommitError, CreateError, Damage, EngineError, ExecError, FindError, OpenError, PauseError, RemoveError,
    RemoveImageError, RenameError, StartError, UpdateError,
};
pub use host::{HostProcess, HostRole};
pub use log_options::check_log_options;
pub use options::InvalidOption;
pub use pieces::{Piece, Pieces};

/// Where an engine lives and what it starts things with.
#[derive(Clone, Debug)]
pub struct Settings {
    pub root: PathBuf,
    pub run: PathBuf,
    /// Directory of `vmlinux`, `initrd.img` and `busybox.tar`.
    pub lib: PathBuf,
    /// The program that has the `keeper` command: this one.
    pub program: PathBuf,
    /// QEMU's program; the system's if absent.
    pub qemu: Option<PathBuf>,
    /// `auto`, `kvm` or `tcg`.
    pub accelerator: String,
    /// How long a utility VM may take to come up.
    pub boot_timeout_ms: u64,
    /// How long a guest may take to answer that it lives.
    pub health_deadline_ms: u64,
    /// Size of a hyperv container's writable disk, in bytes.
    pub scratch_size: u64,
    /// Of containers that name none, at first.
    pub isolation: Isolation,
    /// Of containers that name no driver; its options also of those that name
    /// the same.
    pub log: LogRecord,
    /// How registries are reached.
    pub registries: casemate_registry::Settings,
    /// Layers that are downloaded at once, over all pulls.
    pub max_downloads: usize,
    pub networks: networks::NetworkSettings,
}

#[derive(Debug)]
pub struct Engine {
    settings: Settings,
    layout: Layout,
    images: Store,
    /// A daemon may be told another while it serves.
    isolation: Mutex<Isolation>,
    /// Keepers that this engine has started and not reaped.
    keepers: Mutex<HashMap<ContainerId, Child>>,
    /// Looked up when first asked for.
    limit_support: OnceLock<LimitSupport>,
}

impl Engine {
    /// Opens the directories, makes them if missing, and takes away what
    /// keepers that were killed left behind.
    pub fn open(settings: Settings) -> Result<Self, OpenError> {
        let layout = Layout::new(settings.root.clone(), settings.run.clone());
        for path in [&settings.root, &settings.run] {
            if path.to_str().is_none() {
                return Err(OpenError::NotText { path: path.clone() });
            }
        }
        directories::prepare(&layout)?;
        let images = Store::open(layout.root()).map_err(OpenError::Images)?;
        let isolation = Mutex::new(settings.isolation);
        let engine =
            Self { settings, layout, images, isolation, keepers: Mutex::default(), limit_support: OnceLock::new() };
        engine.reconcile()?;
        Ok(engine)
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Of containers that name none from now on.
    pub fn default_isolation(&self) -> Isolation {
        *self.isolation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set_default_isolation(&self, isolation: Isolation) {
        *self.isolation.lock().unwrap_or_else(PoisonError::into_inner) = isolation;
    }

    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    pub fn images(&self) -> &Store {
        &self.images
    }
}
