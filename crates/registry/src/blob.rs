//! A blob on its way.

use bytes::Bytes;

use crate::error::RegistryError;
use crate::transport::Body;

/// The registry's bytes, unverified, and possibly without end.
pub struct Blob {
    offset: u64,
    body: Body,
}

impl std::fmt::Debug for Blob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Blob").field("url", &self.body.asked.url).field("offset", &self.offset).finish()
    }
}

impl Blob {
    pub(crate) fn new(offset: u64, body: Body) -> Self {
        Self { offset, body }
    }

    /// Where in the blob this begins: the offset that was asked for, or 0.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next bytes; none at the end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, RegistryError> {
        self.body.chunk().await
    }
}
