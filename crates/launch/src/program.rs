//! Keeping the running program out of a container's reach.
//!
//! A process of a container that is being started is, until it executes its
//! command, this program. Through `/proc/<pid>/exe`, or by naming
//! `/proc/self/exe` as interpreter of that command, a container can get hold
//! of this program's file, and wait for the moment it can be written
//! (CVE-2019-5736). So it runs from a mount that is read-only and attached
//! nowhere: whatever leads to the file leads through that mount.

use std::ffi::{CString, OsString};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;

use rustix::fs::{CWD, Mode, OFlags, StatVfsMountFlags, fstatvfs, open};
use rustix::mount::{OpenTreeFlags, open_tree};

use crate::error::LaunchError;
use crate::sys;

const SELF: &std::ffi::CStr = c"/proc/self/exe";

/// Whether this program runs from a read-only mount.
pub fn is_program_protected() -> Result<bool, LaunchError> {
    let failed = || LaunchError::host("find out from where this program runs");
    let file = open(SELF, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(failed())?;
    let flags = fstatvfs(&file).map_err(failed())?.f_flag;
    Ok(flags.contains(StatVfsMountFlags::RDONLY))
}

/// Executes this program again with the same environment, from a detached
/// read-only mount of its file, unless it runs from one already. Of its
/// descriptors the standard ones remain.
///
/// To be called first thing in `main`, with the program's own arguments.
/// Afterwards `/proc/self/exe` names no path, and the process's short name is
/// a number where the kernel is older than 6.14: whoever cares sets it.
pub fn protect_program(args: impl IntoIterator<Item = OsString>) -> Result<(), LaunchError> {
    if is_program_protected()? {
        return Ok(());
    }
    let failed = || LaunchError::host("make this program read-only for its containers");
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let file = open_tree(CWD, SELF, flags).map_err(failed())?;
    sys::make_mount_read_only(file.as_fd()).map_err(failed())?;
    let argv: Result<Vec<CString>, _> = args.into_iter().map(|arg| CString::new(arg.into_vec())).collect();
    // What the caller's caller left open is not this program's to hold.
    sys::close_others_on_exec().map_err(failed())?;
    let argv = argv.map_err(|_| LaunchError::NulByte { what: "an argument".to_owned() })?;
    Err(failed()(sys::execute_file(file.as_fd(), &argv)))
}
