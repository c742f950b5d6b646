//! The nouns of Casemate: checked values that every other crate speaks in.
//!
//! Nothing here does I/O, waits, or knows a serialised form: the API, the wire
//! and the records on disk have types of their own and convert.

mod capability;
mod class;
mod container;
mod detach_keys;
mod device;
mod digest;
mod egress;
mod exit;
mod id;
mod interface;
mod isolation;
mod limits;
mod mac;
mod number_list;
mod process;
mod publication;
mod quantity;
mod signal;
mod sysctl;
mod tmpfs;
mod user;

pub use capability::{Capabilities, Capability, UnknownCapability};
pub use class::{Classify, ErrorClass, Failure, chain};
pub use container::{Container, EtcFiles, Ipc, MASKED_PATHS, Namespace, Namespaces, READONLY_PATHS};
pub use detach_keys::{DetachKeyMatcher, DetachKeys, InvalidDetachKeys};
pub use device::{Device, DeviceAccess, DeviceKind, DeviceRule, InvalidDeviceAccess, InvalidDeviceRule};
pub use digest::{Digest, ParseDigestError};
pub use egress::Egress;
pub use exit::{ExitStatus, Exited};
pub use id::{ContainerId, ContainerName, ExecId, InvalidId, InvalidName};
pub use interface::{Card, Interface};
pub use isolation::{Isolation, UnknownIsolation};
pub use limits::{CpuQuota, LimitSupport, Limits, MemorySwap};
pub use mac::{MacAddress, ParseMacError};
pub use number_list::{InvalidNumberList, NumberList};
pub use process::{OutputStream, Process, ProcessRef, Rlimit, RlimitKind, Seccomp, TerminalSize};
pub use publication::{Protocol, Publication, UnknownProtocol};
pub use quantity::{Bytes, NanoCpus, ParseQuantityError};
pub use signal::{Signal, UnknownSignal};
pub use sysctl::{InvalidSysctl, Sysctl, SysctlNamespace};
pub use tmpfs::{InvalidTmpfs, Tmpfs, TmpfsAttributes, TmpfsKey};
pub use user::{InvalidUser, UserSpec};
