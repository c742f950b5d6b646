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
    /// Connects to the container's keeper, whatever it is at. On a `LocalSet`.
    pub(crate) async fn connect(&self) -> Result<Client, EngineError> {
        connect(&self.id, &self.paths).await
    }
}

/// Connects to the keeper of the container in these places.
pub(crate) async fn connect(id: &ContainerId, paths: &ContainerPaths) -> Result<Client, EngineError> {
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
    match Client::connect(stream).await {
        // It ended before it took the connection.
        Err(HelloError::Io(_)) => Err(not_running()),
        connected => connected.map_err(EngineError::Hello),
    }
}
