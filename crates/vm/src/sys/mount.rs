//! Attributes of a detached mount.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Restrictions of a mount, as `mount_setattr(2)` names them.
#[derive(Clone, Copy)]
pub(crate) struct Restrictions {
    pub(crate) no_exec: bool,
    pub(crate) no_device: bool,
}

/// Makes a mount read-only and deaf to set-user-id bits, and what else is
/// asked for.
pub(crate) fn restrict(mount: BorrowedFd<'_>, restrictions: Restrictions) -> io::Result<()> {
    let mut attributes = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID;
    if restrictions.no_exec {
        attributes |= libc::MOUNT_ATTR_NOEXEC;
    }
    if restrictions.no_device {
        attributes |= libc::MOUNT_ATTR_NODEV;
    }
    let attr = libc::mount_attr { attr_set: attributes, attr_clr: 0, propagation: 0, userns_fd: 0 };
    // SAFETY: the path is an empty C string, the attribute block is a live
    // structure of the length given, and both are only read.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
