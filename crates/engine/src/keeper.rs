//! Speaking to a container's keeper.

use casemate_wire::Client;
use tokio::net::UnixStream;

use crate::container::Container;
use crate::error::EngineError;

/// A connection to the keeper of one container.
#[derive(Clone, Debug)]
pub struct KeeperHandle {
    pub client: Client,
}

impl Container {
    /// Connects to the container's keeper. On a `LocalSet`.
    pub async fn keeper(&self) -> Result<KeeperHandle, EngineError> {
        let not_running = || EngineError::NotRunning { id: self.id.to_string() };
        if !self.state.is_running() {
            return Err(not_running());
        }
        let stream = match UnixStream::connect(self.paths.socket()).await {
            Ok(stream) => stream,
            Err(_) if !self.has_keeper() => return Err(not_running()),
            Err(error) => return Err(EngineError::Connect(error)),
        };
        let client = Client::connect(stream).await.map_err(EngineError::Hello)?;
        Ok(KeeperHandle { client })
    }
}
