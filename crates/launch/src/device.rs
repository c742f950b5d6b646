//! The devices a container is given, looked up on this kernel while they can
//! be: the container gets nodes of its own with the same numbers.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use casemate_model::{Container, Device, DeviceAccess, DeviceKind, DeviceRule};
use rustix::fs::{major, minor};
use rustix::io::Errno;

use crate::error::LaunchError;

/// A node to make in the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeviceNode {
    /// As the container names it.
    pub(crate) path: String,
    pub(crate) kind: DeviceKind,
    pub(crate) major: u32,
    pub(crate) minor: u32,
    /// Permission bits.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// All nodes of a container, and what it may use of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Devices {
    pub(crate) nodes: Vec<DeviceNode>,
    /// `None`: everything there is.
    pub(crate) rules: Option<Vec<DeviceRule>>,
}

const DEV: &str = "/dev";

/// What a privileged container does not get of `/dev` (containerd
/// `oci.HostDevices`): it has its own.
const OWN_DIRECTORIES: [&str; 7] = ["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"];

impl Devices {
    pub(crate) fn of(container: &Container) -> Result<Self, LaunchError> {
        let mut devices = Self::default();
        if container.privileged {
            collect(Path::new(DEV), Path::new(DEV), &mut devices.nodes);
        }
        let mut rules = Vec::new();
        for device in &container.devices {
            // It is there already.
            if container.privileged && device.host_path == device.path {
                continue;
            }
            let found = look_up(device)?;
            rules.extend(found.iter().map(|node| node.rule(device.access)));
            devices.nodes.extend(found);
        }
        rules.extend(&container.device_rules);
        devices.rules = (!container.privileged).then_some(rules);
        Ok(devices)
    }
}

impl DeviceNode {
    fn at(path: &Path, as_path: &Path) -> io::Result<Option<Self>> {
        let metadata = fs::symlink_metadata(path)?;
        let kind = match metadata.file_type() {
            kind if kind.is_block_device() => DeviceKind::Block,
            kind if kind.is_char_device() => DeviceKind::Character,
            _ => return Ok(None),
        };
        Ok(Some(Self {
            path: as_path.to_string_lossy().into_owned(),
            kind,
            major: major(metadata.rdev()),
            minor: minor(metadata.rdev()),
            mode: metadata.permissions().mode() & 0o777,
            uid: metadata.uid(),
            gid: metadata.gid(),
        }))
    }

    fn rule(&self, access: DeviceAccess) -> DeviceRule {
        DeviceRule { kind: self.kind, major: Some(self.major), minor: Some(self.minor), access }
    }
}

/// One device, or all in a directory.
fn look_up(device: &Device) -> Result<Vec<DeviceNode>, LaunchError> {
    let Device { host_path, path, access: _ } = device;
    let failed = |source: io::Error| LaunchError::Device {
        path: host_path.clone(),
        source: Errno::from_io_error(&source).unwrap_or(Errno::IO).into(),
    };
    let real = fs::canonicalize(host_path).map_err(failed)?;
    if let Some(node) = DeviceNode::at(&real, Path::new(path)).map_err(failed)? {
        return Ok(vec![node]);
    }
    let mut nodes = Vec::new();
    collect(&real, Path::new(path), &mut nodes);
    if nodes.is_empty() { Err(LaunchError::NoDevice { path: host_path.clone() }) } else { Ok(nodes) }
}

/// Devices come and go: what cannot be looked at is not there.
fn collect(directory: &Path, as_path: &Path, nodes: &mut Vec<DeviceNode>) {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    entries.sort();
    for entry in entries {
        let Some(name) = entry.file_name() else { continue };
        let inside = as_path.join(name);
        let Ok(metadata) = fs::symlink_metadata(&entry) else { continue };
        if metadata.is_dir() {
            let own = directory == Path::new(DEV) && OWN_DIRECTORIES.iter().any(|own| name == *own);
            if !own {
                collect(&entry, &inside, nodes);
            }
        } else if entry != Path::new("/dev/console")
            && let Ok(Some(node)) = DeviceNode::at(&entry, &inside)
        {
            nodes.push(node);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use casemate_model::chain;

    fn device(host_path: &str, path: &str) -> Device {
        Device { host_path: host_path.to_owned(), path: path.to_owned(), access: "rw".parse().unwrap() }
    }

    #[test]
    fn devices_directories_and_links() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/dev/zero", dir.path().join("link")).unwrap();
        let link = dir.path().join("link").display().to_string();
        let found = look_up(&device(&link, "/dev/mine")).unwrap();
        assert_eq!((found[0].path.as_str(), found[0].major, found[0].minor), ("/dev/mine", 1, 5));
        assert_eq!(found[0].rule("rw".parse().unwrap()).to_string(), "c 1:5 rw");

        let all = look_up(&device("/dev", "/all")).unwrap();
        assert!(all.iter().any(|node| node.path == "/all/null"));
        assert!(!all.iter().any(|node| node.path.starts_with("/all/pts/") || node.path == "/all/console"));

        let error = |path: &str| chain(&look_up(&device(path, "/x")).unwrap_err());
        let adding = "error gathering device information while adding custom device";
        assert_eq!(error("/dev/nope"), format!("{adding} \"/dev/nope\": no such file or directory"));
        assert_eq!(error("/etc/passwd"), format!("{adding} \"/etc/passwd\": not a device node"));
    }
}
