//! The nouns of Casemate: checked values that every other crate speaks in.
//!
//! Nothing here does I/O, waits, or knows a serialised form: the API, the wire
//! and the records on disk have types of their own and convert.

mod capability;
mod class;
mod container;
mod digest;
mod exit;
mod id;
mod isolation;
mod process;
mod quantity;
mod signal;
mod user;

pub use capability::{Capabilities, Capability, UnknownCapability};
pub use class::{Classify, ErrorClass, Failure, chain};
pub use container::{Container, EtcFiles, Limits, MASKED_PATHS, READONLY_PATHS};
pub use digest::{Digest, ParseDigestError};
pub use exit::{ExitStatus, Exited};
pub use id::{ContainerId, ContainerName, ExecId, InvalidId, InvalidName};
pub use isolation::{Isolation, UnknownIsolation};
pub use process::{OutputStream, Process, ProcessRef, Rlimit, RlimitKind, Seccomp, TerminalSize};
pub use quantity::{Bytes, NanoCpus, ParseQuantityError};
pub use signal::{Signal, UnknownSignal};
pub use user::{InvalidUser, UserSpec};
