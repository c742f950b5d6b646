//! What the child does between the clone and its command: everything here runs
//! in a copy of the parent, which never returns to the parent's code.
//!
//! ```text
//!   init: own namespaces ─ cgroup ─ root ─ mounts ─┐
//!   exec: the init's namespaces ───────────────────┴─ streams ─ user ─ privileges ─ command
//!   files: own mounts ─ the root or its layers ─ the job
//! ```
//!
//! A step that fails ends the child with a record of it in the report pipe.

mod become_command;
mod cgroup_view;
mod device_nodes;
mod etc;
mod exec;
mod files;
mod hide;
mod init;
mod mounts;
mod parameters;
mod privileges;
mod rootfs;
mod terminal;
mod tmpfs;
mod user;

use std::convert::Infallible;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Signal, set_dumpable_behavior, set_parent_process_death_signal};

pub(crate) use exec::ExecJob;
pub use files::ContainerRoot;
pub(crate) use files::{FilesJob, HoldJob, LayersJob, RootSource};
pub(crate) use init::InitJob;

use crate::error::SetupStep;
use crate::report::{AtStep, StepError, StepResult};
use crate::streams::ChildEnds;
use crate::sys;

/// Ends the child with this where its command could not be executed. Nobody
/// reads it: the report says why.
const FAILED: i32 = 125;

/// Runs the child's job to its end, one way or the other. Of the parent's
/// descriptors it has `ends`, the control group's `procs` (which it enters
/// first), and those that it `needs` besides.
pub(crate) fn run(
    ends: &ChildEnds,
    procs: &[OwnedFd],
    needs: &[BorrowedFd<'_>],
    job: impl FnOnce() -> StepResult<Infallible>,
) -> ! {
    let outcome = tell_of_panics(ends).and_then(|report| {
        prepare(ends, &report, procs, needs)?;
        job()
    });
    match outcome {
        Ok(never) => match never {},
        Err(error) => fail(&ends.report, &error),
    }
}

fn fail(report: &OwnedFd, error: &StepError) -> ! {
    // A parent that is gone does not need it.
    let _ = rustix::io::write(report, &error.to_record());
    sys::exit_child(FAILED)
}

/// A panic may not go on in code that is the parent's, and it must not look
/// like a command that was executed: a program that is built to abort would end
/// here without a word. Of its own the hook has the descriptor that is returned.
fn tell_of_panics(ends: &ChildEnds) -> StepResult<Arc<OwnedFd>> {
    let report = rustix::io::fcntl_dupfd_cloexec(&ends.report, 3).at(SetupStep::Prepare, "descriptors")?;
    let report = Arc::new(report);
    let hook = Arc::clone(&report);
    std::panic::set_hook(Box::new(move |_| {
        fail(&hook, &StepError::new(SetupStep::Prepare, "the process (a fault in the launcher)", Errno::IO));
    }));
    Ok(report)
}

fn prepare(ends: &ChildEnds, report: &OwnedFd, procs: &[OwnedFd], needs: &[BorrowedFd<'_>]) -> StepResult<()> {
    // First of all: a descriptor of the keeper's in here is one too many.
    let mut keep = ends.descriptors();
    keep.push(report.as_raw_fd());
    keep.extend(procs.iter().map(AsRawFd::as_raw_fd));
    keep.extend(needs.iter().map(AsRawFd::as_raw_fd));
    sys::close_others(&mut keep).at(SetupStep::Prepare, "descriptors")?;
    sys::reset_signals();
    // Nobody in the container may look into this process, which still has all
    // privileges and, in an exec, is already visible there.
    hide_from_tracers()?;
    die_with_parent(ends.report.as_fd())?;
    for file in procs {
        rustix::io::write(file, b"0").at(SetupStep::JoinCgroup, "of the container")?;
    }
    Ok(())
}

fn hide_from_tracers() -> StepResult<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable).at(SetupStep::Prepare, "the process against tracing")
}

/// Has the kernel kill this process with its parent. To be repeated after the
/// user changes, which undoes it.
///
/// A container can undo it too, by prctl or by executing a set-user-ID
/// program: it spares well-behaved ones from outliving their keeper, the
/// others are found by their control group.
fn die_with_parent(report: BorrowedFd<'_>) -> StepResult<()> {
    let failed = |result: Result<(), Errno>| result.at(SetupStep::WatchParent, "its parent");
    failed(set_parent_process_death_signal(Some(Signal::KILL)))?;
    // The parent may have died before that. The kernel closes the descriptors
    // of a process before it looks for children to signal, so whoever missed
    // the signal finds the report pipe without a reader.
    let mut report = [PollFd::new(&report, PollFlags::empty())];
    failed(poll(&mut report, Some(&Timespec::default())).map(drop))?;
    if report[0].revents().contains(PollFlags::ERR) { failed(Err(Errno::SRCH)) } else { Ok(()) }
}

/// The keeper may be spared by the OOM killer; the container must not be. A
/// keeper that is a likelier victim than usual stays so with its container:
/// only privileged processes may lower it, which is a failure where the
/// container asked for it.
///
/// To be done while this kernel's own `/proc` is in sight.
fn set_oom_score(score: i32) -> StepResult<()> {
    let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::CLOEXEC;
    let set = rustix::fs::open(c"/proc/self/oom_score_adj", flags, rustix::fs::Mode::empty())
        .and_then(|file| rustix::io::write(&file, score.to_string().as_bytes()));
    match set {
        Err(_) if score == 0 => Ok(()),
        other => other.map(drop).at(SetupStep::AdjustOomScore, &score.to_string()),
    }
}

/// The null device of the container, if it is one: the container may have put
/// something else in its place.
fn open_null() -> Result<OwnedFd, Errno> {
    use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, makedev, openat2};
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat2(CWD, c"/dev/null", flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)?;
    let stat = fstat(&file)?;
    let is_null = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == makedev(1, 3);
    if !is_null {
        return Err(Errno::NODEV);
    }
    // Not for the command: a file's blocking is part of what it inherits.
    rustix::fs::fcntl_setfl(file.as_fd(), OFlags::empty())?;
    Ok(file)
}
