//! The container's root: overlayfs over the image's layers, and the change
//! into it.

use std::ffi::CString;
use std::fmt::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount};
use rustix::process::{chdir, pivot_root};

use crate::error::SetupStep;
use crate::place::Place;
use crate::report::{AtStep, StepResult};

/// What the kernel's defaults must not decide: a layer comes from a stranger
/// and its directories must not say where others are (`redirect_dir`), and what
/// is written must be whole files that a commit can take (`metacopy`). `index`
/// would refuse to mount a directory again whose unmounting is under way;
/// Docker switches it off too.
const OPTIONS: &str = "index=off,metacopy=off,redirect_dir=nofollow";

/// From here on nothing mounted in this namespace is seen outside, nor the
/// other way round.
pub(crate) fn make_private() -> StepResult<()> {
    mount_change(c"/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .at(SetupStep::Prepare, "private mounts")
}

pub(crate) fn enter(place: &Place, ephemeral: bool) -> StepResult<()> {
    let target = place.dir.join("rootfs");
    let writable = Writable { upper: &place.upper, work: &place.work, fresh: place.fresh, ephemeral };
    mount_overlay(&place.lowers, Some(writable), &target)?;
    let subject = target.display().to_string();
    chdir(&target).at(SetupStep::PivotRoot, &subject)?;
    // The old root lands on top of the new one, and goes.
    pivot_root(c".", c".").at(SetupStep::PivotRoot, &subject)?;
    unmount(c".", UnmountFlags::DETACH).at(SetupStep::PivotRoot, &subject)?;
    chdir(c"/").at(SetupStep::PivotRoot, &subject)
}

/// Mounts what a container's root is based on, for reading.
pub(crate) fn mount_lowers(lowers: &[PathBuf], target: &Path) -> StepResult<()> {
    mount_overlay(lowers, None, target)
}

/// What is written to.
struct Writable<'a> {
    upper: &'a Path,
    work: &'a Path,
    fresh: bool,
    ephemeral: bool,
}

fn mount_overlay(lowers: &[PathBuf], writable: Option<Writable<'_>>, target: &Path) -> StepResult<()> {
    // Directories are named by descriptor: short enough for many layers, and
    // free of the characters that mean something in mount options. They have to
    // be opened in this mount namespace.
    let mut held: Vec<OwnedFd> = Vec::with_capacity(lowers.len() + 2);
    let mut options = String::from("lowerdir=");
    let name = |path: &Path, options: &mut String, held: &mut Vec<OwnedFd>| -> StepResult<()> {
        let fd = open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .at(SetupStep::OpenLayer, &path.display().to_string())?;
        // Writing to a string cannot fail.
        let _ = write!(options, "/proc/self/fd/{}", fd.as_raw_fd());
        held.push(fd);
        Ok(())
    };
    for (index, lower) in lowers.iter().enumerate() {
        if index > 0 {
            options.push(':');
        }
        name(lower, &mut options, &mut held)?;
    }
    let mut flags = MountFlags::empty();
    match writable {
        Some(Writable { upper, work, fresh, ephemeral }) => {
            options.push_str(",upperdir=");
            name(upper, &mut options, &mut held)?;
            options.push_str(",workdir=");
            name(work, &mut options, &mut held)?;
            if fresh {
                options.push_str(",fresh");
            }
            if ephemeral {
                // Otherwise the end of the container waits for the whole
                // filesystem under it to reach its disk.
                options.push_str(",volatile");
            }
        }
        None => flags |= MountFlags::RDONLY,
    }
    options.push(',');
    options.push_str(OPTIONS);
    let options = CString::new(options).map_err(|_| Errno::INVAL).at(SetupStep::Mount, "the root")?;
    mount(c"overlay", target, c"overlay", flags, options.as_c_str()).at(SetupStep::Mount, "the root")
}
