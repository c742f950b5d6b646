//! The last part of every start: streams, user, working directory, privileges,
//! and the command itself.

use std::convert::Infallible;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use casemate_tree::beneath::open_in;
use rustix::fs::{FileType, OFlags, fchown, stat};
use rustix::io::Errno;
use rustix::process::{Uid, fchdir, getcwd, ioctl_tiocsctty};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use rustix::thread::set_no_new_privs;

use super::privileges::Privileges;
use super::terminal::Terminal;
use super::user::{Identity, look_up};
use super::{die_with_parent, hide_from_tracers};
use crate::command::{Command, Filter};
use crate::error::SetupStep;
use crate::report::{AtStep, StepError, StepResult};
use crate::streams::ChildEnds;
use crate::sys;

/// What becomes standard input, output and error.
pub(crate) enum Streams<'a> {
    Terminal(Terminal),
    Pipes { stdin: &'a OwnedFd, stdout: &'a OwnedFd, stderr: &'a OwnedFd },
    NoInput { null: OwnedFd, stdout: &'a OwnedFd, stderr: &'a OwnedFd },
}

/// Executes the command in the container whose root this process has entered.
pub(crate) fn become_command(
    command: &Command,
    root: BorrowedFd<'_>,
    streams: Streams<'_>,
    ends: &ChildEnds,
) -> StepResult<Infallible> {
    let identity = look_up(root, &command.user, &command.additional_groups)?;
    connect(&streams, identity.uid)?;
    let env = environment(command, &identity);
    // Once with root's rights, since a working directory may belong to root
    // alone; where even those do not reach (a network filesystem), once more
    // with the user's.
    let entered = change_directory(root, &command.directory)?;
    // Last of what needs memory and descriptors: the limits may leave neither.
    let candidates = candidates(command)?;
    new_keyring()?;
    for limit in &command.limits {
        sys::set_limit(limit.resource, limit.soft, limit.hard).at(SetupStep::SetLimit, limit.name)?;
    }
    let filters_as_admin = command.filter.is_some() && !command.no_new_privileges;
    let privileges = Privileges::of(&identity, command.capabilities, filters_as_admin)?;
    privileges.drop_to(&identity, command.capabilities)?;
    // Both undone by the change of user.
    hide_from_tracers()?;
    die_with_parent(ends.report.as_fd())?;
    if !entered && !change_directory(root, &command.directory)? {
        return Err(StepError::new(SetupStep::ChangeDirectory, &command.directory, Errno::ACCESS));
    }
    check_directory(&command.directory)?;
    let path = find(command, candidates)?;
    seal(command, privileges)?;
    let errno = sys::execute(&path, &command.argv, &env);
    Err(StepError::new(SetupStep::Execute, path.to_string_lossy(), errno))
}

/// Puts the streams in their places. They belong to the user, who may open them
/// again through `/dev/stdout`.
fn connect(streams: &Streams<'_>, uid: u32) -> StepResult<()> {
    let connect = || -> Result<(), Errno> {
        let mine: &[&OwnedFd] = match streams {
            Streams::Terminal(terminal) => {
                ioctl_tiocsctty(&terminal.slave)?;
                dup2_stdin(&terminal.slave)?;
                dup2_stdout(&terminal.slave)?;
                dup2_stderr(&terminal.slave)?;
                &[&terminal.slave]
            }
            Streams::Pipes { stdin, stdout, stderr } => {
                dup2_stdin(stdin)?;
                dup2_stdout(stdout)?;
                dup2_stderr(stderr)?;
                &[stdin, stdout, stderr]
            }
            // Not the null device itself: it is everybody's.
            Streams::NoInput { null, stdout, stderr } => {
                dup2_stdin(null)?;
                dup2_stdout(stdout)?;
                dup2_stderr(stderr)?;
                &[stdout, stderr]
            }
        };
        if uid != 0 {
            mine.iter().try_for_each(|fd| fchown(fd, Some(Uid::from_raw(uid)), None))?;
        }
        Ok(())
    };
    connect().at(SetupStep::ConnectStreams, "0, 1, 2")
}

fn environment(command: &Command, identity: &Identity) -> Vec<CString> {
    let mut env = command.env.clone();
    if !command.has_home {
        env.retain(|entry| !entry.as_bytes().starts_with(b"HOME="));
        // Fields of passwd hold no NUL where its lines are text; one that does
        // is no home.
        let home = CString::new(format!("HOME={}", identity.home));
        env.push(home.unwrap_or_else(|_| c"HOME=/".to_owned()));
    }
    env
}

/// `false` where this process may not go there.
fn change_directory(root: BorrowedFd<'_>, directory: &str) -> StepResult<bool> {
    let entered = open_in(root, directory.as_bytes(), OFlags::PATH | OFlags::DIRECTORY).and_then(fchdir);
    match entered {
        Ok(()) => Ok(true),
        Err(Errno::ACCESS | Errno::PERM) => Ok(false),
        Err(errno) => Err(StepError::new(SetupStep::ChangeDirectory, directory, errno)),
    }
}

/// The kernel writes a directory outside the root as "(unreachable)". That
/// cannot be, and must not (CVE-2024-21626).
fn check_directory(directory: &str) -> StepResult<()> {
    match getcwd(Vec::new()) {
        Ok(path) if path.as_bytes().starts_with(b"/") => Ok(()),
        Ok(_) => Err(StepError::new(SetupStep::ChangeDirectory, directory, Errno::XDEV)),
        Err(errno) => Err(StepError::new(SetupStep::ChangeDirectory, directory, errno)),
    }
}

/// A keyring of the keeper's session is none of the container's business.
fn new_keyring() -> StepResult<()> {
    match sys::join_new_session_keyring() {
        // Built without keys, or forbidden by what surrounds this program: then
        // the container's filter forbids them too.
        Ok(()) | Err(Errno::NOSYS | Errno::PERM) => Ok(()),
        Err(errno) => Err(StepError::new(SetupStep::Prepare, "a session keyring", errno)),
    }
}

/// Where the command may be, in order.
fn candidates(command: &Command) -> StepResult<Vec<CString>> {
    let name = &command.name;
    let c_string =
        |path: String| CString::new(path).map_err(|_| StepError::new(SetupStep::FindCommand, name, Errno::NOENT));
    if name.contains('/') {
        return Ok(vec![c_string(name.clone())?]);
    }
    command.search.iter().map(|directory| c_string(format!("{}/{name}", directory.trim_end_matches('/')))).collect()
}

/// The first that is an executable file, as Go's `exec.LookPath` decides.
fn find(command: &Command, candidates: Vec<CString>) -> StepResult<CString> {
    let executable = |path: &CString| -> Result<(), Errno> {
        let mode = stat(path.as_c_str())?.st_mode;
        if FileType::from_raw_mode(mode) == FileType::Directory {
            return Err(Errno::ISDIR);
        }
        if mode & 0o111 == 0 { Err(Errno::ACCESS) } else { Ok(()) }
    };
    let direct = command.name.contains('/');
    for path in candidates {
        match executable(&path) {
            Ok(()) => return Ok(path),
            Err(errno) if direct => return Err(StepError::new(SetupStep::FindCommand, &command.name, errno)),
            Err(_) => {}
        }
    }
    Err(StepError::new(SetupStep::SearchPath, &command.name, Errno::NOENT))
}

/// Takes the last privileges and installs the filter, in the order in which
/// the kernel allows it: with no_new_privs the filter comes last of all,
/// without, it needs a privilege that must go afterwards.
fn seal(command: &Command, privileges: Privileges) -> StepResult<()> {
    if command.no_new_privileges {
        privileges.finish()?;
        set_no_new_privs(true).at(SetupStep::DropPrivileges, "no new privileges")?;
        return filter(command.filter.as_ref());
    }
    if command.filter.is_some() {
        privileges.raise()?;
        filter(command.filter.as_ref())?;
    }
    privileges.finish()
}

fn filter(filter: Option<&Filter>) -> StepResult<()> {
    let Some(Filter { instructions, flags }) = filter else { return Ok(()) };
    // A copy of the parent's memory: changing it here is nobody's loss.
    let mut instructions = instructions.clone();
    sys::install_filter(&mut instructions, *flags).at(SetupStep::InstallFilter, "the seccomp filter")
}
