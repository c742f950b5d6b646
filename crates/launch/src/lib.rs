//! Starting a container as processes on the kernel this program stands on: the
//! host's for a keeper, the utility VM's for the agent.
//!
//! A [`Cage`] is made of a checked [`casemate_model::Container`] and a
//! [`Place`]. Its init and other processes are clones of the calling program,
//! which build the container around themselves and then execute their command;
//! what keeps them from it comes back as a typed [`LaunchError`] through a
//! pipe. Nothing here waits but where it says so: processes, starts and ends
//! are descriptors to be watched.
//!
//! The calling program must have one thread, must run from a read-only mount
//! (see [`protect_program`]), and must be root. A container does not outlive
//! it, unless it makes an effort to; then [`destroy_leftovers`] finds it.
//!
//! This is a launcher of its own, where a library (libcontainer) would have
//! done for the host. In a utility VM under software emulation, side by side in
//! one run, libcontainer 0.7 takes about 85 ms from creating a container to its
//! command (180 to 280 the first time), this about 20 (145), with a seccomp
//! filter and a device filter that the other did without.

mod cage;
mod capability;
mod cgroup;
mod child;
mod command;
mod device;
mod error;
mod etc;
mod machine;
mod place;
mod processes;
mod program;
mod report;
mod starting;
mod streams;
mod sys;

pub use cage::{Cage, ChildFds, NetworkNamespace, destroy_leftovers};
pub use capability::available_capabilities;
pub use cgroup::{
    Cgroup, CgroupError, CgroupStats, CgroupVersion, CpuUse, DiskUse, MemoryUse, cgroup_version, limit_support, pids_in,
};
pub use child::ContainerRoot;
pub use error::{KernelError, LaunchError, SetupStep};
pub use machine::Machine;
pub use place::Place;
pub use processes::ProcessEntry;
pub use program::{is_program_protected, protect_program};
pub use starting::{Child, Starting, resize};
pub use streams::Stdio;
