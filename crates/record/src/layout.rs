//! The directories of an engine: one that lasts, one for what runs.

use std::path::{Path, PathBuf};

use casemate_model::ContainerId;

/// `root` outlives a reboot (default `/var/lib/casemate`), `run` does not
/// (default `/run/casemate`). Both are root's alone.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
    run: PathBuf,
}

/// The places of one container.
#[derive(Clone, Debug)]
pub struct ContainerPaths {
    /// What lasts until the container is removed.
    pub dir: PathBuf,
    /// What lasts while it runs.
    pub run: PathBuf,
    id: ContainerId,
}

impl Layout {
    pub fn new(root: PathBuf, run: PathBuf) -> Self {
        Self { root, run }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn run(&self) -> &Path {
        &self.run
    }

    pub fn containers(&self) -> PathBuf {
        self.root.join("containers")
    }

    /// The image store's.
    pub fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    pub fn running(&self) -> PathBuf {
        self.run.join("containers")
    }

    /// Held while names and numbers are given out and leftovers are judged.
    pub fn lock(&self) -> PathBuf {
        self.run.join("lock")
    }

    /// Networks' records.
    pub fn networks(&self) -> PathBuf {
        self.root.join("networks")
    }

    /// What is known of networks while they are up.
    pub fn networks_up(&self) -> PathBuf {
        self.run.join("networks")
    }

    /// Who is on a network, by the network's id.
    pub fn network_names(&self, id: &str) -> PathBuf {
        self.networks_up().join(format!("{id}.json"))
    }

    /// Prepared empty scratch disks.
    pub fn scratch_cache(&self) -> PathBuf {
        self.root.join("scratch")
    }

    pub fn container(&self, id: &ContainerId) -> ContainerPaths {
        ContainerPaths {
            dir: self.containers().join(id.as_str()),
            run: self.running().join(id.as_str()),
            id: id.clone(),
        }
    }
}

impl ContainerPaths {
    pub fn config(&self) -> PathBuf {
        self.dir.join("config.json")
    }

    pub fn state(&self) -> PathBuf {
        self.dir.join("state.json")
    }

    /// What its restarts are decided by.
    pub fn restart(&self) -> PathBuf {
        self.dir.join("restart.json")
    }

    /// Named as Docker names it.
    pub fn log(&self) -> PathBuf {
        self.dir.join(format!("{}-json.log", self.id))
    }

    /// What each line of the log carries; not there if that is nothing.
    pub fn log_attributes(&self) -> PathBuf {
        self.dir.join("log-attributes.json")
    }

    /// What the keeper has to say of its own.
    pub fn keeper_log(&self) -> PathBuf {
        self.dir.join("keeper.log")
    }

    /// Writable layer of a process-isolated container.
    pub fn upper(&self) -> PathBuf {
        self.dir.join("upper")
    }

    pub fn work(&self) -> PathBuf {
        self.dir.join("work")
    }

    /// Writable disk of a hyperv-isolated container.
    pub fn scratch(&self) -> PathBuf {
        self.dir.join("scratch.ext4")
    }

    /// What it has of networks.
    pub fn attachments(&self) -> PathBuf {
        self.run.join("attachments.json")
    }

    pub fn socket(&self) -> PathBuf {
        self.run.join("keeper.sock")
    }

    /// Locked by the keeper as long as it lives.
    pub fn keeper_lock(&self) -> PathBuf {
        self.run.join("keeper.lock")
    }

    /// The container's control group, below each hierarchy's root.
    pub fn cgroup(&self) -> String {
        format!("casemate/{}", self.id)
    }
}
