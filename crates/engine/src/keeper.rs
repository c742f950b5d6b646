//! Speaking to a container's keeper.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use casemate_model::ContainerId;
use casemate_record::ContainerPaths;
use casemate_wire::{Client, HelloError};
use rustix::fs::{Mode, OFlags, open};
use tokio::net::UnixStream;

use crate::container::Container;
use crate::error::EngineError;
use crate::lock;

/// A connection to the keeper of one container.
#[derive(Clone, Debug)]
pub struct KeeperHandle {
    pub client: Client,
}

/// A name of a keeper's socket that fits a socket's address, which is 107
/// bytes, wherever the run directory is.
pub(crate) struct ShortPath {
    _dir: OwnedFd,
    path: PathBuf,
}

impl ShortPath {
    pub(crate) fn of(paths: &ContainerPaths) -> io::Result<Self> {
        let socket = paths.socket();
        let dir = open(&paths.run, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let name = socket.file_name().unwrap_or_default();
        let path = Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string()).join(name);
        Ok(Self { _dir: dir, path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Container {
    /// Connects to the keeper of a running container. On a `LocalSet`.
    pub async fn keeper(&self) -> Result<KeeperHandle, EngineError> {
        if !self.state.is_running() {
            return Err(EngineError::NotRunning { id: self.id.to_string() });
        }
        self.connect().await
    }

    /// Connects to the container's keeper, whatever it is at.
    pub(crate) async fn connect(&self) -> Result<KeeperHandle, EngineError> {
        connect(&self.id, &self.paths).await
    }
}

/// Connects to the keeper of the container in these places.
pub(crate) async fn connect(id: &ContainerId, paths: &ContainerPaths) -> Result<KeeperHandle, EngineError> {
    let not_running = || EngineError::NotRunning { id: id.to_string() };
    let connected = match ShortPath::of(paths) {
        Ok(socket) => UnixStream::connect(socket.path()).await,
        Err(error) => Err(error),
    };
    let stream = match connected {
        Ok(stream) => stream,
        Err(_) if !lock::is_held(&paths.keeper_lock()) => return Err(not_running()),
        Err(error) => return Err(EngineError::Connect(error)),
    };
    let client = match Client::connect(stream).await {
        Ok(client) => client,
        // It ended before it took the connection.
        Err(HelloError::Io(_)) => return Err(not_running()),
        Err(error) => return Err(EngineError::Hello(error)),
    };
    Ok(KeeperHandle { client })
}
