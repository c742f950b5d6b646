//! Why a measurement could not be taken.

use std::io;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    #[error("interrupted")]
    Interrupted,
    #[error("cannot watch for signals")]
    Signals(#[source] io::Error),
    #[error("no {path}: build and stage Casemate first (make)")]
    NotStaged { path: PathBuf },
    #[error("cannot {operation} {path}")]
    File { operation: &'static str, path: PathBuf, source: io::Error },
    #[error("cannot run {program}")]
    Spawn { program: String, source: io::Error },
    #[error("{command} failed: {message}")]
    Failed { command: String, message: String },
    #[error("{command} printed {found:?}, expected {expected:?}")]
    Output { command: String, found: String, expected: &'static str },
    #[error("{what} is not as expected: {found}")]
    Format { what: &'static str, found: String },
    #[error("cannot read the image")]
    Store(#[source] casemate_image::OpenError),
    #[error("cannot read the image")]
    Image(#[source] casemate_image::ResolveError),
    #[error("cannot mount the root for runc at {path}")]
    Mount { path: PathBuf, source: io::Error },
    #[error("no QEMU for the bare virtual machine")]
    Qemu(#[source] casemate_vm::QemuError),
    #[error("no machine for the bare virtual machine")]
    Accelerator(#[source] casemate_vm::AcceleratorError),
    #[error("no size for the bare virtual machine")]
    Size(#[source] casemate_vm::SizeError),
    #[error("no disks to describe the bare virtual machine with")]
    Disks(#[source] casemate_vm::DiskError),
    #[error("cannot make the bare virtual machine's initramfs")]
    Initramfs(#[source] casemate_vm::InitramfsError),
    #[error("the machine's argument {argument:?} has no meaning for a bare virtual machine")]
    MachineArgument { argument: String },
    #[error("the bare virtual machine did not say its line within {seconds} s: {message}")]
    FloorSilent { seconds: u64, message: String },
}

/// For `map_err`: names what was done to which file.
pub(crate) fn file(operation: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> BenchError {
    let path = path.into();
    move |source| BenchError::File { operation, path, source }
}
