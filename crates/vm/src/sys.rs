//! All of this crate's unsafe code: the calls that have no safe wrapper.

#![allow(unsafe_code)]

mod child;
mod kvm;
mod mount;
mod tsc;

pub use child::SetupStep;
pub(crate) use child::{Cgroups, Failure, Mount, Plan, start};
pub(crate) use kvm::{KvmFailure, run_in_kvm};
pub(crate) use mount::{Restrictions, restrict};
pub(crate) use tsc::read_tsc;
