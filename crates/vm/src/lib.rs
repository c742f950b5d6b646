//! The utility VM as a process of the host: what it is made of, how it is
//! started behind walls of its own, and how it ends. The only crate that knows
//! QEMU.
//!
//! ```text
//! Detected, TscKhz, VmSize, Disks ──▶ Machine ──spawn──▶ Running { vm, channel, console }
//!        (what the host allows)      (checked)             │
//!                                                          ├─ end of the VM: Vm::try_wait ─▶ Ended
//!                                                          └─ end of the keeper: SIGKILL by the kernel
//! ```
//!
//! Everything here is synchronous and quick; descriptors are handed out for
//! the caller to poll. Bytes from the guest come out of two descriptors only,
//! the channel and the console, and nothing here interprets them but
//! [`ConsoleTail`], which makes them harmless to print.
//!
//! Adding a device: a slot in [`slot`], a descriptor in `machine`'s list of
//! descriptors, its options beside the others. The channel stays in the last
//! slot, so that a template booted with the channel alone can be given the
//! rest later.

mod accelerator;
mod console;
mod disks;
mod initramfs;
mod jail;
mod machine;
mod nic;
mod process;
mod qemu;
mod scratch;
mod size;
mod spawn;
mod sys;
mod tsc;

pub use accelerator::{Accelerator, AcceleratorChoice, AcceleratorError, Detected, UnknownAccelerator};
pub use console::ConsoleTail;
pub use disks::{DiskError, DiskName, Disks, Extent};
pub use initramfs::{InitramfsError, write_initramfs};
pub use jail::{Jail, JailError};
pub use machine::{Machine, slot};
pub use nic::Nic;
pub use process::{End, Ended, Vm};
pub use qemu::{Qemu, QemuError};
pub use scratch::{ScratchDisk, ScratchError, ScratchImage, ScratchLifetime};
pub use size::{HostCapacity, SizeError, VmSize};
pub use spawn::{Running, SpawnError, spawn};
pub use sys::SetupStep;
pub use tsc::TscKhz;
