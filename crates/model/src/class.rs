//! One closed set of error classes, and the form in which an error crosses a
//! process boundary. The tables to exit codes (here), HTTP statuses and ttrpc
//! codes (in the crates that speak those) branch on the class, never on text.

use std::error::Error;

/// What kind of failure this is, for whoever has to react to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// The request itself is wrong.
    InvalidArgument,
    /// A container, image or other named thing does not exist.
    NotFound,
    /// Whoever asks has not shown that they may.
    Unauthorized,
    /// Nobody may do this.
    Forbidden,
    /// It exists, but its state or its name's owner does not allow this.
    Conflict,
    /// It is already so.
    NotModified,
    /// The container's command does not exist in its image.
    CommandNotFound,
    /// The container's command exists and cannot be executed.
    CommandNotExecutable,
    /// Something the host must provide is missing.
    Unavailable,
    /// The host or the container ran out of memory, disk, or a limit.
    ResourceExhausted,
    /// It did not happen in its time.
    Timeout,
    /// The other side (a guest, a client, an archive) broke the rules of the
    /// protocol or format.
    Protocol,
    /// Anything else.
    Internal,
}

impl ErrorClass {
    /// The exit code of `docker run` for a failure of this class: 127 and 126
    /// as a shell has them, 125 for all that is the engine's own.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::CommandNotFound => 127,
            Self::CommandNotExecutable => 126,
            _ => 125,
        }
    }

    /// A stable name, for machines.
    pub fn name(self) -> &'static str {
        match self {
            Self::InvalidArgument => "invalid-argument",
            Self::NotFound => "not-found",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::Conflict => "conflict",
            Self::NotModified => "not-modified",
            Self::CommandNotFound => "command-not-found",
            Self::CommandNotExecutable => "command-not-executable",
            Self::Unavailable => "unavailable",
            Self::ResourceExhausted => "resource-exhausted",
            Self::Timeout => "timeout",
            Self::Protocol => "protocol",
            Self::Internal => "internal",
        }
    }
}

/// An error that knows its class, and what the user can do about it.
pub trait Classify: Error {
    fn class(&self) -> ErrorClass;

    /// The next step for the user, as a whole sentence or a command.
    fn hint(&self) -> Option<String> {
        None
    }
}

/// An error that left the process it arose in: its class and its words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    pub class: ErrorClass,
    pub message: String,
    pub hint: Option<String>,
}

impl Failure {
    pub fn new(class: ErrorClass, message: impl Into<String>) -> Self {
        Self { class, message: message.into(), hint: None }
    }

    pub fn from_error<E: Classify>(error: &E) -> Self {
        Self { class: error.class(), message: chain(error), hint: error.hint() }
    }
}

impl Classify for Failure {
    fn class(&self) -> ErrorClass {
        self.class
    }

    fn hint(&self) -> Option<String> {
        self.hint.clone()
    }
}

/// The error and all its sources on one line, outermost first.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
