//! The bundle's configuration, as moby's daemon writes it for `docker run`
//! with a network of none (moby `oci/defaults.go`, `daemon/oci_linux.go`).

use std::path::Path;

use casemate_model::{Capabilities, MASKED_PATHS, READONLY_PATHS};
use serde_json::{Value, json};

use super::profile;
use crate::error::BenchError;

/// Files that Docker binds into the container's `/etc`.
pub(super) const ETC_FILES: [(&str, &str); 3] = [
    ("hosts", "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.0.1\tbench\n"),
    ("hostname", "bench\n"),
    ("resolv.conf", ""),
];

pub(super) fn of_docker(dir: &Path, id: &str) -> Result<Value, BenchError> {
    let capabilities: Vec<String> = Capabilities::DOCKER_DEFAULT.iter().map(|capability| capability.name()).collect();
    Ok(json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": { "uid": 0, "gid": 0, "additionalGids": [0] },
            "args": ["true"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOSTNAME=bench"],
            "cwd": "/",
            "capabilities": { "bounding": capabilities, "effective": capabilities, "permitted": capabilities },
            "oomScoreAdj": 0,
        },
        "root": { "path": super::ROOT },
        "hostname": "bench",
        "mounts": mounts(dir),
        "linux": {
            "sysctl": {
                "net.ipv4.ip_unprivileged_port_start": "0",
                "net.ipv4.ping_group_range": "0 2147483647",
            },
            "resources": { "devices": device_rules(), "memory": {}, "cpu": { "shares": 0 }, "blockIO": { "weight": 0 } },
            "cgroupsPath": format!("/{id}"),
            "namespaces": namespaces(),
            "seccomp": profile::docker_default()?,
            "maskedPaths": MASKED_PATHS,
            "readonlyPaths": READONLY_PATHS,
        },
    }))
}

fn namespaces() -> Vec<Value> {
    let mut kinds = vec!["mount", "network", "uts", "pid", "ipc"];
    // Docker's default: private on cgroup v2, the host's before.
    if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        kinds.push("cgroup");
    }
    kinds.into_iter().map(|kind| json!({ "type": kind })).collect()
}

fn mounts(dir: &Path) -> Vec<Value> {
    let mount = |kind: &str, target: &str, options: &[&str]| json!({ "destination": target, "type": kind, "source": kind, "options": options });
    let mut mounts = vec![
        mount("proc", "/proc", &["nosuid", "noexec", "nodev"]),
        mount("tmpfs", "/dev", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount("devpts", "/dev/pts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        mount("sysfs", "/sys", &["nosuid", "noexec", "nodev", "ro"]),
        mount("cgroup", "/sys/fs/cgroup", &["ro", "nosuid", "noexec", "nodev"]),
        mount("mqueue", "/dev/mqueue", &["nosuid", "noexec", "nodev"]),
        mount("tmpfs", "/dev/shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=67108864"]),
    ];
    mounts.extend(ETC_FILES.map(|(name, _)| {
        json!({
            "destination": format!("/etc/{name}"), "type": "bind", "source": dir.join(name), "options": ["rbind", "rprivate"],
        })
    }));
    mounts
}

/// All devices are denied but null, zero, full, random, urandom, tty and
/// console (by number), and what runc adds.
fn device_rules() -> Vec<Value> {
    let character =
        |major: u32, minor: u32| json!({ "allow": true, "type": "c", "major": major, "minor": minor, "access": "rwm" });
    let mut rules = vec![json!({ "allow": false, "access": "rwm" })];
    rules.extend([(1, 5), (1, 3), (1, 9), (1, 8), (5, 0), (5, 1)].map(|(major, minor)| character(major, minor)));
    rules.push(json!({ "allow": false, "type": "c", "major": 10, "minor": 229, "access": "rwm" }));
    rules
}
