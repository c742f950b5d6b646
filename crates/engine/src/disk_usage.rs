//! What a container's own files take on the host's disk, and all it sees.

use std::io;
use std::os::unix::fs::MetadataExt;

use casemate_model::Isolation;

use crate::{Container, Engine};

/// Bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskUsage {
    /// Of what the container has written. For one in a VM it is what its disk
    /// takes: the host does not look into what a guest wrote.
    pub written: u64,
    /// The same, and its image.
    pub root: u64,
}

impl Engine {
    /// Goes through all files that the container has written.
    pub fn disk_usage(&self, container: &Container) -> DiskUsage {
        let written = match container.isolation {
            Isolation::Process => casemate_tree::size(&container.paths.upper()),
            Isolation::Hyperv => allocated(&container.paths.scratch()),
        };
        let written = written.unwrap_or_else(|error| {
            // It has not been started, or is being removed.
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(container = %container.id.short(), %error, "size not known");
            }
            0
        });
        let layers = self.images.layer_sizes().unwrap_or_default();
        let image: u64 = container.layers.iter().filter_map(|layer| layers.get(layer)).sum();
        DiskUsage { written, root: written.saturating_add(image) }
    }
}

fn allocated(file: &std::path::Path) -> io::Result<u64> {
    // The kernel counts in sectors, whatever the disk's are.
    Ok(std::fs::metadata(file)?.blocks() * 512)
}
