//! Seccomp profiles in Docker's form, and their compilation to the program
//! that the kernel runs at each system call.
//!
//! ```text
//!   JSON ──parse──▶ Profile ──(capabilities, kernel, machine)──▶ rules ──libseccomp──▶ Seccomp
//! ```
//!
//! A profile that cannot be read is a [`ProfileError`], rules that cannot be
//! compiled are a [`CompileError`]; nothing is ever left out silently but
//! system calls that the installed libseccomp does not know, as Docker does.

mod compile;
mod kernel;
mod profile;
mod unknown;

pub use compile::CompileError;
pub use kernel::{KernelVersion, ParseKernelVersionError};
pub use profile::{DOCKER_DEFAULT, Profile, ProfileError};
