//! The VM's own filesystems, and its end.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open, sync};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount, mount_move, mount_remount};
use rustix::process::{Resource, Rlimit, chdir, chroot, setrlimit};
use rustix::system::{RebootCommand, reboot as reboot_kernel};

/// What is mounted: kind, where, flags, options.
const MOUNTS: [(&str, &str, MountFlags, &str); 4] = [
    ("devtmpfs", "/dev", MountFlags::NOSUID.union(MountFlags::NOEXEC), ""),
    ("proc", "/proc", NO_TRICKS, ""),
    ("sysfs", "/sys", NO_TRICKS, ""),
    ("cgroup2", "/sys/fs/cgroup", NO_TRICKS, "nsdelegate"),
];
const NO_TRICKS: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);

#[derive(Debug, thiserror::Error)]
pub(crate) enum RootError {
    #[error("cannot mount {kind} on {path}")]
    Mount { kind: &'static str, path: PathBuf, source: Errno },
    #[error("cannot make {path}")]
    Dir { path: PathBuf, source: io::Error },
    #[error("cannot open {path}")]
    Open { path: &'static str, source: Errno },
    #[error("cannot leave the initramfs")]
    Leave(#[source] Errno),
    #[error("cannot raise the limit of open files")]
    OpenFiles(#[source] Errno),
    #[error("cannot write {path}")]
    Setting { path: &'static str, source: io::Error },
}

/// The program that goes before a container's command where one asks for it.
/// It stays where it is, out of sight once the root has changed.
pub(crate) fn open_reaper() -> Result<Option<OwnedFd>, RootError> {
    const REAPER: &str = "/docker-init";
    match open(REAPER, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
        Ok(file) => Ok(Some(file)),
        Err(Errno::NOENT) => Ok(None),
        Err(source) => Err(RootError::Open { path: REAPER, source }),
    }
}

/// By which this program, and no other, finds an open file.
pub(crate) fn path_of(file: &OwnedFd) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

/// Moves to a root that can be pivoted away from (an initramfs cannot), and
/// mounts what a host has.
pub(crate) fn set_up() -> Result<(), RootError> {
    const NEW_ROOT: &str = "/root";
    make_dir(NEW_ROOT)?;
    // This program's own file lies there: what runs in the container must not
    // reach it for writing through /proc.
    mount_remount("/", MountFlags::RDONLY, "").map_err(RootError::Leave)?;
    mount_one("tmpfs", NEW_ROOT, NO_TRICKS, "mode=0755,size=16m")?;
    chdir(NEW_ROOT).map_err(RootError::Leave)?;
    mount_move(".", "/").map_err(RootError::Leave)?;
    chroot(".").map_err(RootError::Leave)?;
    chdir("/").map_err(RootError::Leave)?;
    for (kind, path, flags, options) in MOUNTS {
        // The control groups' directory is sysfs's own.
        if kind != "cgroup2" {
            make_dir(path)?;
        }
        mount_one(kind, path, flags, options)?;
    }
    // The kernel waits for grace periods when control groups and namespaces are
    // made; a machine this small need not wait for the clock's ticks.
    write("/sys/kernel/rcu_expedited", "1")?;
    // What the kernel keeps free for itself by default is a tenth of a small
    // machine's memory; the machine's size is reckoned with this.
    write("/proc/sys/vm/min_free_kbytes", "4096")?;
    // What systemd gives its services, and so Docker its containers; the
    // kernel's own is too little for many servers.
    let files = Rlimit { current: Some(1024), maximum: Some(524_288) };
    setrlimit(Resource::Nofile, files).map_err(RootError::OpenFiles)?;
    // If memory runs out, a process of the container goes, not its init's parent.
    write("/proc/self/oom_score_adj", "-1000")
}

fn mount_one(kind: &'static str, path: &str, flags: MountFlags, options: &str) -> Result<(), RootError> {
    let options = std::ffi::CString::new(options).unwrap_or_default();
    mount(kind, path, kind, flags, Some(options.as_c_str())).map_err(|source| RootError::Mount {
        kind,
        path: path.into(),
        source,
    })
}

fn make_dir(path: &str) -> Result<(), RootError> {
    fs::create_dir_all(path).map_err(|source| RootError::Dir { path: path.into(), source })
}

fn write(path: &'static str, text: &str) -> Result<(), RootError> {
    fs::write(path, text).map_err(|source| RootError::Setting { path, source })
}

/// Says something on the kernel's log, and so on the console.
pub(crate) fn say(text: &str) {
    // Level 3 (error): `quiet` lets it through. Without the log there is no
    // one to tell.
    for device in ["/dev/kmsg", "/dev/console"] {
        if Path::new(device).exists() && fs::write(device, format!("<3>{text}\n")).is_ok() {
            return;
        }
    }
}

/// Ends the VM: with this command line the machine monitor exits on a reboot.
pub(crate) fn reboot() {
    sync();
    if let Err(error) = reboot_kernel(RebootCommand::Restart) {
        say(&format!("casemate-agent: cannot reboot: {error}"));
    }
}
