//! Where on this kernel a container is put.

use std::path::PathBuf;

use crate::error::LaunchError;

/// The kernel takes mount options of one page; 128 layers, as many as Docker
/// allows, fit in it as descriptors.
const MOST_LAYERS: usize = 128;

#[derive(Clone, Debug)]
pub struct Place {
    /// A directory of this container's own, which exists. The launcher makes
    /// `rootfs`, `hosts`, `hostname` and `resolv.conf` in it.
    pub dir: PathBuf,
    /// The image's layers: directories in overlayfs form, topmost first.
    pub lowers: Vec<PathBuf>,
    /// What the container writes. Exists, on the same filesystem as `work`.
    pub upper: PathBuf,
    /// Overlayfs's own, empty at the first start.
    pub work: PathBuf,
    /// `upper` and `work` were made together with their filesystem and nobody
    /// has used them: overlayfs need not find out what the filesystem can do,
    /// nor clear up. For the kernel of the utility VM, the only one that can be
    /// told (`guest/kernel/patches`).
    pub fresh: bool,
    /// The program to put before the command of a container that asks for it.
    pub reaper: Option<PathBuf>,
    /// The control group, as `casemate/<id>`, below each hierarchy's root.
    pub cgroup: String,
}

impl Place {
    pub(crate) fn check(&self) -> Result<(), LaunchError> {
        match self.lowers.len() {
            1..=MOST_LAYERS => Ok(()),
            count => Err(LaunchError::LayerCount { count }),
        }
    }
}
