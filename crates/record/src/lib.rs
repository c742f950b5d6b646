//! What is on disk of a container, and where.
//!
//! The engine writes a container's configuration, its keeper the state and the
//! log; either can be killed at any moment, so each file has one writer at a
//! time and is replaced whole ([`file`]). Formats carry a version; a file of
//! another version is an error that says so.

mod container;
pub mod file;
mod host;
mod layout;
pub mod log;
mod network;
mod networking;
mod restart;
mod state;

pub use container::{ContainerRecord, HealthRecord, ImageRecord, RestartPolicyRecord};
pub use host::{DeviceRecord, HostRecord, LimitsRecord, LogRecord, UlimitRecord};
pub use layout::{ContainerPaths, Layout};
pub use network::{
    AttachmentsRecord, EndpointRecord, NamedRecord, NamesRecord, NetworkRecord, PublicationRecord, SubnetRecord,
};
pub use networking::{BindingRecord, NetworkingRecord, WantedEndpointRecord};
pub use restart::RestartRecord;
pub use state::{EndRecord, SpanRecord, StateRecord, VmRecord};
