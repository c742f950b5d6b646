//! The engine's errors, a type for each family of operations, in Docker's
//! words where Docker has the same error.

use std::io;
use std::path::PathBuf;

use casemate_image as image;
use casemate_model::{Classify, ContainerId, ErrorClass, Failure, InvalidName, InvalidUser, UnknownSignal};
use casemate_record::file::RecordError;

use crate::networks::{ConnectError, NetworkError};
use crate::options::InvalidOption;

const NEEDS_ROOT: &str = "casemate needs root: run it with sudo";

/// The engine's directories cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot use {path}")]
    Dir { path: PathBuf, source: io::Error },
    #[error("the path {path:?} is not UTF-8")]
    NotText { path: PathBuf },
    #[error("{path} belongs to user {owner}: what is in it cannot be trusted")]
    Owner { path: PathBuf, owner: u32 },
    #[error("{path} can be written by others (mode {mode:04o}): what is in it cannot be trusted")]
    Writable { path: PathBuf, mode: u32 },
    #[error("cannot open the image store")]
    Images(#[source] image::OpenError),
    #[error("cannot lock {path}")]
    Lock { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Containers(FindError),
    #[error("cannot set up networks")]
    Networks(#[source] NetworkError),
}

impl Classify for OpenError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::NotText { .. } => ErrorClass::InvalidArgument,
            Self::Images(error) => error.class(),
            Self::Containers(error) => error.class(),
            Self::Networks(error) => error.class(),
            Self::Dir { .. } | Self::Owner { .. } | Self::Writable { .. } | Self::Lock { .. } => {
                ErrorClass::Unavailable
            }
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Owner { path, .. } if rustix::process::geteuid().is_root() => {
                Some(format!("if nobody else has put anything there: chown root {0} && chmod go-w {0}", path.display()))
            }
            Self::Owner { .. } => Some(NEEDS_ROOT.to_owned()),
            Self::Writable { path, .. } => {
                Some(format!("if nobody else has put anything there: chmod go-w {}", path.display()))
            }
            Self::Dir { source, .. } | Self::Lock { source, .. }
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                Some(NEEDS_ROOT.to_owned())
            }
            Self::Images(error) => error.hint(),
            _ => None,
        }
    }
}

/// A container cannot be found, or its records not read.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    #[error("No such container: {name}")]
    NotFound { name: String },
    #[error("multiple IDs found with provided prefix: {name}")]
    Ambiguous { name: String },
    #[error("cannot list {path}")]
    List { path: PathBuf, source: io::Error },
    /// `name` is known if only its configuration could be read.
    #[error("container {} cannot be used", name.as_deref().unwrap_or(id.short()))]
    Damaged { id: ContainerId, name: Option<String>, source: Damage },
}

/// What is wrong with a container's records.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("{path} is damaged: the {field} {value:?} is invalid")]
    Field { path: PathBuf, field: &'static str, value: String },
}

impl Classify for FindError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::NotFound { .. } => ErrorClass::NotFound,
            Self::Ambiguous { .. } => ErrorClass::InvalidArgument,
            Self::List { .. } | Self::Damaged { .. } => ErrorClass::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        let Self::Damaged { id, source, .. } = self else { return None };
        let removes = format!("casemate rm -f {} removes it", id.short());
        Some(match source {
            Damage::Record(RecordError::Version { .. }) => {
                format!("another version of casemate made it, and can use it; {removes}")
            }
            _ => removes,
        })
    }
}

#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    #[error("Unable to find image '{reference}' locally")]
    NoImage { reference: String },
    #[error(
        "image with reference {reference} was found but its platform ({found}) does not match the specified platform \
         ({platform})"
    )]
    Platform { reference: String, found: String, platform: String },
    #[error(transparent)]
    Image(image::ResolveError),
    #[error(transparent)]
    Builtin(image::LoadError),
    #[error(transparent)]
    Name(InvalidName),
    #[error(
        "Conflict. The container name \"/{name}\" is already in use by container \"{id}\". \
         You have to remove (or rename) that container to be able to reuse that name."
    )]
    NameTaken { name: String, id: String },
    #[error("no command specified")]
    NoCommand,
    #[error("{text:?} holds a null byte")]
    NullByte { text: String },
    #[error("invalid environment variable: {entry}")]
    Environment { entry: String },
    #[error("the working directory '{path}' is invalid, it needs to be an absolute path")]
    RelativeWorkingDir { path: String },
    #[error("the labels of image and container are {count} of {bytes} bytes, more than a container can have")]
    Labels { count: usize, bytes: usize },
    #[error("{name} in Healthcheck cannot be less than 1ms")]
    Health { name: &'static str },
    #[error("invalid hostname: {name:?}")]
    Hostname { name: String },
    #[error(transparent)]
    User(InvalidUser),
    #[error(transparent)]
    Signal(UnknownSignal),
    #[error(transparent)]
    Option(InvalidOption),
    #[error(transparent)]
    Find(FindError),
    #[error(transparent)]
    Lock(OpenError),
    #[error(transparent)]
    Network(#[from] ConnectError),
    #[error("cannot make {path}")]
    Dir { path: PathBuf, source: io::Error },
    #[error("cannot keep the container's configuration")]
    Record(#[source] RecordError),
}

impl Classify for CreateError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::NoImage { .. } | Self::Platform { .. } => ErrorClass::NotFound,
            Self::Image(error) => error.class(),
            Self::Builtin(error) => error.class(),
            Self::NameTaken { .. } => ErrorClass::Conflict,
            // Not as one that is not found: clients take that for a missing image.
            Self::Network(_) => ErrorClass::InvalidArgument,
            Self::Find(error) => error.class(),
            Self::Record(error) => error.class(),
            Self::Lock(error) => error.class(),
            Self::Dir { .. } => ErrorClass::Internal,
            Self::Name(_)
            | Self::NoCommand
            | Self::NullByte { .. }
            | Self::Environment { .. }
            | Self::RelativeWorkingDir { .. }
            | Self::Hostname { .. }
            | Self::Labels { .. }
            | Self::Health { .. }
            | Self::User(_)
            | Self::Signal(_)
            | Self::Option(_) => ErrorClass::InvalidArgument,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Image(error) => error.hint(),
            Self::Builtin(error) => error.hint(),
            Self::Find(error) => error.hint(),
            _ => None,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("failed to create task for container")]
    Refused(#[source] Failure),
    #[error("cannot start a keeper ({program})")]
    Spawn { program: PathBuf, source: io::Error },
    #[error("cannot prepare {path}")]
    Prepare { path: PathBuf, source: io::Error },
    #[error("cannot speak to the container's keeper")]
    Hello(#[source] casemate_wire::HelloError),
    #[error("{path} is missing")]
    Asset { path: PathBuf },
    #[error(transparent)]
    Erofs(image::ErofsError),
    #[error("cannot read the seccomp profile")]
    Profile(#[source] casemate_seccomp::ProfileError),
    #[error("cannot compile the seccomp profile")]
    Seccomp(#[source] casemate_seccomp::CompileError),
    #[error("an option of the container's is not valid any more")]
    Option(#[source] InvalidOption),
    #[error("cannot hand over what the log's lines carry")]
    LogAttributes(#[source] RecordError),
    #[error("cannot tell the kernel's version")]
    Kernel(#[source] casemate_seccomp::ParseKernelVersionError),
    #[error("container {id} is already running")]
    AlreadyRunning { id: String },
    #[error("container is marked for removal and cannot be started: {name}")]
    Removing { name: String },
    #[error("No such container: {name}")]
    NotFound { name: String },
    #[error("cannot stop it first")]
    Stop(#[source] EngineError),
    #[error("failed to set up container networking")]
    Network(#[source] ConnectError),
    #[error("cannot keep what the container has of networks")]
    Attachments(#[source] RecordError),
}

impl Classify for StartError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Refused(failure) => failure.class,
            Self::Asset { .. } => ErrorClass::Unavailable,
            Self::Erofs(error) => error.class(),
            Self::Hello(_) => ErrorClass::Protocol,
            Self::AlreadyRunning { .. } => ErrorClass::NotModified,
            Self::Removing { .. } => ErrorClass::Conflict,
            Self::NotFound { .. } => ErrorClass::NotFound,
            Self::Stop(error) => error.class(),
            Self::Network(error) => error.class(),
            Self::Attachments(error) => error.class(),
            Self::Option(_) => ErrorClass::InvalidArgument,
            Self::Spawn { .. }
            | Self::Prepare { .. }
            | Self::Profile(_)
            | Self::Seccomp(_)
            | Self::LogAttributes(_)
            | Self::Kernel(_) => ErrorClass::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Refused(failure) => failure.hint.clone(),
            Self::Asset { .. } => Some("run 'make' in the source tree: it builds the guest's kernel and agent".into()),
            Self::Erofs(error) => error.hint(),
            Self::Network(error) => error.hint(),
            _ => None,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    #[error(
        "cannot remove container \"/{name}\": container is {state}: \
         stop the container before removing or force remove"
    )]
    Running { name: String, state: &'static str },
    #[error("removal of container {id} is already in progress")]
    InProgress { id: String },
    #[error("cannot stop container \"/{name}\"")]
    Kill { name: String, source: EngineError },
    #[error("cannot remove {path}")]
    Delete { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Find(FindError),
    #[error("cannot clear up after the container's keeper")]
    Leftovers(#[source] OpenError),
    #[error("cannot free the layers of the container's image")]
    Layers(#[source] image::RemoveError),
}

impl Classify for RemoveError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Running { .. } | Self::InProgress { .. } => ErrorClass::Conflict,
            Self::Kill { source, .. } => source.class(),
            Self::Delete { .. } => ErrorClass::Internal,
            Self::Find(error) => error.class(),
            Self::Leftovers(error) => error.class(),
            Self::Layers(error) => error.class(),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum RemoveImageError {
    #[error(transparent)]
    Image(#[from] image::RemoveError),
    #[error("cannot tell which containers use the image")]
    Users(#[source] FindError),
    #[error(transparent)]
    Lock(OpenError),
}

impl Classify for RemoveImageError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Image(error) => error.class(),
            Self::Users(error) => error.class(),
            Self::Lock(error) => error.class(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Image(error) => error.hint(),
            Self::Users(error) => error.hint(),
            Self::Lock(error) => error.hint(),
        }
    }
}

/// A request to a container's keeper failed.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("container {id} is not running")]
    NotRunning { id: String },
    #[error("cannot reach the container's keeper")]
    Connect(#[source] io::Error),
    #[error("cannot speak to the container's keeper")]
    Hello(#[source] casemate_wire::HelloError),
    #[error(transparent)]
    Refused(Failure),
}

impl Classify for EngineError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::NotRunning { .. } => ErrorClass::Conflict,
            Self::Connect(_) => ErrorClass::Unavailable,
            Self::Hello(_) => ErrorClass::Protocol,
            Self::Refused(failure) => failure.class,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Refused(failure) => failure.hint.clone(),
            _ => None,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum RenameError {
    #[error("Renaming a container with the same name as its current name")]
    Same,
    #[error("Error when allocating new name")]
    Name(#[source] CreateError),
    #[error("cannot keep the container's new name")]
    Record(#[source] RecordError),
}

impl Classify for RenameError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Same => ErrorClass::InvalidArgument,
            Self::Name(error) => error.class(),
            Self::Record(error) => error.class(),
        }
    }
}

/// In Docker's words (moby `daemon/exec.go`).
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    #[error("No such exec instance: {id}")]
    NotFound { id: String },
    #[error("No exec command specified")]
    NoCommand,
    #[error("Container {name} is paused, unpause the container before exec")]
    Paused { name: String },
    #[error("Container {id} is restarting, wait until the container is running")]
    Restarting { id: String },
    #[error("container {id} is not running")]
    NotRunning { id: String },
    #[error("timeout waiting for exec session {id} to be ready")]
    NotReady { id: String },
    #[error("Error: Exec command {id} is already running")]
    Running { id: String },
    #[error("Error: Exec command {id} has already run")]
    Ended { id: String },
    #[error("OCI runtime exec failed")]
    Refused(#[source] Failure),
    #[error(transparent)]
    Find(FindError),
}

impl Classify for ExecError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::NotFound { .. } => ErrorClass::NotFound,
            Self::NotReady { .. } => ErrorClass::Timeout,
            Self::NoCommand => ErrorClass::InvalidArgument,
            Self::Paused { .. }
            | Self::Restarting { .. }
            | Self::NotRunning { .. }
            | Self::Running { .. }
            | Self::Ended { .. } => ErrorClass::Conflict,
            Self::Refused(failure) => failure.class,
            Self::Find(error) => error.class(),
        }
    }
}

/// In Docker's words (moby `daemon/pause.go`, `unpause.go`).
#[derive(Debug, thiserror::Error)]
pub enum PauseError {
    #[error("container {id} is not running")]
    NotRunning { id: String },
    #[error("container {id} is already paused")]
    AlreadyPaused { id: String },
    #[error("container {id} is not paused")]
    NotPaused { id: String },
    #[error(transparent)]
    Refused(Failure),
}

impl Classify for PauseError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::NotRunning { .. } | Self::AlreadyPaused { .. } | Self::NotPaused { .. } => ErrorClass::Conflict,
            Self::Refused(failure) => failure.class,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    #[error(transparent)]
    Pause(#[from] PauseError),
    #[error(transparent)]
    Image(image::ResolveError),
    #[error(transparent)]
    Change(image::ChangeError),
    #[error("cannot read what the container has written")]
    Files(#[source] StartError),
    #[error(transparent)]
    Make(image::ImportError),
}

impl Classify for CommitError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Pause(error) => error.class(),
            Self::Image(error) => error.class(),
            Self::Change(error) => error.class(),
            Self::Files(error) => error.class(),
            Self::Make(error) => error.class(),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    #[error(transparent)]
    Option(InvalidOption),
    #[error("Restart policy cannot be updated because AutoRemove is enabled for the container")]
    AutoRemove,
    #[error("cannot update container")]
    Refused(#[source] Failure),
    #[error("cannot keep the container's new limits")]
    Record(#[source] RecordError),
}

impl Classify for UpdateError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Option(_) => ErrorClass::InvalidArgument,
            Self::AutoRemove => ErrorClass::Conflict,
            Self::Refused(failure) => failure.class,
            Self::Record(error) => error.class(),
        }
    }
}
